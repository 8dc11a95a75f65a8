"""The door straight to Redis and S3, through the domain's service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from imagequeue.api_keys import Caller
from imagequeue.jobs import JobState
from imagequeue.requests import ContinueSessionRequest, JobRequest, StartSessionRequest
from imagequeue.service import ImageQueue
from imagequeue.session_views import SessionPage, SessionView
from imagequeue.submission import Submitted, Terms
from imagequeue.views import JobView
from imagequeue.waiting import Listener
from mcp_bridge.door import Accepted, Variant
from mcp_bridge.looks import Looks

JOBS_OF_A_ROUND: Final = 5
"""So few that whoever is woken meanwhile hardly waits for those who only tell how it goes: they all go on at once."""
_NEWS: Final = frozenset({"", *JobState} - {JobState.QUEUED})
"""Events after which to look at once: a change of state; and no name, for entries may be missing."""
THREADS: Final = 16
"""That talk to Redis and S3, whatever the number of calls: a look at a job takes them about a millisecond."""
Result = TypeVar("Result")


class DirectDoor:
    """Blocking calls run in the pool of threads; who waits for a job holds neither a thread nor a connection."""

    def __init__(self, queue: ImageQueue, pool: ThreadPoolExecutor, caller: Caller) -> None:
        self._queue = queue
        self._pool = pool
        self._owner = caller.owner
        self._terms = Terms(caller.owner, caller.key_id, reattach=True)
        self._reader_runs = False
        self._looks = Looks(self._read)
        self._rounds = Looks(self._read, JOBS_OF_A_ROUND)
        """For those who were not woken: there may be very many, and nothing has ended for them."""

    def url(self, path: str) -> str:
        """See Door."""
        return path

    async def submit(self, request: JobRequest) -> Accepted:
        """See Door."""
        return await self._accepted(lambda: self._queue.submit(request, self._terms))

    async def start_session(self, request: StartSessionRequest) -> Accepted:
        """See Door."""
        return await self._accepted(lambda: self._queue.sessions.start(request, self._terms))

    async def add_turn(self, session_id: str, request: ContinueSessionRequest) -> Accepted:
        """See Door."""
        return await self._accepted(lambda: self._queue.sessions.add_turn(session_id, request, self._terms))

    async def handed_over(self, job_id: str) -> None:
        """See Door."""
        await self._run(lambda: self._queue.handed_over(job_id, owner=self._owner))

    async def job(self, job_id: str) -> JobView:
        """See Door."""
        return (await self._looks.look([job_id]))[0]

    async def watch(self, job_ids: Sequence[str], seconds: float, every: float) -> AsyncGenerator[tuple[JobView, ...]]:
        """See Door."""
        loop, changed = asyncio.get_running_loop(), asyncio.Event()

        def wake(_job_id: str, event: str) -> None:
            if event in _NEWS:
                loop.call_soon_threadsafe(changed.set)

        deadline = time.monotonic() + seconds
        await self._start_reader(job_ids[0], wake)
        looks = self._looks
        with ExitStack() as listening:
            for job_id in job_ids:
                listening.enter_context(self._queue.listening(job_id, wake))
            while True:
                changed.clear()
                jobs = await looks.look(job_ids)
                yield jobs
                remaining = deadline - time.monotonic()
                if remaining <= 0 or all(job.state.terminal for job in jobs):
                    return
                woken = await _event_or_timeout(changed, min(remaining, every))
                looks = self._looks if woken else self._rounds

    async def cancel(self, job_id: str) -> JobView:
        """See Door."""
        return await self._run(lambda: self._queue.view(self._queue.cancel(job_id, owner=self._owner)))

    async def sessions(self, cursor: str | None, limit: int) -> SessionPage:
        """See Door."""
        return await self._run(lambda: self._queue.sessions.list(cursor=cursor, limit=limit, owner=self._owner))

    async def session(self, session_id: str) -> SessionView:
        """See Door."""
        return await self._run(lambda: self._queue.sessions.get(session_id, owner=self._owner))

    async def end_session(self, session_id: str) -> SessionView:
        """See Door."""
        return await self._run(lambda: self._queue.sessions.end(session_id, owner=self._owner))

    async def fork_session(self, session_id: str, turn: int | None) -> SessionView:
        """See Door."""
        return await self._run(lambda: self._queue.sessions.fork(session_id, turn, owner=self._owner))

    async def upload(self, path: Path, field: str) -> str:
        """See Door."""
        kept = await self._run(lambda: self._queue.inputs.store_file(path, None, field))
        return f"upload:{kept.sha256}"

    async def image(self, job_id: str, index: int, variant: Variant) -> bytes:
        """See Door."""
        return await self._run(lambda: self._queue.image_bytes(job_id, index, variant, owner=self._owner))

    async def save(self, job_id: str, index: int, path: Path) -> None:
        """See Door."""
        await self._run(lambda: self._queue.save_image(job_id, index, path, owner=self._owner))

    async def _accepted(self, submit: Callable[[], Submitted]) -> Accepted:
        submitted = await self._run(submit)
        return Accepted(await self._run(partial(self._queue.view, submitted.job)), submitted.reattached)

    async def _read(self, job_ids: Sequence[str]) -> Sequence[JobView]:
        return (await self._run(lambda: self._queue.wait_for(job_ids, 0, owner=self._owner))).jobs

    async def _start_reader(self, job_id: str, wake: Listener) -> None:
        """The reader of changes asks Redis where to start, once: not in the loop that serves everybody."""

        def start() -> None:
            with self._queue.listening(job_id, wake):
                pass

        if not self._reader_runs:
            await self._run(start)
            self._reader_runs = True

    async def _run(self, call: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)


async def _event_or_timeout(event: asyncio.Event, seconds: float) -> bool:
    """Whether it was the event."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
