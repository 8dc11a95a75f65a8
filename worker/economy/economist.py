"""The economist: in every worker, it ships lines of the economy lane and looks after parcels that are due."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import structlog

from imagequeue.errors import ObjectsUnavailable, StoreUnavailable
from imagequeue.store.parcels import HeldParcel, ParcelLost, ParcelStore
from worker.economy.parcel_work import ParcelWork
from worker.economy.shipping import Shipper

_TICK_SECONDS: Final = 1.0
_AT_ONCE: Final = 2
_log = structlog.stdlib.get_logger(__name__)


class Economist:
    """Works in threads of its own, from `start` to `close`. A parcel is leased: one worker looks after it at a time."""

    def __init__(self, store: ParcelStore, shipper: Shipper, work: ParcelWork, worker: str) -> None:
        self._store = store
        self._shipper = shipper
        self._work = work
        self._worker = worker
        self._stopping = threading.Event()
        self._held: dict[Future[None], HeldParcel] = {}
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="parcels")
        self._thread = threading.Thread(target=self._run, name="economist", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Stop; returns when the steps that were begun are done."""
        self._stopping.set()
        self._thread.join()
        self._pool.shutdown(wait=True)

    def _run(self) -> None:
        while not self._stopping.wait(_TICK_SECONDS):
            try:
                self._tick()
            except (StoreUnavailable, ObjectsUnavailable) as error:
                _log.warning("economy_interrupted", error=str(error))
            except Exception:
                _log.exception("economy_failed")

    def _tick(self) -> None:
        for step in [step for step in self._held if step.done()]:
            del self._held[step]
        for held in self._held.values():
            try:
                self._store.renew(held)
            except ParcelLost:  # its step is over, or finds out itself
                continue
        self._shipper.round()
        free = _AT_ONCE - len(self._held)
        for held in self._store.claim_due(self._worker, free) if free else ():
            self._held[self._pool.submit(self._work.step, held)] = held
