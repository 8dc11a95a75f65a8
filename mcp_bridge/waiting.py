"""Waiting for jobs as long as a client waits, telling it meanwhile what for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final

from imagequeue.jobs import JobState
from imagequeue.views import JobView
from mcp_bridge.door import Door

PROGRESS_EVERY_SECONDS: Final = 2.5
"""Clients that were promised progress every 3 s restart their clocks at each."""
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
    async with aclosing(door.watch(job_ids, seconds, PROGRESS_EVERY_SECONDS)) as looks:
        jobs: tuple[JobView, ...] = ()
        async for jobs in looks:
            if enough(jobs):
                break
            await report(progress(jobs))
        return jobs


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
