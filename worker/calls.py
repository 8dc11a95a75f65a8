"""The calls that this process has in flight, so that all of them can be closed at once."""

from __future__ import annotations

import threading
from collections.abc import Coroutine, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from worker.loop import LoopThread

T = TypeVar("T")


class CallsInFlight:
    """Runs calls on the process's one loop."""

    def __init__(self, loop: LoopThread) -> None:
        self._loop = loop
        self._futures: set[Future[Any]] = set()
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def making(self, call: Coroutine[Any, Any, T]) -> Generator[Future[T]]:
        """Start a call; cancelling the future closes its connection."""
        with self._lock:
            future = self._loop.submit(call)
            self._futures.add(future)
            if self._closed:
                future.cancel()
        try:
            yield future
        finally:
            with self._lock:
                self._futures.discard(future)

    def close_all(self) -> int:
        """Close the connections of all calls, those that still come too; gives back how many were in flight."""
        with self._lock:
            self._closed = True
            futures = tuple(self._futures)
        for future in futures:
            future.cancel()
        return len(futures)
