"""The door through the REST API: all that it needs is the API's address, and a key if one is asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final

import httpx2

from imagequeue import api_calls as calls
from imagequeue.api_answers import ApiProblem, parsed
from imagequeue.api_async_connection import AsyncApiConnection
from imagequeue.api_calls import Call
from imagequeue.api_patience import Waiting
from imagequeue.errors import JobNotFound, SessionNotFound
from imagequeue.jobs import is_job_id
from imagequeue.key_client import CURRENT
from imagequeue.key_views import CallerView
from imagequeue.requests import ContinueSessionRequest, JobRequest, StartSessionRequest
from imagequeue.session_views import SessionPage, SessionView
from imagequeue.sessions import is_session_id
from imagequeue.views import JobView, image_path
from mcp_bridge.door import Accepted, Variant
from mcp_bridge.looks import Looks

PATIENCE_SECONDS: Final = 8.0
"""How long what may be repeated goes on while the API is away or answers 503: a restart takes less, and a model
that is told so can do something else."""
_REATTACH: Final = {"Prefer": "reattach"}


class RemoteDoor:
    """Every submit asks to re-attach, so that it may be repeated when its answer was lost."""

    def __init__(self, api: AsyncApiConnection) -> None:
        self._api = api
        self._looks = Looks(self._read)

    def url(self, path: str) -> str:
        """See Door."""
        return f"{self._api.base_url}{path}"

    async def caller(self) -> CallerView:
        """Whom the API takes us for. Asked once: who lists the tools does not wait for an API that is away."""
        return await self._api.do(CURRENT)

    async def submit(self, request: JobRequest) -> Accepted:
        """See Door."""
        return await self._accepted(calls.submit(request, _REATTACH))

    async def start_session(self, request: StartSessionRequest) -> Accepted:
        """See Door."""
        return await self._accepted(calls.start_session(request, _REATTACH))

    async def add_turn(self, session_id: str, request: ContinueSessionRequest) -> Accepted:
        """See Door."""
        return await self._accepted(calls.add_turn(_session(session_id), request, _REATTACH))

    async def handed_over(self, job_id: str) -> None:
        """See Door."""
        await self._api.do_patiently(calls.handed_over(_job(job_id)))

    async def job(self, job_id: str) -> JobView:
        """See Door."""
        return await self._api.do_patiently(calls.get_job(_job(job_id)))

    async def watch(self, job_ids: Sequence[str], seconds: float, every: float) -> AsyncGenerator[tuple[JobView, ...]]:
        """See Door."""
        deadline = time.monotonic() + seconds
        jobs = {job.id: job for job in await self._looks.look(job_ids)}
        running = [job.id for job in jobs.values() if not job.state.terminal]
        left = deadline - time.monotonic()
        waits = {asyncio.create_task(self._end_of(job_id, Waiting(left))) for job_id in running}
        try:
            while True:
                yield tuple(jobs[job_id] for job_id in job_ids)
                remaining = deadline - time.monotonic()
                if remaining <= 0 or not waits:
                    return
                done, waits = await asyncio.wait(
                    waits, timeout=min(every, remaining), return_when=asyncio.FIRST_COMPLETED
                )
                news = [task.result() for task in done] or await self._looks.look(running)
                jobs |= {job.id: job for job in news}
        finally:
            for task in waits:
                task.cancel()

    async def cancel(self, job_id: str) -> JobView:
        """See Door."""
        return await self._api.do(calls.cancel(_job(job_id)))

    async def sessions(self, cursor: str | None, limit: int) -> SessionPage:
        """See Door."""
        return await self._api.do_patiently(calls.list_sessions(cursor or None, limit))

    async def session(self, session_id: str) -> SessionView:
        """See Door."""
        return await self._api.do_patiently(calls.get_session(_session(session_id)))

    async def end_session(self, session_id: str) -> SessionView:
        """See Door."""
        return await self._api.do_patiently(calls.end_session(_session(session_id)))

    async def fork_session(self, session_id: str, turn: int | None) -> SessionView:
        """See Door."""
        return await self._api.do(calls.fork_session(_session(session_id), turn))

    async def upload(self, path: Path, field: str) -> str:
        """See Door."""
        try:
            return await self._api.do_patiently(calls.upload(path))
        except ApiProblem as error:  # the API speaks of the form's file
            detail = error.detail.replace("file:", f"{field}:", 1)
            raise ApiProblem(error.status, error.code, detail, error.violations) from error

    async def image(self, job_id: str, index: int, variant: Variant) -> bytes:
        """See Door."""
        path = f"{image_path(_job(job_id), index)}?variant={variant}"
        return await self._api.patiently(lambda: self._api.content(path, path))

    async def save(self, job_id: str, index: int, path: Path) -> None:
        """See Door."""
        source = image_path(_job(job_id), index)
        await self._api.patiently(lambda: self._api.save(source, source, path))

    async def _accepted(self, call: Call[JobView]) -> Accepted:
        noting = Call(call.method, call.path, _accepted, body=call.body, headers=call.headers)
        return await self._api.do_patiently(noting)

    async def _read(self, job_ids: Sequence[str]) -> Sequence[JobView]:
        there_may_be = [job_id for job_id in job_ids if is_job_id(job_id)]
        return (await self._api.do_patiently(calls.get_jobs(there_may_be))).jobs if there_may_be else ()

    async def _end_of(self, job_id: str, waiting: Waiting) -> JobView:
        """The job once it has ended, or as it is when the time is over."""
        while True:
            job = await self._api.do_patiently(calls.wait_for_job(job_id, waiting.next_seconds()))
            pause = waiting.pause()
            if job.state.terminal or pause is None:
                return job
            await asyncio.sleep(pause)


def _accepted(response: httpx2.Response) -> Accepted:
    return Accepted(parsed(JobView, response), reattached=response.status_code == HTTPStatus.OK)


def _job(job_id: str) -> str:
    """The id, if it may be one: it need not be asked for otherwise."""
    if not is_job_id(job_id):
        raise JobNotFound(job_id)
    return job_id


def _session(session_id: str) -> str:
    if not is_session_id(session_id):
        raise SessionNotFound(session_id)
    return session_id
