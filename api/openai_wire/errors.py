"""Errors as OpenAI's API gives them: a status, and `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from flask import Flask, Response
from pydantic import BaseModel, Field

from imagequeue.errors import InvalidInput, Violation
from imagequeue.jobs import Job, JobError

INVALID_REQUEST: Final = "invalid_request_error"
SERVER_ERROR: Final = "server_error"
USER_ERROR: Final = "image_generation_user_error"
JOB_HEADER: Final = "X-ImageQueue-Job"
"""Names the job behind an answer."""
_SHOULD_RETRY: Final = "x-should-retry"
"""OpenAI's SDKs obey it: they would send a 409, 429 or 5xx again by themselves, which makes, and pays, another job."""
_PATHS: Final = ("/v1/images/", "/v1/models")
_OF_STATUS: Final[Mapping[int, tuple[int, str, str]]] = {
    401: (401, INVALID_REQUEST, "invalid_api_key"),
    402: (429, "insufficient_quota", "insufficient_quota"),
    403: (403, INVALID_REQUEST, "insufficient_permissions"),
    404: (404, INVALID_REQUEST, "unknown_url"),
    405: (405, INVALID_REQUEST, "method_not_supported"),
    429: (429, "requests", "rate_limit_exceeded"),
}
"""What our statuses are at OpenAI: status, type, code."""
_OF_JOB_ERROR: Final[Mapping[str, tuple[int, str, str]]] = {
    "moderation_blocked": (400, USER_ERROR, "moderation_blocked"),
    "provider_refused": (400, INVALID_REQUEST, "provider_refused"),
    "rate_limited": (429, "requests", "rate_limit_exceeded"),
    "provider_busy": (503, SERVER_ERROR, "provider_busy"),
    "bad_output": (502, SERVER_ERROR, "bad_output"),
    "cancelled": (409, INVALID_REQUEST, "cancelled"),
}
"""What the reasons for which jobs fail are at OpenAI; any other is a server's error."""


class ErrorObject(BaseModel):
    """What is wrong."""

    message: str = Field(description="For people.")
    type: str = Field(description="Kind of error.", examples=[INVALID_REQUEST])
    param: str | None = Field(description="The parameter that is wrong, if it is a single one.", examples=["size"])
    code: str | None = Field(description="For programs.", examples=["invalid_value"])


class ErrorResponse(BaseModel):
    """An error in OpenAI's form."""

    error: ErrorObject


class OpenAIError(Exception):
    """A request that is not served.

    Args:
        message: what is wrong, for people.
        status: the HTTP status.
        code: what is wrong, for programs.
        param: the parameter that is wrong.
        kind: OpenAI's error `type`.
        retry: whether the SDK should send the request again by itself; None leaves it to the SDK.
        headers: of the answer.
    """

    def __init__(
        self,
        message: str,
        status: int = 400,
        code: str | None = None,
        param: str | None = None,
        *,
        kind: str = INVALID_REQUEST,
        retry: bool | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = ErrorResponse(error=ErrorObject(message=message, type=kind, param=param, code=code))
        advice = {} if retry is None else {_SHOULD_RETRY: "true" if retry else "false"}
        self.headers = {**(headers or {}), **advice}

    def response(self) -> Response:
        """The answer."""
        response = Response(self.body.model_dump_json(), status=self.status, mimetype="application/json")
        response.headers.update(self.headers)
        return response


def register_openai_errors(app: Flask) -> None:
    """Answer OpenAIError in its own form."""
    app.register_error_handler(OpenAIError, OpenAIError.response)


def speaks_openai(path: str) -> bool:
    """Whether whoever asks for this path expects OpenAI's form."""
    return path.startswith(_PATHS)


def problem_as_openai(status: int, code: str, detail: str, errors: tuple[Violation, ...] | None) -> Response:
    """A problem of ours in OpenAI's form."""
    openais, kind, openai_code = _OF_STATUS.get(status, (status, SERVER_ERROR, code))
    if errors:
        return OpenAIError(detail, code="invalid_value", param=errors[0].field).response()
    if status in (400, 413, 415, 422):
        kind = INVALID_REQUEST
    # A budget does not come back by being asked again.
    return OpenAIError(detail, openais, openai_code, kind=kind, retry=False if status == 402 else None).response()


def input_as_openai(error: InvalidInput, param: str) -> OpenAIError:
    """An input image that cannot be used; `param` is what the client called it."""
    return OpenAIError(str(error), code=error.code, param=param, kind=USER_ERROR)


def failure_as_openai(job: Job) -> OpenAIError:
    """Why a job made no images. The queue has tried all that is worth trying: the SDK should not begin anew."""
    error = job.error or JobError(code=job.state.value, message=f"Job {job.id} is {job.state}.")
    is_input = error.code.startswith(("input_", "mask_", "url_"))
    default = (400, USER_ERROR, error.code) if is_input else (500, SERVER_ERROR, error.code)
    status, kind, code = _OF_JOB_ERROR.get(error.code, default)
    return OpenAIError(error.message, status, code, kind=kind, retry=False, headers=headers_of(job))


def headers_of(job: Job) -> dict[str, str]:
    """Where the job behind an answer is."""
    return {JOB_HEADER: job.id}
