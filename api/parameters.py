"""What stands in a request's path, query and headers."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Final, Literal, Self

from flask import Flask, request
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from api.context import the_settings
from imagequeue.errors import InvalidRequest, Violation
from imagequeue.jobs import JobState, JobType, is_job_id
from imagequeue.requests import shown, violations
from imagequeue.sessions import is_session_id

DEFAULT_PAGE: Final = 20
MAX_PAGE: Final = 100
_EXAMPLE_ID: Final = "job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"
_EXAMPLE_SESSION_ID: Final = "ses_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"
_SECONDS: Final = re.compile(r"\d{1,15}(\.\d{1,9})?", re.ASCII)
_PREFER_REATTACH: Final = re.compile(r"(?:^|,)\s*reattach\s*(?:[,;]|$)", re.ASCII | re.IGNORECASE)
_PREFER_WAIT: Final = re.compile(r'(?:^|,)\s*wait\s*=\s*"?(\d{1,15})"?\s*(?:[,;]|$)', re.ASCII | re.IGNORECASE)


def refuse_repeated_parameters(app: Flask) -> None:
    """Refuse a query parameter that is given twice: which one was meant is not for the server to guess."""
    app.before_request(_refuse_repeated)


def _refuse_repeated() -> None:
    repeated = {name: values for name, values in request.args.lists() if len(values) > 1}
    if repeated:
        raise InvalidRequest(
            [
                Violation(
                    field=shown(name),
                    rule="may be given once",
                    given=shown(", ".join(values)),
                    example=shown(f"{name}={values[0]}"),
                )
                for name, values in repeated.items()
            ]
        )


class Query(BaseModel):
    """The parameters of one address; unknown ones are refused, because a misspelt one would be passed over."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            found = violations(error, cls)
            if not cls.model_fields:
                rule = "is not a parameter: this address takes none"
                found = [replace(violation, rule=rule, example=request.path) for violation in found]
            raise InvalidRequest(found) from error


def _seconds(value: object) -> object:
    if isinstance(value, str) and _SECONDS.fullmatch(value):
        return value
    limit = f"{the_settings().max_wait_seconds:g}"
    rule = f"must be a number of seconds from 0 to {limit}; more counts as {limit}"
    raise PydanticCustomError("wait", "{rule}", {"rule": rule, "example": "30"})


def _job_cursor(value: str) -> str:
    if is_job_id(value):
        return value
    raise _no_cursor(_EXAMPLE_ID)


def _session_cursor(value: str) -> str:
    if is_session_id(value):
        return value
    raise _no_cursor(_EXAMPLE_SESSION_ID)


def _no_cursor(example: str) -> PydanticCustomError:
    rule = "must be the next_cursor of a page"
    return PydanticCustomError("cursor", "{rule}", {"rule": rule, "example": example})


def _job_ids(value: str) -> str:
    job_ids = value.split(",")
    if len(job_ids) <= MAX_PAGE and all(map(is_job_id, job_ids)):
        return value
    rule = f"must be 1 to {MAX_PAGE} job ids, separated by commas"
    raise PydanticCustomError("job_ids", "{rule}", {"rule": rule, "example": _EXAMPLE_ID})


class NoQuery(Query):
    """The address takes no query parameters."""


class JobQuery(Query):
    """How long to wait for a job."""

    wait: Annotated[
        float | None,
        BeforeValidator(_seconds),
        Field(
            description="Seconds to wait for the job to end; the server's limit (90 by default) applies to larger "
            "values. Without it the answer comes at once.",
            examples=["30"],
        ),
    ] = None


