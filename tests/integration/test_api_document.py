"""The OpenAPI document is true: it lists every route, and the answers are as it says."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from api_kit import BODY, RunningApi, StandInWorker, assert_documented
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from api.app import create_app
from api.examples import BODY_EXAMPLES
from api.openai_wire.errors import speaks_openai
from api.problems import PROBLEM_TYPES
from imagequeue.service import open_queue
from imagequeue.settings import Settings
from imagequeue.webhook_views import job_event

NOT_DOCUMENTED = {"/openapi.json", "/docs", "/swagger", "/swagger/{filename}", "/oauth2-redirect.html"}
METHODS = ("get", "post", "put", "patch", "delete")
Document = dict[str, Any]


@pytest.fixture
def document(http: httpx2.Client) -> Document:
    """The document as served."""
    return cast("Document", http.get("/openapi.json").json())


def operations(document: Document) -> Generator[tuple[str, str, dict[str, Any]]]:
    """Method, path and operation."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield method, path, item[method]


def references(node: object) -> Generator[str]:
    """Every $ref below `node`."""
    if isinstance(node, dict):
        for name, value in cast("dict[str, object]", node).items():
            if name == "$ref":
                yield cast("str", value)
            yield from references(value)
    elif isinstance(node, list):
        for value in cast("list[object]", node):
            yield from references(value)


def test_the_document_is_openapi_3_1(document: Document) -> None:
    assert document["openapi"] == "3.1.0"
    assert document["info"]["title"] == "imagequeue"
    assert re.fullmatch(r"\d+\.\d+\.\d+", document["info"]["version"])


