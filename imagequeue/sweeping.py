"""A sweep: it sets right what crashes left behind.

It sends what stays in the outbox, takes back lapsed leases, and sends retries whose time has come. Hints that the
broker lost are sent again too: jobs wait although the broker holds no hint for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final

import structlog

from imagequeue.errors import StoreUnavailable
from imagequeue.jobs import LANES, Lane
from imagequeue.queue import Dispatcher
from imagequeue.store.attempts import AttemptStore, job_id_of
from imagequeue.store.sessions import SessionStore

OUTBOX_AGE_MS: Final = 2_000
"""A submit that has not sent its hint by then has crashed or lost its broker."""
_LIMIT: Final = 500
_LOST_AFTER_SWEEPS: Final = 3
_log = structlog.stdlib.get_logger(__name__)


class Sweep:
    """Sweeps, pass by pass. `mended` counts by kind what was set right."""

    def __init__(
        self,
        store: AttemptStore,
        sessions: SessionStore,
        dispatcher: Dispatcher,
        *,
        lease_ms: int,
        session_idle_ms: int,
        outbox_age_ms: int = OUTBOX_AGE_MS,
        lost_after_sweeps: int = _LOST_AFTER_SWEEPS,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._dispatcher = dispatcher
        self._lease_ms = lease_ms
        self._session_idle_ms = session_idle_ms
        self._outbox_age_ms = outbox_age_ms
        self._lost_after_sweeps = lost_after_sweeps
        self._hintless_sweeps: dict[Lane, int] = dict.fromkeys(LANES, 0)
        self.mended: Counter[str] = Counter()

    def run(self) -> int:
        """Set right what is due now.

        Returns:
            For how many milliseconds lapsed leases are spared because nobody swept before; 0 when none is.

        Raises:
            StoreUnavailable: Redis or the broker does not answer; the next pass goes on.
        """
        due = self._store.due(self._outbox_age_ms, self._session_idle_ms, self._lease_ms, _LIMIT)
        ready: list[str] = []  # sent when all leases are taken back: who runs the first ones slows this thread down
        self._each("leases taken back", lambda lease: ready.extend(self._taken_back(lease)), due.lapsed)
        self._each("retries due", lambda job_id: ready.extend(self._delay_ended(job_id)), due.delayed)
        self._each("halted turns cancelled", self._store.cancel_halted, due.halted)
        self._each("idle sessions looked at", self._expire, due.idle_sessions)
        self._each("hints sent", self._send, dict.fromkeys((*ready, *due.unsent)))
        hintless = self._store.hintless()
        for lane in LANES:
            self._replace_lost_hints(lane, hintless)
        return due.spared_ms

    def _each(self, kind: str, mend: Callable[[str], None], items: Iterable[str]) -> None:
        """Mend all items; one that cannot be mended must not keep the others waiting, pass after pass."""
        for item in items:
            try:
                mend(item)
                self.mended[kind] += 1
            except StoreUnavailable:
                raise
            except Exception:
                _log.exception("not_mended", item=item)

    def _taken_back(self, lease: str) -> Iterator[str]:
        """The job, if it is to run again."""
        job_id = job_id_of(lease)
        outcome = self._store.sweep(job_id, lease, self._lease_ms)
        _log.warning("lease_lapsed", job=job_id, lease=lease, outcome=outcome)
        if outcome == "queued":
            yield job_id

    def _delay_ended(self, job_id: str) -> Iterator[str]:
        """The job, if it is to run now."""
        if self._store.sweep(job_id) == "queued":
            yield job_id

    def _expire(self, session_id: str) -> None:
        self._sessions.expire(session_id, self._session_idle_ms)

    def _replace_lost_hints(self, lane: Lane, hintless: bool) -> None:
        if not hintless or self._dispatcher.backlog(lane):
            self._hintless_sweeps[lane] = 0
            return
        # A hint on its way from the broker to a claim looks lost for a moment.
        self._hintless_sweeps[lane] += 1
        if self._hintless_sweeps[lane] < self._lost_after_sweeps:
            return
        self._hintless_sweeps[lane] = 0
        lost = list(islice(self._store.unhinted(lane), _LIMIT))
        if lost:
            _log.warning("hints_lost", lane=lane, jobs=len(lost))
        for job_id in lost:
            self._dispatcher.dispatch(job_id, lane)
        self.mended["lost hints replaced"] += len(lost)

    def _send(self, job_id: str) -> None:
        lane = self._store.lane(job_id)
        if lane:
            self._dispatcher.dispatch(job_id, lane)
        else:
            self._store.sent(job_id)
