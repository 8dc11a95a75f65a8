"""What stands in a request's path, query and headers."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
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
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from api.context import the_settings
from imagequeue.errors import InvalidRequest, Violation
from imagequeue.jobs import JobState, JobType, is_job_id
from imagequeue.requests import shown, violations
from imagequeue.sessions import is_session_id
from imagequeue.usage_reports import Grouping
from imagequeue.webhooks import DeliveryState, is_delivery_id

DEFAULT_PAGE: Final = 20
MAX_PAGE: Final = 100
_EXAMPLE_ID: Final = "job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"
_EXAMPLE_SESSION_ID: Final = "ses_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"
EXAMPLE_BATCH_ID: Final = "batch_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"
_EXAMPLE_ENDPOINT_ID: Final = "whe_0a1b2c3d4e5f60718293a4b5"
_EXAMPLE_DELIVERY_ID: Final = "dlv_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z_0a1b2c3d"
_SECONDS: Final = re.compile(r"\d{1,15}(\.\d{1,9})?", re.ASCII)
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
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


def seconds(value: object) -> object:
    """A number of seconds to wait, in a parameter's text."""
    if isinstance(value, str) and _SECONDS.fullmatch(value):
        return value
    limit = f"{the_settings().max_wait_seconds:g}"
    rule = f"must be a number of seconds from 0 to {limit}; more counts as {limit}"
    raise PydanticCustomError("wait", "{rule}", {"rule": rule, "example": "30"})


def _ids(value: object) -> object:
    ids = value.split(",") if isinstance(value, str) else []
    if 1 <= len(ids) <= MAX_PAGE and all(ids):
        return tuple(dict.fromkeys(ids))
    rule = f"must be ids of jobs, 1 to {MAX_PAGE}, separated by commas"
    raise PydanticCustomError("ids", "{rule}", {"rule": rule, "example": _EXAMPLE_ID})


def _day(value: object) -> object:
    if isinstance(value, str) and _DAY.fullmatch(value):
        return value
    rule = "must be a day as YYYY-MM-DD"  # a number would be read as seconds since 1970
    raise PydanticCustomError("day", "{rule}", {"rule": rule, "example": "2026-08-31"})


def _job_cursor(value: str) -> str:
    if is_job_id(value):
        return value
    raise no_cursor(_EXAMPLE_ID)


def _session_cursor(value: str) -> str:
    if is_session_id(value):
        return value
    raise no_cursor(_EXAMPLE_SESSION_ID)


def _delivery_cursor(value: str) -> str:
    if is_delivery_id(value):
        return value
    raise no_cursor(_EXAMPLE_DELIVERY_ID)


def no_cursor(example: str) -> PydanticCustomError:
    """Why a cursor is refused."""
    rule = "must be the next_cursor of a page"
    return PydanticCustomError("cursor", "{rule}", {"rule": rule, "example": example})


class NoQuery(Query):
    """The address takes no query parameters."""


class JobQuery(Query):
    """How long to wait for a job."""

    wait: Annotated[
        float | None,
        BeforeValidator(seconds),
        Field(
            description="Seconds to wait for the job to end; the server's limit (90 by default) applies to larger "
            "values. Without it the answer comes at once.",
            examples=["30"],
        ),
    ] = None


class JobListQuery(JobQuery):
    """Which jobs, and how many."""

    ids: Annotated[
        tuple[str, ...] | None,
        BeforeValidator(_ids),
        WithJsonSchema({"type": "string"}),
        Field(
            description="Ids of jobs, 1 to 100, separated by commas; those that are no jobs of yours are in `missing`. "
            "Goes with `wait` and `any` only.",
            examples=[f"{_EXAMPLE_ID},{_EXAMPLE_ID[:-1]}A"],
        ),
    ] = None
    any: bool = Field(
        default=False, description="With `wait`: until one of `ids` has ended, not all.", examples=["true"]
    )

    state: JobState | None = Field(default=None, description="Only jobs of this state.", examples=["succeeded"])
    type: JobType | None = Field(
        default=None, description="Only jobs of this type; `turn` is a session's.", examples=["edit"]
    )
    session: str | None = Field(
        default=None, description="Only the turns of the session of this id.", examples=[_EXAMPLE_SESSION_ID]
    )
    batch: str | None = Field(
        default=None, description="Only the jobs of lines of the batch of this id.", examples=[EXAMPLE_BATCH_ID]
    )
    cursor: Annotated[str, AfterValidator(_job_cursor)] | None = Field(
        default=None, description="`next_cursor` of the page before.", examples=[_EXAMPLE_ID]
    )
    limit: int = Field(default=DEFAULT_PAGE, ge=1, le=MAX_PAGE, description="Jobs on a page.", examples=["20"])

    @model_validator(mode="after")
    def _ids_or_page(self) -> Self:
        of_ids = {"wait", "any"}
        given = self.model_fields_set - {"ids"}
        wrong = given - of_ids if self.ids else given & of_ids
        if wrong:
            rule = "does not go with ids, which names the jobs" if self.ids else "goes with ids only"
            raise InvalidRequest(
                [Violation(name, rule, str(getattr(self, name)), f"ids={_EXAMPLE_ID}") for name in sorted(wrong)]
            )
        return self


