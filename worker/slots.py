"""Celery's side of a slot: hints need no acknowledgement, and a slot that becomes free takes the next one at once."""

from __future__ import annotations

import os
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from celery.concurrency.thread import TaskPool
from celery.worker.request import Request


class HintRequest(Request):
    """A message whose loss harms nobody, for the records know what has to run and a sweep sends its hint again.

    So nothing is acknowledged: with Redis as the broker that would be six more commands for each message.
    """

    def acknowledge(self) -> None:
        """Do nothing."""
        self.acknowledged = True


class SlotPool(TaskPool):
    """Celery's threads, and a word to the event loop whenever one of them is free again.

    A worker that takes a message only for a free slot looks for the next one when something wakes its loop: a message
    for another queue, or a timer once a second. Without a word, slots would stay empty for half a second on average.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._to_hear, self._to_tell = os.pipe()
        os.set_blocking(self._to_hear, False)
        os.set_blocking(self._to_tell, False)

    def register_with_event_loop(self, loop: Any) -> None:
        """Celery calls this with its loop, again after a lost connection."""
        loop.add_reader(self._to_hear, self._heard)

    def on_apply(self, *args: Any, **options: Any) -> Any:
        """Run a task in a slot; gives Celery's handle of it."""
        result: Any = super().on_apply(*args, **options)  # pyright: ignore[reportUnknownMemberType]
        result.f.add_done_callback(self._tell)
        return result

    def _tell(self, _: Future[Any]) -> None:
        with suppress(BlockingIOError):  # so many words wait that one more makes no difference
            os.write(self._to_tell, b".")

    def _heard(self) -> None:
        os.read(self._to_hear, 65_536)
