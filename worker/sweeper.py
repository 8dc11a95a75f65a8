"""The sweeper: about once a second, in one worker of the fleet at a time, it sets right what crashes left behind."""

from __future__ import annotations

import threading
from typing import Final

import structlog

from imagequeue.errors import StoreUnavailable
from imagequeue.store.fleet import FleetStore
from imagequeue.sweeping import Sweep
from worker.webhooks import WebhookSweep

TICK_SECONDS: Final = 1.0
_log = structlog.stdlib.get_logger(__name__)


class Sweeper:
    """Sweeps in a thread of its own, from `start` to `close`."""

    def __init__(self, sweep: Sweep, webhooks: WebhookSweep, fleet: FleetStore, worker: str) -> None:
        self._sweep = sweep
        self._webhooks = webhooks
        self._fleet = fleet
        self._worker = worker
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
                    self._sweep.run()
                    self._webhooks.run()
            except StoreUnavailable as error:
                _log.warning("sweep_interrupted", error=str(error))
