"""One client's stream of events: what it missed first, then what happens, each event once and in order.

The stream follows the fleet's changes before it reads anything, and passes over what it has told already, so that
nothing falls between reading and following. Where that cannot be had, it says `reset` and tells how things are now.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from imagequeue.errors import StoreUnavailable
from imagequeue.events import (
    BEGINNING,
    Entry,
    EntryId,
    JobProgress,
    StreamEvent,
    end_event,
    ends,
    event_of,
    progress_of,
    reset_event,
    state_event,
)
from imagequeue.jobs import Job
from imagequeue.rate_limits import LimiterState
from imagequeue.store.connection import StreamEntry
from imagequeue.store.event_log import EventLog, EventsMissing, entry_of
from imagequeue.store.jobs import JobStore
from imagequeue.store.limiter import LimiterStore
from imagequeue.waiting import ChangeReader, Field

MOST_UNTOLD: Final = 256
"""Entries held for a client that does not keep up."""
PROGRESS_SECONDS: Final = 2.0
LIMITER_SECONDS: Final = 1.0
PING_SECONDS: Final = 5.0
"""Proxies and clients take a longer silence for a dead connection."""
Ids = Callable[[], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Scope:
    """Which jobs a stream tells of."""

    field: Field
    value: str
    shown: Ids  # the jobs that a client without a past is told of
    moving: Ids  # those whose progress is told
    replay: Callable[[EntryId], Iterable[Sequence[Entry]]]  # raises EventsMissing
    given: tuple[Job, ...] = ()  # what to tell when there is no record in Redis any more

    @property
    def closes(self) -> bool:
        """Whether the stream is over when the job has ended."""
        return self.field == "job"


class SharedLimiter:
    """The limiter's state, read once for all streams of a process that need it within a second."""

    def __init__(self, store: LimiterStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._state = LimiterState()
        self._good_until = 0.0

    def state(self) -> LimiterState:
        """The state, at most a second old."""
        with self._lock:
            if time.monotonic() >= self._good_until:
                self._state = self._store.state()
                self._good_until = time.monotonic() + LIMITER_SECONDS
            return self._state


@dataclass(frozen=True, slots=True)
class Sources:
    """What streams are made from; all share it."""

    log: EventLog
    jobs: JobStore
    limiter: SharedLimiter
    changes: ChangeReader
    stopping: threading.Event


@dataclass(frozen=True, slots=True)
class Mail:
    """What came since the last look. `lost`: too much, it was thrown away. `again`: entries may be missing."""

    entries: Sequence[StreamEntry]
    lost: bool
    again: bool


class Inbox:
    """Entries on their way from the reader's thread to the stream's: a bounded number of them."""

    def __init__(self, most: int = MOST_UNTOLD) -> None:
        self._most = most
        self._entries: deque[StreamEntry] = deque()
        self._lost = self._again = False
        self._changed = threading.Condition()

    def put(self, entry: StreamEntry | None) -> None:
        """Take an entry, or None: look again."""
        with self._changed:
            if entry is None:
                self._again = True
            elif self._lost or len(self._entries) >= self._most:
                self._lost = True
                self._entries.clear()
            else:
                self._entries.append(entry)
            self._changed.notify()

    def take(self, seconds: float) -> Mail:
        """Whatever is there, as soon as there is something, or nothing after `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: self._entries or self._lost or self._again, max(0.0, seconds))
            mail = Mail(tuple(self._entries), self._lost, self._again)
            self._entries.clear()
            self._lost = self._again = False
            return mail


class EventStream:
    """Events from where a client was, or from now on. Iterate once; an event without a name is a sign of life."""

    def __init__(self, sources: Sources, scope: Scope, after: EntryId | None, reset: str = "") -> None:
        """Read nothing yet.

        Args:
            sources: what streams are made from.
            scope: which jobs.
            after: the last entry that the client knows; None: it is told how things are.
            reset: why what it knows is of no use.
        """
        self._sources = sources
        self._scope = scope
        self._after = after
        self._reset = reset
        self._position = BEGINNING  # everything up to here was told, or concerns others
        self._shown: frozenset[str] = frozenset()  # jobs whose records were told …
        self._shown_at = BEGINNING  # … as they were then
        self._progress: dict[str, JobProgress] = {}
        self._over = False

    def __iter__(self) -> Generator[StreamEvent]:
        """Tell events until the job has ended or the process is to end. Something comes at once.

        Raises:
            StoreUnavailable: Redis does not answer; the client may come back with what it has.
        """
        inbox = Inbox()
        with self._sources.changes.following(self._scope.field, self._scope.value, inbox.put):
            if self._after is None:
                yield from self._now(self._reset)
            else:
                yield from self._since(self._after)
                if not self._over:
                    yield self._alive()
            yield from self._follow(inbox)

    def _follow(self, inbox: Inbox) -> Generator[StreamEvent]:
        progress_due = time.monotonic()
        ping_due = progress_due + PING_SECONDS
        while not self._over:
            passed = EntryId.parse(self._sources.changes.passed) or BEGINNING
            mail = inbox.take(min(progress_due, ping_due) - time.monotonic())
            if self._sources.stopping.is_set():
                return
            if mail.lost:
                yield from self._now("too_slow")
            elif mail.again:
                yield from self._since(self._position)
            elif mail.entries:
                yield from self._tell(map(entry_of, mail.entries))
            elif not self._scope.closes:  # all that the reader has passed was for others; a job's own log is kept
                self._position = max(self._position, passed)
            if not self._over and time.monotonic() >= progress_due:
                yield from self._progressed()
                progress_due = time.monotonic() + PROGRESS_SECONDS
            if not self._over and time.monotonic() >= ping_due:
                yield self._alive()
                ping_due = time.monotonic() + PING_SECONDS

    def _since(self, after: EntryId) -> Generator[StreamEvent]:
        """What happened after an entry; how things are, where that is not kept."""
        self._position = after
        try:
            for page in self._scope.replay(after):
                yield from self._tell(page)
                final = next(filter(ends, page), None)
                if self._scope.closes and final and not self._over:  # the client lacks nothing but the end
                    yield from self._end(event_of(final), final.id)
        except EventsMissing:
            yield from self._now("events_missing")

    def _now(self, reset: str) -> Generator[StreamEvent]:
        """How things are; after a `reset` if the client believes to know it."""
        if reset:
            yield reset_event(reset)
        self._position = self._sources.log.newest()
        found, self._shown_at = self._sources.log.records(self._scope.shown())
        jobs = found or self._scope.given
        self._shown = frozenset(job.id for job in jobs)
        if self._scope.closes:
            self._position = self._shown_at
        # Only with the last one does the client know all, and has an id to come back with.
        *events, last = [*map(state_event, jobs)] or [StreamEvent("", {})]
        yield from events
        yield replace(last, id=str(self._position))
        if self._scope.closes and all(job.state.terminal for job in jobs):
            yield from self._end(last, self._position)

    def _tell(self, entries: Iterable[Entry]) -> Generator[StreamEvent]:
        for entry in entries:
            shown = entry.job_id in self._shown and entry.id <= self._shown_at
            if shown or entry.id <= self._position:
                continue
            self._position = entry.id
            event = event_of(entry)
            yield event
            if self._closes_with(entry):
                yield from self._end(event, entry.id)
                return

    def _closes_with(self, entry: Entry) -> bool:
        return self._scope.closes and ends(entry)

    def _alive(self) -> StreamEvent:
        """A sign of life, with what to come back with."""
        return StreamEvent("", {}, str(self._position))

    def _end(self, state: StreamEvent, entry: EntryId) -> Generator[StreamEvent]:
        self._over = True
        yield end_event(state, entry)

    def _progressed(self) -> Generator[StreamEvent]:
        """How far the jobs are, where that has changed."""
        try:
            jobs = self._sources.jobs.get_many(self._scope.moving())
            waiting = [job for job in jobs if not job.state.terminal]
            positions = self._sources.jobs.positions(waiting)
            limiter = self._sources.limiter.state()
        except StoreUnavailable:  # a later look will do
            return
        if self._scope.closes and not waiting:  # an end that the reader has not told, for once
            yield from self._since(self._position)
            return
        before = self._progress
        self._progress = {
            job.id: progress_of(job, position, limiter) for job, position in zip(waiting, positions, strict=True)
        }
        for job_id, progress in self._progress.items():
            if before.get(job_id) != progress:
                yield StreamEvent("progress", progress.model_dump(mode="json"))
