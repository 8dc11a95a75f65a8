"""Every error as `application/problem+json` (RFC 9457), and the one table of what can go wrong.

Exceptions are not turned into answers anywhere else, but for what only OpenAI's wire format knows (openai_wire/errors).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import structlog
from flask import Flask, Response, request
from pydantic import BaseModel, ConfigDict, Field
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from api.context import request_id
from api.input_problems import INPUT_PROBLEMS
from api.openai_wire.errors import problem_as_openai, speaks_openai
from api.quota import show_quota
from imagequeue.errors import (
    ImageQueueError,
    InvalidRequest,
    LimitReached,
    Misconfigured,
    Unauthorized,
    Unavailable,
    Violation,
)
from imagequeue.manifests.lines import SHOWN_BAD_LINES, BadLines, InvalidManifest
from imagequeue.manifests.views import LineViolation, line_violations

PROBLEM_JSON: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 2
"""What a client is asked to pause when Redis or S3 does not answer, and when a session is full."""
_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One kind of error: its stable code, its status, and what to do about it."""

    code: str
    status: int
    title: str
    meaning: str


INTERNAL_ERROR: Final = ProblemType(
    "internal_error",
    500,
    "Unexpected error",
    "A defect of the server. The answer's X-Request-Id is also in the server's log: report it with that.",
)
BAD_REQUEST: Final = ProblemType("bad_request", 400, "Bad request", "The request is not valid HTTP, or was cut off.")
_PROBLEM_TYPES: Final = (
    BAD_REQUEST,
    ProblemType(
        "malformed_json", 400, "Malformed JSON", "The body is not JSON (RFC 8259, UTF-8). Nothing was stored or spent."
    ),
    ProblemType(
        "invalid_request",
        400,
        "Invalid request",
        "A rule is broken: `errors` names each field with the rule, what was given and a value that passes. "
        "Nothing was stored or spent.",
    ),
    ProblemType(
        "unauthorized",
        401,
        "API key needed",
        "Send a key that is good as `Authorization: Bearer iq_…`: see `imagequeue keys`.",
    ),
    ProblemType(
        "budget_exceeded",
        402,
        "Budget used up",
        "The job could cost more than the key may still spend; `detail` has the figures and when the budget starts "
        "anew. Nothing was stored or spent.",
    ),
    ProblemType("forbidden", 403, "Not allowed", "The key lacks the scope that this address asks for."),
    ProblemType("not_found", 404, "Not found", "Nothing is at this address; /docs shows the ones there are."),
    ProblemType("job_not_found", 404, "No such job", "There is no job of this id; GET /v1/jobs lists yours."),
    ProblemType(
        "image_not_found", 404, "No such image", "The job has no image of this index, or not yet: wait for it to end."
    ),
    ProblemType(
        "session_not_found", 404, "No such session", "There is no session of this id; GET /v1/sessions lists yours."
    ),
    ProblemType("batch_not_found", 404, "No such batch", "There is no batch of this id; GET /v1/batches lists yours."),
    ProblemType("key_not_found", 404, "No such API key", "There is no API key of this id; GET /v1/keys lists them."),
    ProblemType(
        "webhook_endpoint_not_found",
        404,
        "No such endpoint",
        "There is no webhook endpoint of this id; GET /v1/webhooks/endpoints lists yours.",
    ),
    ProblemType(
        "webhook_delivery_not_found",
        404,
        "No such delivery",
        "There is no delivery of this id, or it ended more than a week ago; GET /v1/webhooks/deliveries lists yours.",
    ),
    ProblemType(
        "method_not_allowed", 405, "Method not allowed", "The address takes other methods: the Allow header lists them."
    ),
    ProblemType("job_finished", 409, "Job has ended", "A job that has ended cannot be changed any more."),
    ProblemType(
        "job_running",
        409,
        "Job has not ended",
        "Only a job that has ended can be deleted or tried again: cancel it first, or wait.",
    ),
    ProblemType(
        "job_succeeded",
        409,
        "Job has succeeded",
        "Its images are there. To pay for others of the same request, send the request as a new job. Nothing was "
        "stored or spent.",
    ),
    ProblemType(
        "job_in_session",
        409,
        "Job is a session's turn",
        "A turn is not tried again by itself: add it to its session once more. Nothing was stored or spent.",
    ),
    ProblemType(
        "image_in_use",
        409,
        "Image is in use",
        "The next turn of an active session edits the image: add a turn, or end the session, and delete it then.",
    ),
    ProblemType(
        "batch_over",
        409,
        "Batch is over",
        "It has ended, or was cancelled. Its failed lines can run again for some days: POST …/retry-failed.",
    ),
    ProblemType(
        "batch_running",
        409,
        "Batch has not ended",
        "Only a batch that has ended can be deleted: cancel it first, or wait.",
    ),
    ProblemType(
        "session_active", 409, "Session is active", "Only a session that is over can be deleted: end it first."
    ),
    ProblemType(
        "webhook_endpoints_full",
        409,
        "Too many endpoints",
        "There are as many webhook endpoints as there may be: remove one first, or name a webhook with each job.",
    ),
    ProblemType(
        "session_ended",
        409,
        "Session has ended",
        "It takes no more turns. Its images stay: fork it to go on from one of them, or start a new session.",
    ),
    ProblemType(
        "session_expired",
        410,
        "Session has expired",
        "It was idle for too long and takes no more turns. Its images stay: fork it to go on from one of them, or "
        "start a new session.",
    ),
    ProblemType(
        "invalid_manifest",
        400,
        "Invalid manifest",
        "Lines of the manifest break rules: `lines` names each with its field and rule. Correct them, or leave them "
        "out with skip_invalid. Nothing was stored or spent.",
    ),
    ProblemType(
        "manifest_not_found", 404, "No such manifest", "PUT /v1/manifests/<name> keeps one; only its owner can use it."
    ),
    ProblemType("body_too_large", 413, "Body too large", "The body is larger than the server takes."),
    ProblemType(
        "unsupported_media_type", 415, "Unsupported media type", "Send the body in a type that the address takes."
    ),
    ProblemType(
        "session_full",
        429,
        "Too many turns wait",
        "The session has as many turns in the queue as it may: add the next one when one of them has ended.",
    ),
    ProblemType(
        "idempotency_key_reused",
        422,
        "Idempotency-Key used before",
        "It came with another request within 24 hours: use a new one for each request. Nothing was stored or spent.",
    ),
    ProblemType(
        "too_many_jobs_in_flight", 429, "Too many jobs in flight", "The key has as many unfinished jobs as it may."
    ),
    ProblemType(
        "too_many_jobs_per_minute", 429, "Too many jobs a minute", "Send the job again after Retry-After seconds."
    ),
    ProblemType(
        "wrong_host",
        421,
        "Another host",
        "The server does not answer for the host that the request names: an API on loopback answers for localhost, and "
        "for what IMAGEQUEUE_API_ALLOWED_HOSTS names.",
    ),
    *(ProblemType(*row) for row in INPUT_PROBLEMS),
    INTERNAL_ERROR,
    ProblemType(
        "misconfigured", 500, "Wrong setting", "Whoever runs the server has to set what `detail` names, and restart it."
    ),
    ProblemType(
        "store_unavailable", 503, "Redis does not answer", "Ask again after Retry-After seconds; no job is lost."
    ),
    ProblemType(
        "objects_unavailable", 503, "S3 does not answer", "Ask again after Retry-After seconds; no image is lost."
    ),
)
PROBLEM_TYPES: Final = {problem.code: problem for problem in _PROBLEM_TYPES}
_PASSING: Final = (429, 503)
_OF_STATUS: Final = {
    404: PROBLEM_TYPES["not_found"],
    405: PROBLEM_TYPES["method_not_allowed"],
    413: PROBLEM_TYPES["body_too_large"],
    415: PROBLEM_TYPES["unsupported_media_type"],
    421: PROBLEM_TYPES["wrong_host"],
}


