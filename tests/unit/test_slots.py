"""A slot that becomes free says so to Celery's loop, and hints are not acknowledged."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest

from worker.slots import HintRequest, SlotPool


class Loop:
    """What Celery's loop is to a pool: it calls the readers of descriptors that can be read."""

    def __init__(self) -> None:
        self.readers: dict[int, Callable[[], None]] = {}

    def add_reader(self, descriptor: int, reader: Callable[[], None]) -> None:
        """As kombu's."""
        self.readers[descriptor] = reader

    def woken(self, seconds: float) -> bool:
        """Whether something can be read in time; it is."""
        found, _, _ = select.select(list(self.readers), [], [], seconds)
        for descriptor in found:
            self.readers[descriptor]()
        return bool(found)


@pytest.fixture
def pool() -> Generator[SlotPool]:
    """Two slots."""
    made = SlotPool(limit=2, app=None)
    yield made
    made.on_stop()


def test_the_loop_is_woken_when_a_slot_is_free_again_and_not_before(pool: SlotPool) -> None:
    loop, done = Loop(), threading.Event()
    pool.register_with_event_loop(loop)
    pool.on_apply(done.wait, (10,), {})
    assert not loop.woken(0)
    done.set()
    assert loop.woken(10)
    assert not loop.woken(0)


def test_the_slot_is_free_when_the_loop_is_woken(pool: SlotPool) -> None:
    loop, ended = Loop(), list[str]()
    pool.register_with_event_loop(loop)
    pool.on_apply(lambda: None, (), {}, callback=lambda _: ended.append("told"))  # pyright: ignore[reportUnknownLambdaType]
    assert loop.woken(10)
    assert ended == ["told"]  # Celery counts the slot as free in this callback


def test_a_task_that_fails_frees_its_slot_too(pool: SlotPool) -> None:
    def fail() -> None:
        raise RuntimeError("broken")

    loop = Loop()
    pool.register_with_event_loop(loop)
    pool.on_apply(fail, (), {})
    assert loop.woken(10)


def test_words_that_nobody_hears_block_nobody(pool: SlotPool) -> None:
    loop, results = Loop(), [pool.on_apply(lambda: None, (), {}) for _ in range(70_000)]  # more than a pipe holds
    for result in results:
        result.wait(10)
    pool.register_with_event_loop(loop)
    assert loop.woken(10)


def test_a_hint_is_not_acknowledged_to_the_broker() -> None:
    told: list[Any] = []
    request = object.__new__(HintRequest)
    vars(request).update(_on_ack=told.append)
    request.acknowledge()
    assert request.acknowledged
    assert not told
