"""What can be asked of the API, as values: the sync and the async client send the same calls."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from http import HTTPStatus
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import quote

import httpx2
from pydantic import BaseModel

from imagequeue.api_answers import Readiness, StoredInput, parsed
from imagequeue.jobs import JobState, JobType
from imagequeue.requests import ContinueSessionRequest, EditRequest, GenerateRequest, StartSessionRequest
from imagequeue.session_views import SessionPage, SessionView
from imagequeue.usage_reports import Grouping, UsageReport
from imagequeue.views import JobPage, JobView

Result = TypeVar("Result")
Answer = TypeVar("Answer", bound=BaseModel)
AnyJobRequest = GenerateRequest | EditRequest | Mapping[str, object]
AnySessionRequest = StartSessionRequest | Mapping[str, object]
AnyTurnRequest = ContinueSessionRequest | Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Call(Generic[Result]):
    """A request, and how its answer is read."""

    method: str
    path: str  # from the API's address on
    read: Callable[[httpx2.Response], Result]  # raises ApiProblem when something else answered
    params: Mapping[str, str] | None = None
    body: Mapping[str, object] | None = None  # sent as JSON
    file: Path | None = None  # sent as a form's file in place of JSON; its name and type stay untold
    file_type: str | None = None  # the file is the whole body, of this type, and no form's
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    wait_seconds: float = 0  # that the API is asked to wait; its answer may come so much later
    accepts: frozenset[int] = frozenset()  # statuses that are read besides the successes


def path_of(collection: str, record_id: str) -> str:
    """The path of a record."""
    # A dot segment would make the path of another resource.
    return f"/v1/{collection}/{quote(record_id, safe='').replace('.', '%2E')}"


def given(**params: object) -> dict[str, str]:
    """Query parameters without those that are None."""
    return {name: str(value) for name, value in params.items() if value is not None}


def answering(model: type[Answer]) -> Callable[[httpx2.Response], Answer]:
    """Reads an answer as this model."""
    return lambda response: parsed(model, response)


def nothing(response: httpx2.Response) -> None:
    """Reads an answer without a body."""


def idempotent(key: str | None) -> dict[str, str]:
    """The header that makes a submit repeatable: with this key (1 to 255 visible ASCII characters), or a new one."""
    return {"Idempotency-Key": secrets.token_urlsafe(24) if key is None else key}


def submit(request: AnyJobRequest, headers: Mapping[str, str]) -> Call[JobView]:
    """Enqueue a job."""
    body = _body(request)
    if isinstance(request, GenerateRequest | EditRequest):
        body = {"type": request.type, **body}
    return Call("POST", "/v1/jobs", answering(JobView), body=body, headers=headers)


def upload(file: Path) -> Call[str]:
    """Keep an input image; gives `upload:<sha256>`."""
    return Call("POST", "/v1/uploads", lambda response: parsed(StoredInput, response).image, file=file)


def get_job(job_id: str) -> Call[JobView]:
    """Read a job."""
    return Call("GET", path_of("jobs", job_id), answering(JobView))


def wait_for_job(job_id: str, seconds: float) -> Call[JobView]:
    """Read a job when it has ended, or after so many seconds."""
    params = {"wait": seconds_text(seconds)}
    return Call("GET", path_of("jobs", job_id), answering(JobView), params=params, wait_seconds=seconds)


def wait_for_jobs(job_ids: Sequence[str], seconds: float, *, any_of: bool) -> Call[JobPage]:
    """Read 1 to 100 jobs when all have ended, or one of them, or after so many seconds."""
    params = {"ids": ",".join(job_ids), "wait": seconds_text(seconds), **({"any": "true"} if any_of else {})}
    return Call("GET", "/v1/jobs", answering(JobPage), params=params, wait_seconds=seconds)


def have_ended(page: JobPage, *, any_of: bool) -> bool:
    """Whether all jobs of a page have ended, or one of them."""
    ended = [job.state.terminal for job in page.jobs]
    return any(ended) or not ended if any_of else all(ended)


def get_jobs(job_ids: Sequence[str]) -> Call[JobPage]:
    """Read 1 to 100 jobs."""
    return Call("GET", "/v1/jobs", answering(JobPage), params={"ids": ",".join(job_ids)})


def list_jobs(
    state: JobState | None,
    cursor: str | None,
    limit: int,
    job_type: JobType | None,
    session_id: str | None,
    batch_id: str | None,
) -> Call[JobPage]:
    """A page of jobs."""
    params = given(state=state, type=job_type, session=session_id, batch=batch_id, cursor=cursor, limit=limit)
    return Call("GET", "/v1/jobs", answering(JobPage), params=params)


def cancel(job_id: str) -> Call[JobView]:
    """Cancel a job."""
    return Call("POST", f"{path_of('jobs', job_id)}/cancel", answering(JobView))


def retry(job_id: str, headers: Mapping[str, str]) -> Call[JobView]:
    """Submit a job's request again."""
    return Call("POST", f"{path_of('jobs', job_id)}/retry", answering(JobView), headers=headers)


