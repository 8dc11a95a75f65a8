"""Answers that more than one resource gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from flask import Response
from pydantic import BaseModel

from api.context import the_caller, the_owner, the_queue
from api.document import Answer, json_answer, other_answer
from api.idempotency import checked_idempotency_key, idempotency
from api.parameters import OnceHeader, PreferHeader, SubmitHeader
from api.quota import QUOTA_HEADERS, show_quota
from imagequeue.jobs import Job
from imagequeue.submission import Submitted, Terms
from imagequeue.views import JobView

BODY_PROBLEMS: Final = ("invalid_request", "malformed_json", "body_too_large", "unsupported_media_type")
KEY_LIMIT_PROBLEMS: Final = ("budget_exceeded", "too_many_jobs_in_flight", "too_many_jobs_per_minute")
SUBMIT_PROBLEMS: Final = (*BODY_PROBLEMS, "idempotency_key_reused", *KEY_LIMIT_PROBLEMS)
"""What a submit may be refused for, whatever is submitted."""
LATER: Final = {
    "Retry-After": "Seconds to pause before the next look, 1 to 60, by the time that the job will probably take; only "
    "while it has not ended."
}
TAGGED: Final = {"ETag": "Weak; of everything but `eta_seconds`. Send it as If-None-Match to get 304 for no change."}
_LONGEST_PAUSE_SECONDS: Final = 60
_UNFORESEEN_SECONDS: Final = 10
REPLAYED_HEADER: Final = "Idempotent-Replayed"
REPLAYED: Final = {REPLAYED_HEADER: "`true`: the job is that of an earlier request with this Idempotency-Key."}
APPLIED: Final = {"Preference-Applied": "What of the preferences was honoured."}


def view_answer(view: BaseModel, status: int) -> Response:
    """A record as clients see it."""
    return Response(view.model_dump_json(), status=status, mimetype="application/json")


def job_answer(job: Job, status: int) -> Response:
    """A job; while it has not ended, with the time to come back."""
    view = the_queue().view(job)
    response = view_answer(view, status)
    if not job.state.terminal:
        response.headers["Retry-After"] = str(_retry_after(view))
    return response


def caller_terms() -> Terms:
    """On which terms the current request submits, if nothing else is said."""
    caller = the_caller()
    return Terms(owner=caller.owner, key_id=caller.key_id)


def submit_terms(body: Mapping[str, object], header: SubmitHeader) -> Terms:
    """On which terms the current request submits `body`."""
    return replace(once_terms(body, header), reattach=header.reattach)


def once_terms(body: Mapping[str, object], header: OnceHeader) -> Terms:
    """On which terms the current request submits `body`, if it has a key, once only."""
    key = header.idempotency_key
    once = None if key is None else idempotency(checked_idempotency_key(key), body)
    return replace(caller_terms(), idempotency=once)


def _retry_after(view: JobView) -> int:
    """When the job has probably ended, as far as that can be told, but often enough to notice if it ends before."""
    return min(_UNFORESEEN_SECONDS if view.eta_seconds is None else view.eta_seconds, _LONGEST_PAUSE_SECONDS)


def submitted_answer(submitted: Submitted, header: SubmitHeader) -> Response:
    """A job after the wait that the client prefers: 201 when it has ended, else 202; 200 for one that was there."""
    job = submitted.job
    if header.wait_seconds:
        job = the_queue().wait(job.id, header.wait_seconds, owner=the_owner())
    response = job_answer(job, 200 if submitted.reattached else 201 if job.state.terminal else 202)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    if submitted.replayed:
        response.headers[REPLAYED_HEADER] = "true"
    if submitted.quota:
        show_quota(response, submitted.quota)
    return with_applied(response, header)


def with_applied(response: Response, header: PreferHeader) -> Response:
    """Say which preference was honoured."""
    applied = [] if header.wait_seconds is None else [f"wait={header.wait_seconds}"]
    if isinstance(header, SubmitHeader) and header.reattach:
        applied.append("reattach")
    if applied:
        response.headers["Preference-Applied"] = ", ".join(applied)
    return response


def unchanged() -> dict[int, Answer]:
    """What the document says of an answer to If-None-Match."""
    return {304: other_answer("Nothing but `eta_seconds` has changed since the ETag in If-None-Match.", TAGGED)}


def submitted_answers() -> dict[int, Answer]:
    """What the document says of `submitted_answer`."""
    place = {"Location": "Address of the job."}
    made = REPLAYED | QUOTA_HEADERS
    return {
        200: json_answer(
            JobView, "The job of an equal request, as `Prefer: reattach` asks; none was made.", place | APPLIED | LATER
        ),
        201: json_answer(
            JobView, "Submitted, and ended within the preferred wait, or at once by `reuse`.", place | APPLIED | made
        ),
        202: json_answer(JobView, "Submitted.", place | APPLIED | LATER | made),
    }
