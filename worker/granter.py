"""The granter: it lets jobs go that the limiter parked, as soon as there is room for their calls.

Every worker has one; which of them comes first does not matter, because a grant is one step in Redis.
"""

from __future__ import annotations

import threading
from typing import Final

import structlog

from imagequeue.errors import StoreUnavailable
from imagequeue.queue import Dispatcher
from imagequeue.store.limiter import LimiterStore

_IDLE_SECONDS: Final = 1.0
"""How soon a job is seen that another worker parked before it died."""
_MOST: Final = 100
_log = structlog.stdlib.get_logger(__name__)


class Granter:
    """Grants in a thread of its own, from `start` to `close`."""

    def __init__(self, limiter: LimiterStore, dispatcher: Dispatcher) -> None:
        self._limiter = limiter
        self._dispatcher = dispatcher
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="granter", daemon=True)

    def start(self) -> None:
        """Begin to grant."""
        self._thread.start()

    def wake(self) -> None:
        """Look now: a job was parked, or the breaker was closed."""
        self._wake.set()

    def close(self) -> None:
        """Stop; returns when the thread has ended."""
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        pause = _IDLE_SECONDS
        while not self._stopping:
            self._wake.wait(pause)
            self._wake.clear()
            try:
                pause = self._grant()
            except StoreUnavailable as error:
                _log.warning("granting_interrupted", error=str(error))
                pause = _IDLE_SECONDS

    def _grant(self) -> float:
        """Let go what may go; seconds until there may be more."""
        granted = self._limiter.grant(_MOST)
        for lane, job_id in granted.jobs:
            self._dispatcher.dispatch(job_id, lane)
        return _IDLE_SECONDS if granted.wait_ms is None else min(_IDLE_SECONDS, granted.wait_ms / 1000)
