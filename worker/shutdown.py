"""How a worker stops: the first signal finishes the calls in flight; the second, or the grace's end, closes them."""

from __future__ import annotations

import threading

import structlog

from worker.calls import CallsInFlight

_log = structlog.stdlib.get_logger(__name__)


class Shutdown:
    """Listens to Celery's signal of a shutdown, which comes in the main thread, once for each SIGTERM or SIGINT."""

    def __init__(
        self, stopping: threading.Event, giving_up: threading.Event, calls: CallsInFlight, grace_seconds: float
    ) -> None:
        self._stopping = stopping
        self._giving_up = giving_up
        self._calls = calls
        self._grace = threading.Timer(grace_seconds, self._give_up)
        self._grace.daemon = True

    def on_signal(self, **_: object) -> None:
        """Take no more jobs; the second time, give up."""
        if not self._stopping.is_set():
            self._stopping.set()  # Celery goes on receiving for up to a second after the signal
            self._grace.start()
            return
        # Not in the signal's handler: the thread that it interrupted may hold a lock that is needed.
        threading.Thread(target=self._give_up, name="give-up", daemon=True).start()

    def _give_up(self) -> None:
        self._grace.cancel()
        self._giving_up.set()
        _log.warning("giving_up", calls_closed=self._calls.close_all())
