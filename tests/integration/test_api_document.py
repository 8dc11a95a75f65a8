"""The OpenAPI document is true: it lists every route, and the answers are as it says."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any, cast

import httpx2
import pytest
from api_kit import BODY, RunningApi, StandInWorker, assert_documented
from jsonschema import Draft202012Validator

from api.app import create_app
from imagequeue.service import open_queue
from imagequeue.settings import Settings

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
    assert {reference.removeprefix("#/components/schemas/") for reference in found} <= set(schemas)


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
            expected = "application/json" if (path, status) == ("/readyz", "503") else "application/problem+json"
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
