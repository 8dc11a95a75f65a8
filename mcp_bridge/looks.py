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
    """One look at a time, however many wait.

    Args:
        read: gives those of up to `MOST` jobs that there are.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._asked: dict[str, None] = {}  # in their order
        self._one_at_a_time = asyncio.Lock()
        self._next: asyncio.Task[Mapping[str, JobView]] | None = None

    async def look(self, job_ids: Sequence[str]) -> tuple[JobView, ...]:
        """The jobs as they are now.

        Raises:
            JobNotFound: there is no such job, or it is somebody else's.
        """
        self._asked.update(dict.fromkeys(job_ids))
        self._next = self._next or asyncio.create_task(self._look())
        found = await asyncio.shield(self._next)  # others wait for the same look
        for job_id in job_ids:
            if job_id not in found:
                raise JobNotFound(job_id)
        return tuple(found[job_id] for job_id in job_ids)

    async def _look(self) -> Mapping[str, JobView]:
        async with self._one_at_a_time:
            asked = tuple(self._asked)
            self._asked, self._next = {}, None
            parts = [asked[start : start + MOST] for start in range(0, len(asked), MOST)]
            return {job.id: job for part in parts for job in await self._read(part)}