def handed_over(job_id: str) -> Call[None]:
    """Note that a job's result was delivered, so that it is not given to an equal request again."""
    return Call("POST", f"{path_of('jobs', job_id)}/handed-over", nothing)


def delete_job(job_id: str) -> Call[None]:
    """Delete a job."""
    return Call("DELETE", path_of("jobs", job_id), nothing)


def events_path(job_id: str | None, session_id: str | None) -> str:
    """The stream of a job's, a session's, or all events."""
    what = path_of("jobs", job_id) if job_id else path_of("sessions", session_id) if session_id else "/v1"
    return f"{what}/events"


def start_session(request: AnySessionRequest, headers: Mapping[str, str]) -> Call[JobView]:
    """Start a session."""
    return Call("POST", "/v1/sessions", answering(JobView), body=_body(request), headers=headers)


def add_turn(session_id: str, request: AnyTurnRequest, headers: Mapping[str, str]) -> Call[JobView]:
    """Add a turn to a session."""
    path = f"{path_of('sessions', session_id)}/turns"
    return Call("POST", path, answering(JobView), body=_body(request), headers=headers)


def get_session(session_id: str) -> Call[SessionView]:
    """Read a session."""
    return Call("GET", path_of("sessions", session_id), answering(SessionView))


def list_sessions(cursor: str | None, limit: int) -> Call[SessionPage]:
    """A page of sessions."""
    return Call("GET", "/v1/sessions", answering(SessionPage), params=given(cursor=cursor, limit=limit))


def fork_session(session_id: str, turn: int | None) -> Call[SessionView]:
    """A new session that goes on from a turn's image."""
    return Call("POST", f"{path_of('sessions', session_id)}/fork", answering(SessionView), body={"turn": turn})


def end_session(session_id: str) -> Call[SessionView]:
    """End a session."""
    return Call("POST", f"{path_of('sessions', session_id)}/end", answering(SessionView))


def delete_session(session_id: str) -> Call[None]:
    """Delete a session."""
    return Call("DELETE", path_of("sessions", session_id), nothing)


def usage(first_day: date | None, last_day: date | None, group: Grouping) -> Call[UsageReport]:
    """What jobs came to."""
    params = given(**{"from": first_day, "to": last_day, "group": group})
    return Call("GET", "/v1/usage", answering(UsageReport), params=params)


def readiness() -> Call[Readiness]:
    """Whether the parts of the installation serve."""
    return Call("GET", "/readyz", answering(Readiness), accepts=frozenset({HTTPStatus.SERVICE_UNAVAILABLE}))


def _body(request: BaseModel | Mapping[str, object]) -> dict[str, object]:
    if isinstance(request, BaseModel):
        return request.model_dump(mode="json", exclude_unset=True)
    return dict(request)


def seconds_text(seconds: float) -> str:
    """To the millisecond, and never less than asked, which would make a waiter come back for the rest."""
    return f"{math.ceil(seconds * 1000) / 1000:g}"
