"""Waking who waits for a job: one blocking stream reader per process, none per waiter.

A waiter registers first and reads the record afterwards, so that no change can fall between the two. The reader goes
on from the last entry it saw, so that a lost connection loses nothing.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, cast

import structlog

from imagequeue.errors import StoreUnavailable
from imagequeue.store.connection import BLOCK_MS, RedisClient, StreamEntry, translated

_BATCH: Final = 1000
_PAUSE_SECONDS: Final = 0.5
_log = structlog.stdlib.get_logger(__name__)

Listener = Callable[[str, str], None]
"""Called with a job id and the name of what happened to it, in the reader's thread: it must not block."""


class ChangeReader:
    """Reads the fleet's stream of changes and calls the listeners of each job. Starts with its first listener."""

    def __init__(self, client: RedisClient, stream: str) -> None:
        self._client = client
        self._stream = stream
        self._listeners: defaultdict[str, list[Listener]] = defaultdict(list)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def listening(self, job_id: str, listener: Listener) -> Generator[None]:
        """Call `listener` at every change of the job while the block runs."""
        self._ensure_running()
        with self._lock:
            self._listeners[job_id].append(listener)
        try:
            yield
        finally:
            with self._lock:
                self._listeners[job_id].remove(listener)
                if not self._listeners[job_id]:
                    del self._listeners[job_id]

    def wake_all(self) -> None:
        """Call every listener, with no event's name, so that each waiter looks again."""
        with self._lock:
            job_ids = list(self._listeners)
        for job_id in job_ids:
            self._tell(job_id, "")

    def close(self) -> None:
        """Stop reading; returns when the thread has ended."""
        self._stopping.set()
        if self._thread:
            self._thread.join()

    def _ensure_running(self) -> None:
        with self._lock:
            if self._thread is None:
                # The starting point is fixed before the first waiter reads its record.
                last_id = self._newest_id()
                self._thread = threading.Thread(target=self._run, args=(last_id,), name="change-reader", daemon=True)
                self._thread.start()

    def _newest_id(self) -> str:
        with translated():
            newest = self._client.xrevrange(self._stream, "+", "-", 1)
        return newest[0][0] if newest else "0-0"

    def _run(self, last_id: str) -> None:
        while not self._stopping.is_set():
            try:
                with translated():
                    answer = self._client.xread({self._stream: last_id}, count=_BATCH, block=BLOCK_MS)
            except StoreUnavailable as error:
                _log.warning("change_reader_interrupted", error=str(error))
                self._stopping.wait(_PAUSE_SECONDS)
                continue
            for entry_id, fields in entries_of(answer, self._stream):
                last_id = entry_id
                self._tell(fields["job"], fields["event"])

    def _tell(self, job_id: str, event: str) -> None:
        with self._lock:
            listeners = list(self._listeners.get(job_id, ()))
        for listener in listeners:
            try:
                listener(job_id, event)
            except Exception:  # one waiter's defect must not end the reader of all
                _log.exception("change_listener_failed", job=job_id, change=event)


def entries_of(answer: object, stream: str) -> Sequence[StreamEntry]:
    """The entries of one stream in what XREAD gave, whose shape depends on the protocol's version."""
    if isinstance(answer, Mapping):
        chunks = cast("Mapping[str, Sequence[Sequence[StreamEntry]]]", answer).get(stream, ())
        return [entry for chunk in chunks for entry in chunk]
    pairs = cast("Sequence[tuple[str, Sequence[StreamEntry]]]", answer or ())
    return [entry for _, entries in pairs for entry in entries]
