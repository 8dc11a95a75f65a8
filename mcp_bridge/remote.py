"""The door through the REST API: all that it needs is the API's address, and a key if one is asked for."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel

from imagequeue.api_answers import ApiProblem, StoredInput, parsed
from imagequeue.api_connection import FIRST_PAUSE_SECONDS
from imagequeue.api_keys import Scope
from imagequeue.errors import JobNotFound, SessionNotFound
from imagequeue.jobs import is_job_id
from imagequeue.key_views import CallerView
from imagequeue.requests import ContinueSessionRequest, JobRequest, StartSessionRequest
from imagequeue.session_views import SessionPage, SessionView
from imagequeue.sessions import is_session_id
from imagequeue.views import JobPage, JobView
from mcp_bridge.door import Accepted, Variant
from mcp_bridge.looks import Looks
from mcp_bridge.remote_connection import RemoteConnection

_REATTACH = "reattach"
_LONGEST_WAIT_SECONDS: Final = 90.0
"""Of one request: what the API takes by default, and less than proxies do."""
Answer = TypeVar("Answer", bound=BaseModel)


class RemoteDoor:
    """Every submit asks to re-attach, so that it may be repeated when its answer was lost."""

    def __init__(self, api: RemoteConnection) -> None:
        self._api = api
        self._looks = Looks(self._read)

    def url(self, path: str) -> str:
        """See Door."""
        return f"{self._api.base_url}{path}"

    async def scopes(self) -> frozenset[Scope]:
        """What the key of this door may do. Asked once: who lists the tools does not wait for an API that is away."""
        return frozenset(parsed(CallerView, await self._api.send("GET", "/v1/keys/current")).scopes)

    async def submit(self, request: JobRequest) -> Accepted:
        """See Door."""
        return await self._accepted("/v1/jobs", {"type": request.type, **_body(request)})

    async def start_session(self, request: StartSessionRequest) -> Accepted:
        """See Door."""
        return await self._accepted("/v1/sessions", _body(request))

    async def add_turn(self, session_id: str, request: ContinueSessionRequest) -> Accepted:
        """See Door."""
        return await self._accepted(f"{_session_path(session_id)}/turns", _body(request))

    async def handed_over(self, job_id: str) -> None:
        """See Door."""
        await self._api.patiently(lambda: self._api.send("POST", f"{_job_path(job_id)}/handed-over"))

    async def job(self, job_id: str) -> JobView:
        """See Door."""
        return await self._get(JobView, _job_path(job_id))

    async def watch(self, job_ids: Sequence[str], seconds: float, every: float) -> AsyncGenerator[tuple[JobView, ...]]:
        """See Door."""
        deadline = time.monotonic() + seconds
        jobs = {job.id: job for job in await self._looks.look(job_ids)}
        running = [job.id for job in jobs.values() if not job.state.terminal]
        waits = {asyncio.create_task(self._end_of(job_id, deadline)) for job_id in running}
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
        return parsed(JobView, await self._api.send("POST", f"{_job_path(job_id)}/cancel"))

    async def sessions(self, cursor: str | None, limit: int) -> SessionPage:
        """See Door."""
        params = {"limit": str(limit), **({"cursor": cursor} if cursor else {})}
        return await self._get(SessionPage, "/v1/sessions", params)

    async def session(self, session_id: str) -> SessionView:
        """See Door."""
        return await self._get(SessionView, _session_path(session_id))

    async def end_session(self, session_id: str) -> SessionView:
        """See Door."""
        path = f"{_session_path(session_id)}/end"
        return parsed(SessionView, await self._api.patiently(lambda: self._api.send("POST", path)))

    async def fork_session(self, session_id: str, turn: int | None) -> SessionView:
        """See Door."""
        path = f"{_session_path(session_id)}/fork"
        return parsed(SessionView, await self._api.send("POST", path, body={"turn": turn}))

    async def upload(self, path: Path, field: str) -> str:
        """See Door."""
        try:
            return parsed(StoredInput, await self._api.patiently(lambda: self._api.upload(path))).image
        except ApiProblem as error:  # the API speaks of the form's file
            detail = error.detail.replace("file:", f"{field}:", 1)
            raise ApiProblem(error.status, error.code, detail, error.violations) from error

    async def image(self, job_id: str, index: int, variant: Variant) -> bytes:
        """See Door."""
        path = f"{_job_path(job_id)}/images/{index}?variant={variant}"
        return await self._api.patiently(lambda: self._api.image(path))

    async def save(self, job_id: str, index: int, path: Path) -> None:
        """See Door."""
        source = f"{_job_path(job_id)}/images/{index}"
        await self._api.patiently(lambda: self._api.save(source, path))

    async def _accepted(self, path: str, body: Mapping[str, object]) -> Accepted:
        response = await self._api.patiently(lambda: self._api.send("POST", path, body=body, prefer=_REATTACH))
        return Accepted(parsed(JobView, response), reattached=response.status_code == HTTPStatus.OK)

    async def _get(self, model: type[Answer], path: str, params: Mapping[str, str] | None = None) -> Answer:
        return parsed(model, await self._api.patiently(lambda: self._api.send("GET", path, params=params)))

    async def _read(self, job_ids: Sequence[str]) -> Sequence[JobView]:
        there_may_be = ",".join(filter(is_job_id, job_ids))
        return (await self._get(JobPage, "/v1/jobs", {"ids": there_may_be})).jobs if there_may_be else ()

    async def _end_of(self, job_id: str, deadline: float) -> JobView:
        """The job once it has ended, or as it is at the deadline."""
        while True:
            asked_at = time.monotonic()
            seconds = min(max(0.0, deadline - asked_at), _LONGEST_WAIT_SECONDS)
            job = await self._wait_for(job_id, seconds)
            if job.state.terminal or time.monotonic() >= deadline:
                return job
            if time.monotonic() - asked_at < FIRST_PAUSE_SECONDS:
                # A server that is told to stop answers at once: do not ask it a thousand times.
                await asyncio.sleep(FIRST_PAUSE_SECONDS)

    async def _wait_for(self, job_id: str, seconds: float) -> JobView:
        path, params = _job_path(job_id), {"wait": f"{math.ceil(seconds * 1000) / 1000:g}"}
        response = await self._api.patiently(lambda: self._api.send("GET", path, params=params, wait=seconds))
        return parsed(JobView, response)


def _job_path(job_id: str) -> str:
    if not is_job_id(job_id):  # the API would look for another resource
        raise JobNotFound(job_id)
    return f"/v1/jobs/{job_id}"


def _session_path(session_id: str) -> str:
    if not is_session_id(session_id):
        raise SessionNotFound(session_id)
    return f"/v1/sessions/{session_id}"


def _body(request: BaseModel) -> dict[str, object]:
    return request.model_dump(mode="json", exclude_unset=True)
