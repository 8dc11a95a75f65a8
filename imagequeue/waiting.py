"""Waking who waits for a job: one blocking stream reader per process, none per waiter.

A waiter registers first and reads the record afterwards, so that no change can fall between the two. The reader goes
on from the last entry it saw, so that a lost connection loses nothing.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Literal, cast, get_args

import structlog

from imagequeue.errors import StoreUnavailable
from imagequeue.store.connection import BLOCK_MS, RedisClient, StreamEntry, translated

PAUSE_SECONDS: Final = 0.002
"""Between two reads: what happens meanwhile comes with the next. A busy fleet would else cost each process a read for
every change."""
_BATCH: Final = 1000
_OUTAGE_PAUSE_SECONDS: Final = 0.5
_log = structlog.stdlib.get_logger(__name__)

Listener = Callable[[str, str], None]
"""Called with a job id and the name of what happened to it, in the reader's thread: it must not block."""
Follower = Callable[[StreamEntry | None], None]
"""Called with an entry of the stream, or None: look again, for entries may be missing. It must not block either."""
Field = Literal["job", "session", "owner", "batch", "lane"]
"""The fields of an entry by which it can be followed."""
_FIELDS: Final[tuple[Field, ...]] = get_args(Field)


class ChangeReader:
    """Reads the fleet's stream of changes and hands each to whom it concerns. Starts with its first listener."""

    def __init__(self, client: RedisClient, stream: str, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._client = client
        self._stream = stream
        self._pause_seconds = pause_seconds
        self._followers: defaultdict[tuple[Field, str], list[Follower]] = defaultdict(list)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.passed = "0-0"
        """The id of the last entry that was handed to everybody whom it concerns."""

    @contextmanager
    def following(self, field: Field, value: str, follower: Follower) -> Generator[None]:
        """Call `follower` with every entry whose field has this value while the block runs."""
        self._ensure_running()
        with self._lock:
            self._followers[field, value].append(follower)
        try:
            yield
        finally:
            with self._lock:
                self._followers[field, value].remove(follower)
                if not self._followers[field, value]:
                    del self._followers[field, value]

    def listening(self, job_id: str, listener: Listener) -> AbstractContextManager[None]:
        """Call `listener` at every change of the job while the block runs, with no event's name: look again."""
        return self.following("job", job_id, lambda entry: listener(job_id, entry[1]["event"] if entry else ""))

    def wake_all(self) -> None:
        """Have everybody look again."""
        with self._lock:
            followers = [follower for found in self._followers.values() for follower in found]
        _call(followers, None)

    def close(self) -> None:
        """Stop reading; returns when the thread has ended."""
        self._stopping.set()
        if self._thread:
            self._thread.join()

    def _ensure_running(self) -> None:
        with self._lock:
            if self._thread is None:
                # The starting point is fixed before the first waiter reads its record.
                last_id = self.passed = self._newest_id()
                self._thread = threading.Thread(target=self._run, args=(last_id,), name="change-reader", daemon=True)
                self._thread.start()

    def _newest_id(self) -> str:
        with translated():
            newest = self._client.xrevrange(self._stream, "+", "-", 1)
        return newest[0][0] if newest else "0-0"

    def _run(self, last_id: str) -> None:
        interrupted = False
        while not self._stopping.is_set():
            try:
                with translated():
                    answer = self._client.xread({self._stream: last_id}, count=_BATCH, block=BLOCK_MS)
            except StoreUnavailable as error:
                _log.warning("change_reader_interrupted", error=str(error))
                interrupted = True
                self._stopping.wait(_OUTAGE_PAUSE_SECONDS)
                continue
            for entry in entries_of(answer, self._stream):
                self._hand_out(entry)
                last_id = self.passed = entry[0]
            self._stopping.wait(self._pause_seconds)
            if interrupted:  # it may have been trimmed meanwhile beyond what was read
                interrupted = False
                self.wake_all()

    def _hand_out(self, entry: StreamEntry) -> None:
        fields = entry[1]
        with self._lock:
            concerned = [self._followers.get((field, fields.get(field, "")), []) for field in _FIELDS]
            followers = [follower for found in concerned for follower in found]
        _call(followers, entry)


def _call(followers: Iterable[Follower], entry: StreamEntry | None) -> None:
    for follower in followers:
        try:
            follower(entry)
        except Exception:  # one waiter's defect must not end the reader of all
            _log.exception("change_follower_failed", entry=entry[0] if entry else None)


def entries_of(answer: object, stream: str) -> Sequence[StreamEntry]:
    """The entries of one stream in what XREAD gave, whose shape depends on the protocol's version."""
    if isinstance(answer, Mapping):
        chunks = cast("Mapping[str, Sequence[Sequence[StreamEntry]]]", answer).get(stream, ())
        return [entry for chunk in chunks for entry in chunk]
    pairs = cast("Sequence[tuple[str, Sequence[StreamEntry]]]", answer or ())
    return [entry for _, entries in pairs for entry in entries]
