"""Looking at jobs for all who wait for them: what is asked for during one look goes into the next, together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from imagequeue.errors import JobNotFound
from imagequeue.views import JobView

MOST: Final = 100
"""Jobs of one look: as many as the REST API takes."""
Read = Callable[[Sequence[str]], Awaitable[Sequence[JobView]]]


class Looks:
    """One look at a time, however many wait. Each is told as soon as its own look is done.

    Args:
        read: gives those of up to `most` jobs that there are.
        most: jobs of one look.
    """

    def __init__(self, read: Read, most: int = MOST) -> None:
        self._read = read
        self._most = most
        self._one_at_a_time = asyncio.Lock()
        self._asked: dict[str, None] = {}  # of the next look, in their order
        self._next: asyncio.Task[Mapping[str, JobView]] | None = None

    async def look(self, job_ids: Sequence[str]) -> tuple[JobView, ...]:
        """The jobs as they are now.

        Raises:
            JobNotFound: there is no such job, or it is somebody else's.
        """
        found: dict[str, JobView] = {}
        for start in range(0, len(job_ids), self._most):
            # Others wait for the same look.
            found |= await asyncio.shield(self._coming(job_ids[start : start + self._most]))
        for job_id in job_ids:
            if job_id not in found:
                raise JobNotFound(job_id)
        return tuple(found[job_id] for job_id in job_ids)

    def _coming(self, job_ids: Sequence[str]) -> asyncio.Task[Mapping[str, JobView]]:
        """The look with these jobs in it: the next one, or a new one behind it when they would be too many."""
        if self._next is None or len(self._asked.keys() | job_ids) > self._most:
            self._asked = {}
            self._next = asyncio.create_task(self._look(self._asked))
        self._asked.update(dict.fromkeys(job_ids))
        return self._next

    async def _look(self, asked: Mapping[str, None]) -> Mapping[str, JobView]:
        async with self._one_at_a_time:
            if self._asked is asked:
                self._next = None
            return {job.id: job for job in await self._read(tuple(asked))}
