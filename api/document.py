"""The OpenAPI document, and the one place that knows flask-openapi's calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final, Literal, cast

from flask.typing import ResponseReturnValue
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.info import Info
from flask_openapi.models.tag import Tag
from flask_openapi.openapi import OpenAPI
from pydantic import BaseModel

from api.examples import BODY_EXAMPLES, PROBLEM_EXAMPLES
from api.problems import PROBLEM_JSON, PROBLEM_TYPES, Problem
from api.schemas import component_schemas, reference
from imagequeue.webhook_views import BatchWebhookEvent, WebhookEvent

OPENAPI_VERSION: Final = "3.1.0"
AUTH_PROBLEMS: Final = ("unauthorized", "forbidden")
"""Of every address under `/v1`."""
_KEY_SCHEME: Final = "apiKey"
_WEBHOOK: Final = "{$request.body#/webhook}"
"""The address of the callback: where the body says."""
_BEARER: Final = {"type": "http", "scheme": "bearer", "description": "`iq_…`, as `imagequeue keys` makes them."}
_KEY_NEEDED: Final[list[dict[str, list[str]]]] = [{_KEY_SCHEME: []}, {}]
"""The second one is for an installation where no key was ever made."""
_REQUEST_ID_HEADER: Final = {"X-Request-Id": "Id of the request, as in the server's log; yours, if you sent one."}

View = Callable[..., ResponseReturnValue]
Announced = Literal["job-event", "batch-event"]
Answer = dict[str, Any]


def make_application(import_name: str) -> OpenAPI:
    """An application without routes, whose `api_doc` becomes the OpenAPI document."""
    components = {
        "schemas": component_schemas(),
        "examples": {code: {"value": example} for code, example in PROBLEM_EXAMPLES.items()},
        "securitySchemes": {_KEY_SCHEME: _BEARER},
    }
    document = {
        "openapi": OPENAPI_VERSION,
        "components": components,
        "webhooks": {name: {"post": event()} for name, event in _EVENTS.items()},
    }
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
    method: Literal["get", "post", "put", "patch", "delete"],
    rule: str,
    view: View,
    answers: Mapping[int, Answer],
    *,
    problems: tuple[str, ...] = (),
    body: type[BaseModel] | Mapping[str, type[BaseModel]] | None = None,
    body_required: bool = True,
    other_bodies: Mapping[str, Any] | None = None,
    default: Answer | None = None,
    announced: Announced | None = None,
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
        other_bodies: schemas of the bodies that it takes besides or instead, by media type.
        default: any other answer; by default a problem. An address that has one tells all of its errors in that form.
        announced: what the `webhook` in the body is told of.
    """
    if blueprint.url_prefix and default is None:
        problems = (*problems, *AUTH_PROBLEMS)
    unexpected = default or _problem_answer("An unexpected error.")
    responses = {**dict(answers), **_problem_answers(problems), "default": unexpected}
    summary, _, description = (inspect.getdoc(view) or "").partition("\n\n")
    options: dict[str, Any] = {"responses": responses, "operation_id": view.__name__, "summary": summary}
    options["description"] = description or summary
    if announced:
        options["openapi_extensions"] = {"callbacks": {announced: {_WEBHOOK: {"post": _EVENTS[announced]()}}}}
    if blueprint.url_prefix:
        options["security"] = _KEY_NEEDED
    if body is not None or other_bodies:
        content = {media_type: {"schema": schema} for media_type, schema in (other_bodies or {}).items()}
        content = content if body is None else {"application/json": _body(body), **content}
        options["request_body"] = {"required": body_required, "content": content}
    register = cast("Callable[..., Callable[[View], View]]", getattr(blueprint, method))
    register(rule, **options)(view)


def make_blueprint(name: str, description: str, prefix: str | None = None) -> APIBlueprint:
    """A blueprint whose operations share a tag."""
    return APIBlueprint(name, __name__, url_prefix=prefix, abp_tags=[Tag(name=name, description=description)])


def json_answer(model: type[BaseModel], description: str, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer whose body is `model`; `headers` by name, with what they say."""
    return other_answer(description, headers, {"application/json": {"schema": reference(model)}})


def either_answer(models: tuple[type[BaseModel], ...], description: str) -> Answer:
    """An answer whose body is one of `models`."""
    schema = {"oneOf": [reference(model) for model in models]}
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


def _job_event() -> dict[str, Any]:
    """What receivers get."""
    return {
        "summary": "A job has ended.",
        "description": "Signed by the Standard Webhooks specification; sent to the job's `webhook` and to endpoints.",
        "tags": ["webhooks"],
        "requestBody": {"required": True, "content": {"application/json": {"schema": reference(WebhookEvent)}}},
        "responses": {"2XX": {"description": "Delivered. Anything else is tried again."}},
    }


def _batch_event() -> dict[str, Any]:
    """What receivers get of batches."""
    return {
        "summary": "A batch was completed, cancelled or paused.",
        "description": "Signed by the Standard Webhooks specification; sent to the batch's `webhook` and to endpoints.",
        "tags": ["webhooks"],
        "requestBody": {"required": True, "content": {"application/json": {"schema": reference(BatchWebhookEvent)}}},
        "responses": {"2XX": {"description": "Delivered. Anything else is tried again."}},
    }


_EVENTS: Final[Mapping[Announced, Callable[[], dict[str, Any]]]] = {
    "job-event": _job_event,
    "batch-event": _batch_event,
}


def _body(body: type[BaseModel] | Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    models = body.values() if isinstance(body, Mapping) else [body]
    examples = {name: {"value": value} for model in models for name, value in BODY_EXAMPLES[model].items()}
    return {"schema": _body_schema(body), "examples": examples}


def _body_schema(body: type[BaseModel] | Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    if not isinstance(body, Mapping):
        return dict(reference(body))
    references = {kind: reference(model) for kind, model in body.items()}
    mapping = {kind: reference["$ref"] for kind, reference in references.items()}
    return {"oneOf": list(references.values()), "discriminator": {"propertyName": "type", "mapping": mapping}}


def _problem_answers(codes: tuple[str, ...]) -> dict[int, Answer]:
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(PROBLEM_TYPES[code].status, []).append(code)
    return {
        status: _problem_answer(f"{HTTPStatus(status).phrase}: " + " or ".join(f"`{code}`" for code in found), found)
        for status, found in by_status.items()
    }


def _problem_answer(description: str, codes: Sequence[str] = ()) -> Answer:
    """A problem; one of these codes, if the operation names them."""
    if not codes:
        return other_answer(description, content={PROBLEM_JSON: {"schema": reference(Problem)}})
    schema = {"allOf": [reference(Problem), {"properties": {"code": {"enum": list(codes)}}}]}
    examples = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
    return other_answer(description, content={PROBLEM_JSON: {"schema": schema, "examples": examples}})