def test_the_document_lists_exactly_the_routes(document: Document, api: RunningApi) -> None:
    queue = open_queue(api.settings)
    app = create_app(queue, api.settings)
    routes = {
        (method.lower(), re.sub(r"<(?:[^<:]+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    queue.close()
    documented = {(method, path) for method, path, _ in operations(document)}
    assert documented == {(method, path) for method, path in routes if path not in NOT_DOCUMENTED}
    assert {path for _, path in routes} >= NOT_DOCUMENTED


def test_every_schema_is_valid_and_every_reference_resolves(document: Document) -> None:
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    found = set(references(document))
    assert found
    named = {f"#/components/{kind}/{name}" for kind in ("schemas", "examples") for name in document["components"][kind]}
    assert found <= named


def test_every_operation_is_described(document: Document) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    for method, path, operation in operations(document):
        assert operation["summary"], (method, path)
        assert operation["tags"], (method, path)
        in_path = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path)), (method, path)
        assert all(parameter["description"] for parameter in operation.get("parameters", [])), (method, path)
        for status, answer in operation["responses"].items():
            assert answer["description"], (method, path, status)
            assert "X-Request-Id" in answer["headers"], (method, path, status)


def test_every_error_is_documented_as_a_problem(document: Document) -> None:
    for method, path, operation in operations(document):
        errors = {status: answer for status, answer in operation["responses"].items() if status[0] in "45d"}
        assert {"400", "default"} <= set(errors), (method, path)
        for status, answer in errors.items():
            plain = (path, status) == ("/readyz", "503") or speaks_openai(path)
            expected = "application/json" if plain else "application/problem+json"
            assert list(answer["content"]) == [expected], (method, path, status)
    assert "ValidationErrorModel" not in str(document)
    unprocessable = [
        operation["responses"]["422"] for _, _, operation in operations(document) if "422" in operation["responses"]
    ]
    assert {answer["description"] for answer in unprocessable} == {"Unprocessable Entity: `idempotency_key_reused`"}


def test_request_bodies_are_documented_with_texts_and_examples(document: Document) -> None:
    described = {
        "GenerateRequest": ["prompt"],
        "EditRequest": ["prompt", "type", "images"],
        "StartSessionRequest": ["prompt", "images"],
        "ContinueSessionRequest": ["prompt"],
        "ForkSessionRequest": None,
        "EndpointRequest": ["url"],
    }
    for name, required in described.items():
        schema = document["components"]["schemas"][name]
        assert schema.get("required") == required
        for field, text in schema["properties"].items():
            option = text if "description" in text else text["anyOf"][0]
            assert option["description"], (name, field)
            assert option["examples"], (name, field)


def test_the_body_of_a_job_is_told_by_its_type(document: Document) -> None:
    [content] = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"].values()
    schema = content["schema"]
    mapping = schema["discriminator"]["mapping"]
    assert {kind: name.rpartition("/")[2] for kind, name in mapping.items()} == {
        "generate": "GenerateRequest",
        "edit": "EditRequest",
    }
    assert [option["$ref"] for option in schema["oneOf"]] == list(mapping.values())
    assert schema["discriminator"]["propertyName"] == "type"
    validator = Draft202012Validator({**schema, "components": document["components"]})
    bodies = [BODY, {"type": "generate", **BODY}, {"type": "edit", "images": ["https://example.com/a.png"], **BODY}]
    assert [cast("Any", validator).is_valid(body) for body in bodies] == [True, True, True]
    assert not cast("Any", validator).is_valid({"type": "edit", **BODY})


def test_answers_are_as_documented(document: Document, api: RunningApi, worker: StandInWorker) -> None:
    job_id = api.submit()
    claim = worker.claim(job_id)
    assert_documented(document, "JobView", api.http.get(f"/v1/jobs/{job_id}").json())
    worker.succeed(claim, [worker.store_image(job_id, b"original", b"preview")])
    assert_documented(document, "JobView", api.http.get(f"/v1/jobs/{job_id}").json())
    assert_documented(document, "JobPage", api.http.get("/v1/jobs").json())
    assert_documented(document, "Health", api.http.get("/healthz").json())
    assert_documented(document, "Readiness", api.http.get("/readyz").json())
    assert_documented(document, "Problem", api.http.get("/v1/jobs/job_none").json())
    assert_documented(document, "GenerateRequest", BODY)


def test_the_committed_document_is_the_served_one(document: Document) -> None:
    committed = json.loads((Path(__file__).parents[2] / "docs/openapi.json").read_text())
    assert committed == document, "`make openapi` writes it anew"


def test_every_json_body_has_examples_that_are_taken(document: Document) -> None:
    for method, path, operation in operations(document):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            continue
        assert content["examples"], (method, path)
        validator = Draft202012Validator({**content["schema"], "components": document["components"]})
        for example in content["examples"].values():
            cast("Any", validator).validate(example["value"])


@pytest.mark.parametrize("model", BODY_EXAMPLES, ids=lambda model: model.__name__)
def test_examples_of_bodies_keep_the_rules_that_no_schema_says(model: type[BaseModel]) -> None:
    for example in BODY_EXAMPLES[model].values():
        model.model_validate(example)


def test_every_parameter_has_an_example(document: Document) -> None:
    for method, path, operation in operations(document):
        for parameter in operation.get("parameters", []):
            assert parameter["schema"]["examples"], (method, path, parameter["name"])


def test_every_error_names_its_codes_and_shows_each(document: Document) -> None:
    assert set(document["components"]["examples"]) == set(PROBLEM_TYPES)
    for example in document["components"]["examples"].values():
        assert_documented(document, "Problem", example["value"])
    for method, path, operation in operations(document):
        for status, answer in operation["responses"].items():
            content = answer.get("content", {}).get("application/problem+json")
            if content is None or status == "default":
                continue
            [_, named] = content["schema"]["allOf"]
            codes = named["properties"]["code"]["enum"]
            assert {PROBLEM_TYPES[code].status for code in codes} == {int(status)}, (method, path)
            assert list(content["examples"]) == codes


def test_where_a_body_names_a_webhook_the_callback_is_described(document: Document) -> None:
    told = {path for _, path, operation in operations(document) if "callbacks" in operation}
    assert told == {"/v1/batches", "/v1/jobs", "/v1/sessions", "/v1/sessions/{session_id}/turns"}
    for path, event in (("/v1/jobs", "job-event"), ("/v1/batches", "batch-event")):
        [callback] = document["paths"][path]["post"]["callbacks"].values()
        assert callback["{$request.body#/webhook}"] == document["webhooks"][event] | {
            "post": document["webhooks"][event]["post"] | {"deprecated": False}
        }


def test_what_webhooks_bring_is_documented(document: Document, api: RunningApi, worker: StandInWorker) -> None:
    content = document["webhooks"]["job-event"]["post"]["requestBody"]["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/WebhookEvent"}
    event = job_event(worker.fail(worker.claim(api.submit())))
    assert event
    assert_documented(document, "WebhookEvent", json.loads(event.body))


def test_the_page_shows_the_document_without_the_internet(http: httpx2.Client) -> None:
    page = http.get("/docs")
    assert page.status_code == 200
    assert "/openapi.json" in page.text
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(addresses) >= 4
    for address in addresses:
        assert "://" not in address
        assert http.get(f"/{address}").status_code == 200, address
    assert "validatorUrl" in page.text


def test_the_document_does_not_depend_on_settings_or_order() -> None:
    assert create_document() == create_document()


def create_document() -> Document:
    """The document of a new application; nothing answers behind it."""
    queue = cast("Any", None)
    return cast("Document", cast("Any", create_app(queue, Settings())).api_doc)
