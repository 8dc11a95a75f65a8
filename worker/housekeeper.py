"""The housekeeper: in one worker of the fleet at a time, it archives what has ended and deletes what is past retention.

It has a thread of its own: S3 may be slow, and the sweeper must not wait for it.
"""

from __future__ import annotations

import threading
import time
from typing import Final

import structlog

from imagequeue.errors import ImageQueueError, StoreUnavailable
from imagequeue.retention import Retention
from imagequeue.store.fleet import FleetStore

_TICK_SECONDS: Final = 1.0
_HOLD_SECONDS: Final = 10.0
"""After that another worker begins a round of its own, because this one may be dead. Two at once do no harm."""
_log = structlog.stdlib.get_logger(__name__)


class Housekeeper:
    """Keeps house in a thread of its own, from `start` to `close`."""

    def __init__(self, retention: Retention, fleet: FleetStore, worker: str) -> None:
        self._retention = retention
        self._fleet = fleet
        self._worker = worker
        self._stopping = threading.Event()
        self._trouble: str | None = None
        self._thread = threading.Thread(target=self._run, name="housekeeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Stop; returns when what was begun is done."""
        self._stopping.set()
        self._thread.join()
        self._retention.close()

    def _run(self) -> None:
        while not self._stopping.wait(_TICK_SECONDS):
            try:
                if self._fleet.may_keep_house(self._worker, int(_HOLD_SECONDS * 1000)):
                    self._keep_house()
            except StoreUnavailable as error:
                _log.warning("housekeeping_interrupted", error=str(error))

    def _keep_house(self) -> None:
        began = time.monotonic()
        try:
            self._retention.round()
        except StoreUnavailable:
            raise
        except ImageQueueError as error:  # S3: nothing leaves Redis meanwhile, and once told is enough
            if self._trouble is None:
                _log.warning("housekeeping_waits_for_s3", error=str(error))
            self._trouble = str(error)
        else:
            if self._trouble is not None:
                _log.info("housekeeping_goes_on")
            self._trouble = None
        if time.monotonic() - began < _HOLD_SECONDS:
            self._fleet.house_kept()
