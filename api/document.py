"""The OpenAPI document, and the one place that knows flask-openapi's calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final, Literal, cast

from flask.typing import ResponseReturnValue
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.info import Info
from flask_openapi.models.tag import Tag
from flask_openapi.openapi import OpenAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.problems import PROBLEM_JSON, PROBLEM_TYPES, Problem
from imagequeue.key_requests import KeyLimitsRequest, KeyRequest, RotateRequest
from imagequeue.key_views import CallerView, IssuedKeyView, KeyList, KeyView
from imagequeue.requests import (
    ContinueSessionRequest,
    EditRequest,
    ForkSessionRequest,
    GenerateRequest,
    StartSessionRequest,
)
from imagequeue.session_views import SessionPage, SessionView
from imagequeue.uploads import UploadedImage, UploadRequest, UploadTarget
from imagequeue.views import JobPage, JobView

OPENAPI_VERSION: Final = "3.1.0"
_REF: Final = "#/components/schemas/{model}"
AUTH_PROBLEMS: Final = ("unauthorized", "forbidden")
"""Of every address under `/v1`."""
_KEY_SCHEME: Final = "apiKey"
_BEARER: Final = {"type": "http", "scheme": "bearer", "description": "`iq_…`, as `imagequeue keys` makes them."}
_KEY_NEEDED: Final[list[dict[str, list[str]]]] = [{_KEY_SCHEME: []}, {}]
"""The second one is for an installation where no key was ever made."""
_REQUEST_ID_HEADER: Final = {"X-Request-Id": "Id of the request, as in the server's log; yours, if you sent one."}

View = Callable[..., ResponseReturnValue]
Answer = dict[str, Any]


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
    Problem,
    Health,
    Readiness,
)


def make_application(import_name: str) -> OpenAPI:
    """An application without routes, whose `api_doc` becomes the OpenAPI document."""
    components = {"schemas": component_schemas(), "securitySchemes": {_KEY_SCHEME: _BEARER}}
    document = {"openapi": OPENAPI_VERSION, "components": components}
    return OpenAPI(
        import_name,
        info=Info(
            title="imagequeue",
            version=version("imagequeue"),
            summary="A durable job queue for gpt-image-2.",
            description="Submit a job, wait for it, fetch its images. Every error is `application/problem+json` with "
            "a stable `code`; unknown fields and parameters are refused.",
        ),
        openapi_extensions=document,
        # flask-openapi adds an error of its own to each operation that does not name this one: all of ours do.
        validation_error_status="default",
        validation_error_model=Problem,
        doc_ui=False,
        static_folder=None,
    )


def add_route(
    blueprint: APIBlueprint,
    method: Literal["get", "post"],
    rule: str,
    view: View,
    answers: Mapping[int, Answer],
    *,
    problems: tuple[str, ...] = (),
    body: type[BaseModel] | Mapping[str, type[BaseModel]] | None = None,
    body_required: bool = True,
    other_bodies: Mapping[str, Any] | None = None,
) -> None:
    """Serve `view` at `rule` and put it into the document.

    Args:
        blueprint: where the route belongs.
        method: of HTTP.
        rule: Flask's, without the blueprint's prefix.
        view: its docstring becomes the operation's summary and description.
        answers: by status, made by `json_answer` and `other_answer`.
        problems: codes of the errors that it answers besides the unexpected ones.
        body: model of the JSON body, or one for each value of its `type`.
        body_required: whether the address refuses a request without a body.
        other_bodies: schemas of the bodies that it takes instead, by media type.
    """
    if blueprint.url_prefix:
        problems = (*problems, *AUTH_PROBLEMS)
    responses = {**dict(answers), **_problem_answers(problems), "default": _problem_answer("An unexpected error.")}
    options: dict[str, Any] = {"responses": responses, "operation_id": view.__name__}
    if blueprint.url_prefix:
        options["security"] = _KEY_NEEDED
    if body is not None:
        schemas = {"application/json": _body_schema(body), **(other_bodies or {})}
        content = {media_type: {"schema": schema} for media_type, schema in schemas.items()}
        options["request_body"] = {"required": body_required, "content": content}
    register = cast("Callable[..., Callable[[View], View]]", getattr(blueprint, method))
    register(rule, **options)(view)


def make_blueprint(name: str, description: str, prefix: str | None = None) -> APIBlueprint:
    """A blueprint whose operations share a tag."""
    return APIBlueprint(name, __name__, url_prefix=prefix, abp_tags=[Tag(name=name, description=description)])


def json_answer(model: type[BaseModel], description: str, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer whose body is `model`; `headers` by name, with what they say."""
    return other_answer(description, headers, {"application/json": {"schema": _reference(model)}})


def either_answer(models: tuple[type[BaseModel], ...], description: str) -> Answer:
    """An answer whose body is one of `models`."""
    schema = {"oneOf": [_reference(model) for model in models]}
    return other_answer(description, content={"application/json": {"schema": schema}})


def other_answer(
    description: str, headers: Mapping[str, str] | None = None, content: Mapping[str, Any] | None = None
) -> Answer:
    """Any other answer; `content` by media type."""
    named = {**(headers or {}), **_REQUEST_ID_HEADER}
    answer: Answer = {
        "description": description,
        "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in named.items()},
    }
    return {**answer, "content": dict(content)} if content else answer


def component_schemas() -> dict[str, Any]:
    """The schemas of all bodies, by name."""
    return _references_and_schemas()[1]


def _body_schema(body: type[BaseModel] | Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    if not isinstance(body, Mapping):
        return dict(_reference(body))
    references = {kind: _reference(model) for kind, model in body.items()}
    mapping = {kind: reference["$ref"] for kind, reference in references.items()}
    return {"oneOf": list(references.values()), "discriminator": {"propertyName": "type", "mapping": mapping}}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return _references_and_schemas()[0][model]


@cache
def _references_and_schemas() -> tuple[dict[object, dict[str, str]], dict[str, Any]]:
    """References to, and schemas of, what is sent and shown; pydantic tells two forms of one model apart by name."""
    modes = {**dict.fromkeys(_TAKEN, "validation"), **dict.fromkeys(_SHOWN, "serialization")}
    references, schema = models_json_schema(cast("Any", list(modes.items())), ref_template=_REF)
    named = {cast("object", model): cast("dict[str, str]", found) for (model, _), found in references.items()}
    return named, cast("dict[str, Any]", schema["$defs"])


def _problem_answers(codes: tuple[str, ...]) -> dict[int, Answer]:
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(PROBLEM_TYPES[code].status, []).append(code)
    return {
        status: _problem_answer(f"{HTTPStatus(status).phrase}: " + " or ".join(f"`{code}`" for code in found))
        for status, found in by_status.items()
    }


def _problem_answer(description: str) -> Answer:
    return other_answer(description, content={PROBLEM_JSON: {"schema": _reference(Problem)}})