class Problem(BaseModel):
    """Why a request was not served (RFC 9457)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str = Field(
        description="Stable address of this kind of error, with a page that explains it.",
        examples=["/problems/invalid_request"],
    )
    title: str = Field(description="The kind of error in words.", examples=["Invalid request"])
    status: int = Field(description="The HTTP status.", examples=[400])
    detail: str = Field(description="What went wrong this time.")
    code: str = Field(description="Stable code of this kind of error.", examples=["invalid_request"])
    instance: str = Field(description="The path that was asked for.", examples=["/v1/jobs"])
    errors: tuple[Violation, ...] | None = Field(
        default=None,
        exclude_if=lambda errors: errors is None,
        description="Each broken rule; only with the code `invalid_request`.",
    )
    bad_lines: int | None = Field(
        default=None,
        exclude_if=lambda bad_lines: bad_lines is None,
        description="How many lines are wrong; only with the code `invalid_manifest`.",
    )
    lines: tuple[LineViolation, ...] | None = Field(
        default=None,
        exclude_if=lambda lines: lines is None,
        description=f"What is wrong with the first {SHOWN_BAD_LINES} of them; only with the code `invalid_manifest`.",
    )


def problem_response(
    kind: ProblemType, detail: str, errors: tuple[Violation, ...] | None = None, bad: BadLines | None = None
) -> Response:
    """An error as an answer to the current request."""
    if speaks_openai(request.path):
        return problem_as_openai(kind.status, kind.code, detail, errors)
    problem = Problem(
        type=f"/problems/{kind.code}",
        title=kind.title,
        status=kind.status,
        detail=detail,
        code=kind.code,
        instance=quote(request.path),
        errors=errors,
        bad_lines=bad.total if bad else None,
        lines=line_violations(bad) if bad else None,
    )
    return Response(problem.model_dump_json(), status=kind.status, mimetype=PROBLEM_JSON)


def register_problems(app: Flask) -> None:
    """Answer every exception of `app` with a problem."""
    app.register_error_handler(ImageQueueError, _on_our_error)
    app.register_error_handler(HTTPException, _on_http_error)
    app.register_error_handler(Exception, _on_unexpected_error)


def _on_our_error(error: ImageQueueError) -> Response:
    kind = PROBLEM_TYPES.get(error.code, INTERNAL_ERROR)
    if kind is INTERNAL_ERROR:
        return _on_unexpected_error(error)
    if isinstance(error, InvalidRequest):
        more = len(error.violations) - 1
        detail = f"{error.violations[0]}" + (f" (and {more} more: see errors)" if more else "")
        return problem_response(kind, detail, error.violations)
    if isinstance(error, InvalidManifest):
        return problem_response(kind, str(error), bad=error.bad)
    response = problem_response(kind, str(error))
    if isinstance(error, Unavailable | Misconfigured):
        _log.warning("part_unavailable", code=error.code, error=str(error))
    if kind.status in _PASSING:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if isinstance(error, LimitReached) and error.retry_after_seconds:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, LimitReached) and error.quota:
        show_quota(response, error.quota)
    if isinstance(error, Unauthorized):
        response.headers["WWW-Authenticate"] = 'Bearer realm="imagequeue"'
    return response


def _on_http_error(error: HTTPException) -> Response | HTTPException:
    status = error.code or INTERNAL_ERROR.status
    if status < 400:  # a redirect
        return error
    if status >= 500:
        return _on_unexpected_error(error)
    kind = _OF_STATUS.get(status, BAD_REQUEST)
    own_words = error.description if error.description != type(error).description else None
    response = problem_response(kind, own_words or f"{request.method} {request.path}: {kind.meaning}")
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
    return response


def _on_unexpected_error(error: Exception) -> Response:
    _log.error("unexpected_error", method=request.method, path=request.path, exc_info=error)
    return problem_response(INTERNAL_ERROR, f"Unexpected error; the server's log has it as request {request_id()}.")