class SessionListQuery(Query):
    """How many sessions, from where on."""

    cursor: Annotated[str, AfterValidator(_session_cursor)] | None = Field(
        default=None, description="`next_cursor` of the page before.", examples=[_EXAMPLE_SESSION_ID]
    )
    limit: int = Field(default=DEFAULT_PAGE, ge=1, le=MAX_PAGE, description="Sessions on a page.", examples=["20"])


class DeliveryListQuery(Query):
    """Which deliveries of webhooks, and how many."""

    job: str | None = Field(default=None, description="Only those about the job of this id.", examples=[_EXAMPLE_ID])
    state: DeliveryState | None = Field(default=None, description="Only deliveries of this state.", examples=["failed"])
    cursor: Annotated[str, AfterValidator(_delivery_cursor)] | None = Field(
        default=None, description="`next_cursor` of the page before.", examples=[_EXAMPLE_DELIVERY_ID]
    )
    limit: int = Field(default=DEFAULT_PAGE, ge=1, le=MAX_PAGE, description="Deliveries on a page.", examples=["20"])


class ImageQuery(Query):
    """Which form of an image."""

    variant: Literal["original", "preview"] = Field(
        default="original",
        description="`original`: the bytes as OpenAI gave them; `preview`: a small JPEG (WebP if it is transparent).",
        examples=["preview"],
    )


class UsageQuery(Query):
    """Which days, and how they are added up."""

    first_day: Annotated[date, BeforeValidator(_day)] | None = Field(
        default=None,
        alias="from",
        description="First day (UTC); default: 29 days before `to`.",
        examples=["2026-08-01"],
    )
    last_day: Annotated[date, BeforeValidator(_day)] | None = Field(
        default=None, alias="to", description="Last day (UTC), included; default: today.", examples=["2026-08-31"]
    )
    group: Grouping = Field(default="day", description="A row for each day, API key, or model.", examples=["model"])


class JobPath(BaseModel):
    """Which job."""

    job_id: str = Field(description="The job's id.", examples=[_EXAMPLE_ID])


class SessionPath(BaseModel):
    """Which session."""

    session_id: str = Field(description="The session's id.", examples=[_EXAMPLE_SESSION_ID])


class EndpointPath(BaseModel):
    """Which webhook endpoint."""

    endpoint_id: str = Field(description="The endpoint's id.", examples=[_EXAMPLE_ENDPOINT_ID])


class DeliveryPath(BaseModel):
    """Which delivery of a webhook."""

    delivery_id: str = Field(description="The delivery's id.", examples=[_EXAMPLE_DELIVERY_ID])


class ImagePath(JobPath):
    """Which image of which job."""

    index: int = Field(ge=0, description="The image's index, 0-based.", examples=[0])


class PartialImagePath(JobPath):
    """Which preview of which job."""

    partial_index: int = Field(ge=0, description="The preview's number, 0-based.", examples=[0])


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


class LastEventIdHeader(BaseModel):
    """Where a client that comes back goes on."""

    last_event_id: str = Field(
        default="",
        alias="Last-Event-ID",
        description="The id of the last event that the client got; browsers send it by themselves. With one that is "
        "not known here any more the stream begins with `reset`.",
        examples=["1785585600000-0"],
    )


class OnceHeader(BaseModel):
    """A submit that may be sent again."""

    idempotency_key: str | None = Field(
        default=None,
        alias="Idempotency-Key",
        description="Up to 255 visible ASCII characters of your own choice, for example a UUID: the same request sent "
        "again with it within 24 hours gets the job of the first time, with `Idempotent-Replayed: true`; another "
        "request with it is refused.",
        examples=["7b0c9a52-3f1e-4a6d-9c8b-2e5d7f1a0b34"],
    )


class SubmitHeader(PreferHeader, OnceHeader):
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

    @property
    def reattach(self) -> bool:
        """Whether an equal request's job is wanted rather than a new one."""
        return _PREFER_REATTACH.search(self.prefer) is not None
