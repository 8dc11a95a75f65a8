"""One heartbeat per worker process: it renews the leases of all running jobs and shows that the process lives."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import structlog

from imagequeue.errors import StoreUnavailable
from imagequeue.jobs import Claim
from imagequeue.store.attempts import AttemptStore, lease_of
from imagequeue.store.fleet import FleetStore

_BEATS_PER_LEASE: Final = 3
_RETRY_SECONDS: Final = 0.5
_log = structlog.stdlib.get_logger(__name__)


class Heartbeat:
    """Renews leases in a thread of its own, from `start` to `close`."""

    def __init__(self, store: AttemptStore, fleet: FleetStore, worker: str, lease_ms: int, slots: int) -> None:
        self._store = store
        self._fleet = fleet
        self._worker = worker
        self._lease_ms = lease_ms
        self._slots = slots
        self._joined = False
        self._leases: set[str] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Give the first sign of life, then one every third of a lease."""
        self._beat()
        self._thread.start()

    @contextmanager
    def holding(self, claim: Claim) -> Generator[None]:
        """Renew the claim's lease while the block runs."""
        lease = lease_of(claim)
        with self._lock:
            self._leases.add(lease)
        try:
            yield
        finally:
            with self._lock:
                self._leases.discard(lease)

    @property
    def held(self) -> int:
        """How many leases this worker holds."""
        with self._lock:
            return len(self._leases)

    def close(self) -> None:
        """Stop, and tell the fleet that this worker left."""
        self._stopping.set()
        self._thread.join()
        try:
            self._fleet.worker_left(self._worker)
        except StoreUnavailable as error:
            _log.warning("leaving_untold", error=str(error))

    def _run(self) -> None:
        interval = self._lease_ms / 1000 / _BEATS_PER_LEASE
        pause = interval
        while not self._stopping.wait(pause):
            pause = interval if self._beat() else min(interval, _RETRY_SECONDS)

    def _beat(self) -> bool:
        with self._lock:
            leases = sorted(self._leases)
        try:
            lost = self._store.renew(self._worker, leases, self._lease_ms)
            if not self._joined:
                self._fleet.worker_joined(self._worker, self._slots)
                self._joined = True
        except StoreUnavailable as error:
            _log.warning("heartbeat_missed", error=str(error), leases=len(leases))
            return False
        with self._lock:
            taken = self._leases.intersection(lost)  # those that ended meanwhile were not taken back
            self._leases.difference_update(taken)
        for lease in sorted(taken):
            _log.warning("lease_taken_back", lease=lease)
        return True
