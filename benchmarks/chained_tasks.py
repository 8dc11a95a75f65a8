"""Celery tasks that do nothing, for chains: what one would write instead of a session's turns."""

from __future__ import annotations

import time
from functools import cache
from typing import Any, Final

import redis
from celery import Celery

HANDOVERS: Final = "chained:handovers"
"""The list in Redis that the second task of each chain appends to: milliseconds since the first one's end."""

app = Celery("chained")  # its broker: CELERY_BROKER_URL
app.conf.update(task_default_queue="chained", task_ignore_result=True, worker_prefetch_multiplier=1)


@app.task(name="first")
def first() -> float:
    """Do nothing; give the time of its end."""
    return time.time()


@app.task(name="second")
def second(ended: float) -> None:
    """Note how long ago the first one ended."""
    started = time.time()
    _client().rpush(HANDOVERS, (started - ended) * 1000)


@cache
def _client() -> Any:
    return redis.Redis.from_url(app.conf.broker_url)  # pyright: ignore[reportUnknownMemberType]
