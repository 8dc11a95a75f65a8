"""The sweeper: about once a second, in one worker of the fleet at a time, it sets right what crashes left behind.

It sends what stays in the outbox, takes back lapsed leases, and sends retries whose time has come. Hints that the
broker lost are sent again too: jobs wait although the broker holds no hint for them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from imagequeue.errors import StoreUnavailable
from imagequeue.jobs import LANES, Lane
from imagequeue.queue import Dispatcher
from imagequeue.store.fleet import FleetStore
from imagequeue.store.jobs import JobStore, job_id_of
from imagequeue.store.sessions import SessionStore

TICK_SECONDS: Final = 1.0
OUTBOX_AGE_MS: Final = 2_000
"""A submit that has not sent its hint by then has crashed or lost its broker."""
_LIMIT: Final = 500
_LOST_AFTER_SWEEPS: Final = 3
_log = structlog.stdlib.get_logger(__name__)


class Sweeper:
    """Sweeps in a thread of its own, from `start` to `close`."""

    def __init__(
        self,
        store: JobStore,
        sessions: SessionStore,
        fleet: FleetStore,
        dispatcher: Dispatcher,
        worker: str,
        session_idle_ms: int,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._session_idle_ms = session_idle_ms
        self._fleet = fleet
        self._dispatcher = dispatcher
        self._worker = worker
        self._hintless_sweeps: dict[Lane, int] = dict.fromkeys(LANES, 0)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begin to sweep."""
        self._thread.start()

    def close(self) -> None:
        """Stop; returns when the thread has ended."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(TICK_SECONDS):
            try:
                if self._fleet.may_sweep(self._worker, int(TICK_SECONDS * 900)):
                    self.sweep()
            except StoreUnavailable as error:
                _log.warning("sweep_interrupted", error=str(error))

    def sweep(self) -> None:
        """Set right what is due now.

        Raises:
            StoreUnavailable: Redis or the broker does not answer; the next sweep goes on.
        """
        due = self._store.due(OUTBOX_AGE_MS, self._session_idle_ms, _LIMIT)
        self._each(self._take_back, due.lapsed)
        self._each(self._end_delay, due.delayed)
        self._each(self._store.cancel_halted, due.halted)
        self._each(self._expire, due.idle_sessions)
        self._each(self._resend, due.unsent)
        for lane in LANES:
            self._replace_lost_hints(lane)

    def _each(self, mend: Callable[[str], None], items: Sequence[str]) -> None:
        """Mend all items; one that cannot be mended must not keep the others waiting, tick after tick."""
        for item in items:
            try:
                mend(item)
            except StoreUnavailable:
                raise
            except Exception:
                _log.exception("not_mended", item=item)

    def _take_back(self, lease: str) -> None:
        job_id = job_id_of(lease)
        outcome = self._store.sweep(job_id, lease)
        _log.warning("lease_lapsed", job=job_id, lease=lease, outcome=outcome)
        if outcome == "queued":
            self._send(job_id)

    def _end_delay(self, job_id: str) -> None:
        if self._store.sweep(job_id) == "queued":
            self._send(job_id)

    def _expire(self, session_id: str) -> None:
        self._sessions.expire(session_id, self._session_idle_ms)

    def _resend(self, job_id: str) -> None:
        _log.info("outbox_resent", job=job_id)
        self._send(job_id)

    def _replace_lost_hints(self, lane: Lane) -> None:
        waiting = self._store.oldest_waiting(lane, _LIMIT)
        if not waiting or self._dispatcher.backlog(lane):
            self._hintless_sweeps[lane] = 0
            return
        # A hint on its way from the broker to a claim looks lost for a moment.
        self._hintless_sweeps[lane] += 1
        if self._hintless_sweeps[lane] < _LOST_AFTER_SWEEPS:
            return
        self._hintless_sweeps[lane] = 0
        _log.warning("hints_lost", lane=lane, jobs=len(waiting))
        for job_id in waiting:
            self._dispatcher.dispatch(job_id, lane)

    def _send(self, job_id: str) -> None:
        lane = self._store.lane(job_id)
        if lane:
            self._dispatcher.dispatch(job_id, lane)
        else:
            self._store.sent(job_id)
