"""What the API answers, as values, and what it answers instead, as errors.

ImageQueueError
├── ApiUnreachable     api_unreachable     nothing answers, or no whole answer came
└── ApiProblem         the API's own code  the API refused or failed, and said why
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeVar

import httpx2
from pydantic import BaseModel, ConfigDict, ValidationError

from imagequeue.errors import ImageQueueError, Violation
from imagequeue.manifests.views import LineViolation

_PASSING: Final = frozenset({429, 502, 503, 504})
"""Statuses of an API that is starting, stopping, busy or without one of its parts."""

Answer = TypeVar("Answer", bound=BaseModel)


class ApiUnreachable(ImageQueueError):
    """No whole answer came. `maybe_received`: the request had been sent, so it may have been carried out."""

    code = "api_unreachable"
    retryable = True

    def __init__(self, message: str, *, maybe_received: bool) -> None:
        self.maybe_received = maybe_received
        super().__init__(message)


class ApiProblem(ImageQueueError):
    """The API answered with an error. `code` is the stable one of the API; `violations` name broken rules.

    `lines` name those that the first bad lines of a manifest break.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        violations: Sequence[Violation] = (),
        lines: Sequence[LineViolation] = (),
    ) -> None:
        self.status = status
        self.detail = detail
        self.violations = tuple(violations)
        self.lines = tuple(lines)
        # One class for all of the API's codes, so here they belong to the instance.
        vars(self).update(code=code, retryable=status in _PASSING)
        super().__init__(detail)


class _Answered(BaseModel):
    model_config = ConfigDict(frozen=True)


class Part(_Answered):
    """Whether one part of the installation serves, and what to do when it does not."""

    ok: bool
    detail: str


class Readiness(_Answered):
    """Whether jobs can be taken and worked on now, part by part."""

    status: Literal["ready", "paused", "unready"]
    parts: Mapping[str, Part]


class StoredInput(_Answered):
    """An input image that is kept: how requests name it."""

    image: str


class _Problem(_Answered):
    status: int
    code: str
    detail: str
    errors: tuple[Violation, ...] = ()
    lines: tuple[LineViolation, ...] = ()


def parsed(model: type[Answer], response: httpx2.Response) -> Answer:
    """Read a success.

    Raises:
        ApiProblem: code `not_imagequeue`: something else answered.
    """
    try:
        # A newer API may tell more than this client knows.
        return model.model_validate_json(response.content, extra="ignore")
    except ValidationError as error:
        raise _foreign(response) from error


def problem(response: httpx2.Response) -> ApiProblem:
    """Read an error."""
    try:
        told = _Problem.model_validate_json(response.content, extra="ignore")
    except ValidationError:
        return _foreign(response)
    return ApiProblem(response.status_code, told.code, told.detail, told.errors, told.lines)


def not_served(response: httpx2.Response, filename: str) -> ApiProblem:
    """Why an image was not given, by the API or by the storage that it led to; the answer's body has been read."""
    if not response.history:
        return problem(response)
    detail = f"The storage at {response.url.host} answered {response.status_code} for {filename}."
    return ApiProblem(response.status_code, "image_not_served", detail)


def _foreign(response: httpx2.Response) -> ApiProblem:
    status = response.status_code
    where = response.url.copy_with(query=None, userinfo=b"")
    if status in _PASSING:
        return ApiProblem(status, f"http_{status}", f"{where} answered {status} {response.reason_phrase}.")
    detail = (
        f"{where} answered {status}, but not as an imagequeue API does. Does another program listen there? "
        "Set IMAGEQUEUE_API_URL to the address of the API."
    )
    return ApiProblem(status, "not_imagequeue", detail)
