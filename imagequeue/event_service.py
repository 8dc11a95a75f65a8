"""Streams of events of a job, a session, a batch, or everything of an owner: a part of the one door, ImageQueue."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import Final

from imagequeue.batch_records import BatchRecords
from imagequeue.batch_streams import BatchStream
from imagequeue.event_streams import EventStream, Scope, SharedLimiter, Sources
from imagequeue.events import LastEventId
from imagequeue.jobs import Job
from imagequeue.session_service import SessionService
from imagequeue.store.event_log import EventLog
from imagequeue.store.jobs import JobStore
from imagequeue.store.limiter import LimiterStore
from imagequeue.waiting import ChangeReader

MOST_SHOWN: Final = 100
"""Jobs whose state a client without a past is told of: a page of the list."""
MOST_MOVING: Final = 20
"""Jobs whose progress is told: those that run and the next ones to run. Of thousands it would be noise."""


class EventService:
    """Opens streams. `last_event_id` is what a client that comes back has got last."""

    def __init__(
        self,
        log: EventLog,
        jobs: JobStore,
        limiter: LimiterStore,
        sessions: SessionService,
        batches: BatchRecords,
        changes: ChangeReader,
    ) -> None:
        self._sources = Sources(log, jobs, SharedLimiter(limiter), changes, threading.Event())
        self._sessions = sessions
        self._batches = batches

    def of_job(self, job: Job, last_event_id: str = "") -> EventStream | None:
        """Events of one job, to its end; None when the client knows of its end."""
        last = LastEventId.parse(last_event_id)
        if last and last.ended and job.state.terminal:
            return None
        log = self._sources.log

        def ids() -> Sequence[str]:
            return [job.id]

        scope = Scope("job", job.id, ids, ids, lambda after: [log.of_job(job.id, after)], given=(job,))
        return self._opened(scope, last_event_id)

    def of_session(self, session_id: str, last_event_id: str = "", *, owner: str) -> EventStream:
        """Events of a session's turns, of those too that are still to be added.

        Raises:
            SessionNotFound: there is none, or it belongs to somebody else.
        """
        log = self._sources.log

        def turns() -> Sequence[str]:
            return self._sessions.turn_job_ids(session_id, owner=owner)[-MOST_SHOWN:]

        turns()
        moving = partial(log.unfinished_turns, session_id, MOST_MOVING)
        scope = Scope("session", session_id, turns, moving, partial(log.of_fleet, "session", session_id))
        return self._opened(scope, last_event_id)

    def of_batch(self, batch_id: str, last_event_id: str = "", *, owner: str) -> BatchStream | None:
        """Events of a batch, to its end; None when the client knows of its end.

        Raises:
            BatchNotFound: there is none, or it belongs to somebody else.
        """
        last = LastEventId.parse(last_event_id)
        if self._batches.get(batch_id, owner).ended and last and last.ended:
            return None
        replay = partial(self._sources.log.of_fleet, "batch", batch_id)
        scope = Scope("batch", batch_id, tuple, tuple, replay)
        unreadable = "unknown_last_event_id" if last_event_id and last is None else ""
        read = partial(self._batches.get, batch_id, owner)
        return BatchStream(self._sources, scope, read, last.entry if last else None, unreadable)

    def of_owner(self, owner: str, last_event_id: str = "") -> EventStream:
        """Events of all jobs of an owner."""
        log = self._sources.log
        shown, moving = (partial(log.unfinished, owner, most) for most in (MOST_SHOWN, MOST_MOVING))
        return self._opened(Scope("owner", owner, shown, moving, partial(log.of_fleet, "owner", owner)), last_event_id)

    def stop(self) -> None:
        """Let every stream, now and from now on, end: the process is to end. Have them look afterwards."""
        self._sources.stopping.set()

    def _opened(self, scope: Scope, last_event_id: str) -> EventStream:
        last = LastEventId.parse(last_event_id)
        unreadable = "unknown_last_event_id" if last_event_id and last is None else ""
        return EventStream(self._sources, scope, last.entry if last else None, unreadable)