class JobListQuery(Query):
    """Which jobs, and how many."""

    state: JobState | None = Field(default=None, description="Only jobs of this state.", examples=["succeeded"])
    type: JobType | None = Field(
        default=None, description="Only jobs of this type; `turn` is a session's.", examples=["edit"]
    )
    session: str | None = Field(
        default=None, description="Only the turns of the session of this id.", examples=[_EXAMPLE_SESSION_ID]
    )
    cursor: Annotated[str, AfterValidator(_job_cursor)] | None = Field(
        default=None, description="`next_cursor` of the page before.", examples=[_EXAMPLE_ID]
    )
    limit: int = Field(default=DEFAULT_PAGE, ge=1, le=MAX_PAGE, description="Jobs on a page.", examples=["20"])
    ids: Annotated[str, AfterValidator(_job_ids)] | None = Field(
        default=None,
        description=f"Up to {MAX_PAGE} job ids, separated by commas: those of these jobs that there are, in this "
        "order, on one page. Not to be combined with what chooses among all jobs.",
        examples=[_EXAMPLE_ID],
    )

    @model_validator(mode="after")
    def _ids_choose_alone(self) -> Self:
        if self.ids is not None and self.model_fields_set != {"ids"}:
            raise InvalidRequest(
                [
                    Violation(
                        field=name,
                        rule="must not be combined with ids, which name the jobs already",
                        given=shown(str(getattr(self, name))),
                        example=f"ids={_EXAMPLE_ID}",
                    )
                    for name in sorted(self.model_fields_set - {"ids"})
                ]
            )
        return self


class SessionListQuery(Query):
    """How many sessions, from where on."""

    cursor: Annotated[str, AfterValidator(_session_cursor)] | None = Field(
        default=None, description="`next_cursor` of the page before.", examples=[_EXAMPLE_SESSION_ID]
    )
    limit: int = Field(default=DEFAULT_PAGE, ge=1, le=MAX_PAGE, description="Sessions on a page.", examples=["20"])


class ImageQuery(Query):
    """Which form of an image."""

    variant: Literal["original", "preview"] = Field(
        default="original",
        description="`original`: the bytes as OpenAI gave them; `preview`: a small WebP.",
        examples=["preview"],
    )


class JobPath(BaseModel):
    """Which job."""

    job_id: str = Field(description="The job's id.", examples=[_EXAMPLE_ID])


class SessionPath(BaseModel):
    """Which session."""

    session_id: str = Field(description="The session's id.", examples=[_EXAMPLE_SESSION_ID])


class ImagePath(JobPath):
    """Which image of which job."""

    index: int = Field(ge=0, description="The image's index, 0-based.", examples=[0])


class ProblemPath(BaseModel):
    """Which kind of error."""

    code: str = Field(description="The error's code.", examples=["invalid_request"])


class PreferHeader(BaseModel):
    """RFC 7240. What is not understood there is passed over, as the RFC asks."""

    prefer: str = Field(
        default="",
        alias="Prefer",
        description="`wait=N`: wait up to N whole seconds for the job to end. The answer names what was applied in "
        "Preference-Applied.",
        examples=["wait=30"],
    )

    @property
    def wait_seconds(self) -> int | None:
        """Seconds to wait at most, limited by the setting; None when nothing is preferred."""
        match = _PREFER_WAIT.search(self.prefer)
        return min(int(match[1]), int(the_settings().max_wait_seconds)) if match else None


class SubmitHeader(PreferHeader):
    """What may be preferred of a submit."""

    prefer: str = Field(
        default="",
        alias="Prefer",
        description="`wait=N`: wait up to N whole seconds for the job to end. `reattach`: when an equal request that "
        "preferred it has a job whose result was not handed over yet (POST /v1/jobs/{job_id}/handed-over says that "
        "it was), answer 200 with that job and make none; a day later at most it is forgotten. The answer names what "
        "was applied in Preference-Applied.",
        examples=["wait=30, reattach"],
    )

    idempotency_key: str | None = Field(
        default=None,
        alias="Idempotency-Key",
        description="Up to 255 visible ASCII characters of your own choice, for example a UUID: the same request sent "
        "again with it within 24 hours gets the job of the first time, with `Idempotent-Replayed: true`; another "
        "request with it is refused.",
        examples=["7b0c9a52-3f1e-4a6d-9c8b-2e5d7f1a0b34"],
    )

    @property
    def reattach(self) -> bool:
        """Whether an equal request's job is wanted rather than a new one."""
        return _PREFER_REATTACH.search(self.prefer) is not None
