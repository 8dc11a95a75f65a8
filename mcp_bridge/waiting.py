"""Waiting for jobs as long as a client waits, telling it meanwhile what for."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final

from imagequeue.jobs import JobState
from imagequeue.views import JobView
from mcp_bridge.door import Door

LOOK_EVERY_SECONDS: Final = 2.5
REPEAT_AFTER_SECONDS: Final = 2.75
"""Of silence. Clients are promised progress every 3 s, and some give up without it."""
Report = Callable[[str], Awaitable[None]]
Enough = Callable[[Sequence[JobView]], bool]


def all_ended(jobs: Sequence[JobView]) -> bool:
    """Whether there is nothing left to wait for."""
    return all(job.state.terminal for job in jobs)


def any_ended(jobs: Sequence[JobView]) -> bool:
    """Whether there is something to hand over."""
    return any(job.state.terminal for job in jobs)


async def wait(
    door: Door, job_ids: Sequence[str], seconds: float, report: Report, enough: Enough = all_ended
) -> tuple[JobView, ...]:
    """The jobs once they are `enough`, or as they are after `seconds`. A caller that goes away leaves them running."""
    async with aclosing(door.watch(job_ids, seconds, LOOK_EVERY_SECONDS)) as looks, _telling(report) as tell:
        jobs: tuple[JobView, ...] = ()
        async for jobs in looks:
            if enough(jobs):
                break
            await tell(progress(jobs))
        return jobs


@asynccontextmanager
async def _telling(report: Report) -> AsyncGenerator[Report]:
    """A report that is repeated until there is news: a look may take long, or fail for a while."""
    words, due = "", math.inf

    async def tell(news: str) -> None:
        nonlocal words, due
        words, due = news, time.monotonic() + REPEAT_AFTER_SECONDS
        await report(news)

    async def repeat() -> None:
        while True:
            await asyncio.sleep(min(due - time.monotonic(), REPEAT_AFTER_SECONDS))
            if time.monotonic() >= due:
                await tell(words)

    repeating = asyncio.create_task(repeat())
    try:
        yield tell
    finally:
        repeating.cancel()
        await asyncio.gather(repeating, return_exceptions=True)


def progress(jobs: Sequence[JobView]) -> str:
    """What the jobs wait for, in a line: `queued, 7th, about 90 s, about $0.05`."""
    left = [job for job in jobs if not job.state.terminal]
    if len(jobs) == 1:
        return describe(jobs[0])
    return f"{len(jobs) - len(left)} of {len(jobs)} ended" + (f"; {left[0].id}: {describe(left[0])}" if left else "")


def describe(job: JobView) -> str:
    """A job's state, place, time and price in a line."""
    if job.state.terminal:
        return str(job.state)
    parts: list[str] = [job.state]
    if job.position is not None:
        parts.append(_ordinal(job.position))
    if job.eta_seconds is not None:
        parts.append(f"about {job.eta_seconds} s")
    elif job.state is JobState.QUEUED:
        parts.append(f"waits for {job.waiting_for}")
    return ", ".join([*parts, f"about {dollars(job.estimate.expected_usd)}"])


def dollars(amount: float) -> str:
    """An amount as people write it; less than a cent with its first figures."""
    return f"${amount:.2f}" if amount >= 0.1 else f"${amount:.3f}"


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
