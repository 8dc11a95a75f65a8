"""The feeder: in one worker of the fleet at a time, it begins lines of batches wherever there is a place for one."""

from __future__ import annotations

import threading
from typing import Final

import structlog

from imagequeue.errors import ObjectsUnavailable, StoreUnavailable
from imagequeue.feeding import Feed
from imagequeue.store.connection import StreamEntry
from imagequeue.store.feeding import FeedStore
from imagequeue.waiting import ChangeReader

_TICK_SECONDS: Final = 1.0
_HOLD_SECONDS: Final = 3.0
_PAUSE_SECONDS: Final = 0.01
"""Between rounds: what happens meanwhile is one wake-up. Without it, each end of a job would cost a round."""
_log = structlog.stdlib.get_logger(__name__)


class Feeder:
    """Feeds in a thread of its own, from `start` to `close`; woken by whatever happens to batches."""

    def __init__(self, feed: Feed, store: FeedStore, changes: ChangeReader, worker: str) -> None:
        self._feed = feed
        self._store = store
        self._changes = changes
        self._worker = worker
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Stop; returns when what was begun is done."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()
        self._feed.close()

    def _run(self) -> None:
        with self._changes.following("lane", "batch", self._changed):
            while not self._stopping.is_set():
                self._wake.wait(_TICK_SECONDS)
                self._wake.clear()
                try:
                    if not self._stopping.is_set() and self._store.may_feed(self._worker, int(_HOLD_SECONDS * 1000)):
                        self._round()
                except (StoreUnavailable, ObjectsUnavailable) as error:
                    _log.warning("feeding_interrupted", error=str(error))
                except Exception:
                    _log.exception("feeding_failed")
                self._stopping.wait(_PAUSE_SECONDS)
        self._leave()

    def _round(self) -> None:
        if self._feed.round():
            self._wake.set()

    def _changed(self, entry: StreamEntry | None) -> None:
        self._wake.set()

    def _leave(self) -> None:
        try:
            self._store.stop_feeding(self._worker)
        except StoreUnavailable as error:
            _log.warning("feeder_left_untold", error=str(error))
