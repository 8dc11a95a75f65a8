"""The schemas of all bodies, as the OpenAPI document names them."""

from __future__ import annotations

from functools import cache
from typing import Any, Final, Literal, cast

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.openai_wire.errors import ErrorResponse
from api.openai_wire.shapes import ImagesAnswer, Model, ModelList
from api.problems import Problem
from imagequeue.batch_events import BatchEvent
from imagequeue.batch_reports import BatchReport
from imagequeue.batch_requests import BatchChange, CancelRequest, RetryRequest
from imagequeue.batch_views import BatchBody, BatchPage, BatchProgress, BatchView, ResultLine
from imagequeue.estimate_views import EstimateView, StoredManifest
from imagequeue.events import JobEvent, JobProgress
from imagequeue.key_requests import KeyLimitsRequest, KeyRequest, RotateRequest
from imagequeue.key_views import CallerView, IssuedKeyView, KeyList, KeyView
from imagequeue.openai_bodies import ImageEdit, ImageGeneration
from imagequeue.requests import (
    ContinueSessionRequest,
    EditRequest,
    ForkSessionRequest,
    GenerateRequest,
    StartSessionRequest,
)
from imagequeue.session_views import SessionPage, SessionView
from imagequeue.uploads import UploadedImage, UploadRequest, UploadTarget
from imagequeue.usage_reports import UsageReport
from imagequeue.views import JobPage, JobView
from imagequeue.webhook_views import (
    BatchWebhookEvent,
    DeliveryPage,
    DeliveryView,
    EndpointList,
    EndpointRequest,
    EndpointView,
    SecretView,
    WebhookEvent,
)

_REF: Final = "#/components/schemas/{model}"


class Health(BaseModel):
    """The process serves."""

    status: Literal["ok"]


class Part(BaseModel):
    """Whether one part serves, and what to do when it does not."""

    ok: bool
    detail: str


class Readiness(BaseModel):
    """Whether jobs can be taken and worked on now, part by part."""

    status: Literal["ready", "paused", "unready"]
    parts: dict[str, Part]


_TAKEN: Final[tuple[type[BaseModel], ...]] = (
    GenerateRequest,
    EditRequest,
    StartSessionRequest,
    ContinueSessionRequest,
    ForkSessionRequest,
    UploadRequest,
    KeyRequest,
    KeyLimitsRequest,
    RotateRequest,
    ImageGeneration,
    ImageEdit,
    EndpointRequest,
    BatchBody,
    BatchChange,
    CancelRequest,
    RetryRequest,
)
_SHOWN: Final[tuple[type[BaseModel], ...]] = (
    JobView,
    JobPage,
    SessionView,
    SessionPage,
    UploadedImage,
    UploadTarget,
    KeyView,
    IssuedKeyView,
    KeyList,
    CallerView,
    JobEvent,
    JobProgress,
    UsageReport,
    EstimateView,
    StoredManifest,
    EndpointView,
    EndpointList,
    SecretView,
    DeliveryView,
    DeliveryPage,
    WebhookEvent,
    BatchWebhookEvent,
    BatchView,
    BatchPage,
    BatchEvent,
    BatchProgress,
    BatchReport,
    ResultLine,
    Problem,
    Health,
    Readiness,
    ImagesAnswer,
    Model,
    ModelList,
    ErrorResponse,
)


def component_schemas() -> dict[str, Any]:
    """The schemas of all bodies, by name."""
    return _references_and_schemas()[1]


def reference(model: type[BaseModel]) -> dict[str, str]:
    """Where the document has the schema of `model`."""
    return _references_and_schemas()[0][model]


@cache
def _references_and_schemas() -> tuple[dict[object, dict[str, str]], dict[str, Any]]:
    """References to, and schemas of, what is sent and shown; pydantic tells two forms of one model apart by name."""
    modes = {**dict.fromkeys(_TAKEN, "validation"), **dict.fromkeys(_SHOWN, "serialization")}
    references, schema = models_json_schema(cast("Any", list(modes.items())), ref_template=_REF)
    named = {cast("object", model): cast("dict[str, str]", found) for (model, _), found in references.items()}
    return named, cast("dict[str, Any]", schema["$defs"])
