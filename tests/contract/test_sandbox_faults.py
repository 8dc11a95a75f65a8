"""Each fault on demand, and what OpenAI's SDK makes of it."""

from __future__ import annotations

import base64
import binascii
import io
import json
import time
from collections.abc import Callable
from typing import Any, Final, cast

import pytest
from openai import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    InternalServerError,
    OpenAI,
    PermissionDeniedError,
    RateLimitError,
)
from openai.types import ImagesResponse
from PIL import Image, UnidentifiedImageError
from sandbox_kit import MODEL, RunningSandbox

Generate = Callable[..., ImagesResponse]


@pytest.fixture
def generate(openai_client: OpenAI) -> Generate:
    """Generate a cheap image that suffers `fault`."""

    def call(fault: dict[str, Any] | None = None, prompt: str = "a fox", **parameters: Any) -> ImagesResponse:
        headers = {"x-sandbox-fault": json.dumps(fault)} if fault is not None else None
        whole: dict[str, Any] = {"model": MODEL, "prompt": prompt, "quality": "low", **parameters}
        return cast(ImagesResponse, openai_client.images.generate(**whole, extra_headers=headers))

    return call


def only_file(answer: ImagesResponse) -> bytes:
    assert answer.data is not None
    (image,) = answer.data
    return base64.b64decode(image.b64_json or "", validate=True)


@pytest.mark.parametrize(
    ("status", "error"), [(429, RateLimitError), (403, PermissionDeniedError), (500, InternalServerError)]
)
def test_an_error_fault_is_the_sdks_error_of_that_status(
    generate: Generate, status: int, error: type[APIStatusError]
) -> None:
    fault = {"status": status, "code": "some_code", "type": "some_type", "message": "Not today", "param": "prompt"}
    with pytest.raises(error) as caught:
        generate({**fault, "headers": {"retry-after": "2"}})
    found = caught.value
    assert (found.code, found.type, found.param) == ("some_code", "some_type", "prompt")
    assert found.response.json()["error"]["message"] == "Not today"
    assert found.response.headers["retry-after"] == "2"


@pytest.mark.parametrize("drop", ["before", "middle"])
def test_a_dropped_connection_is_the_sdks_connection_error(
    sandbox: RunningSandbox, generate: Generate, drop: str
) -> None:
    with pytest.raises(APIConnectionError) as caught:
        generate({"drop": drop})
    assert not isinstance(caught.value, APITimeoutError)
    assert sandbox.calls()[0]["outcome"] == f"fault:drop_{drop}"


def test_a_drop_in_the_middle_comes_after_headers_and_half_of_the_body(sandbox: RunningSandbox) -> None:
    headers = {"authorization": "Bearer key", "x-sandbox-fault": '{"drop": "middle"}'}
    body = {"model": MODEL, "prompt": "a fox", "quality": "low"}
    got = 0
    with sandbox.http.stream("POST", "/v1/images/generations", json=body, headers=headers) as answer:
        promised = int(answer.headers["content-length"])
        with pytest.raises(Exception, match="peer closed connection"):
            for chunk in answer.iter_raw():
                got += len(chunk)
    assert (answer.status_code, got) == (200, promised // 2)


def test_a_hanging_call_is_the_sdks_timeout(sandbox: RunningSandbox, generate: Generate) -> None:
    with pytest.raises(APITimeoutError):
        generate({"hang": True}, timeout=0.3)
    assert sandbox.calls()[0]["outcome"] == "fault:hang"


def test_broken_base64_does_not_decode(generate: Generate) -> None:
    with pytest.raises(binascii.Error):
        only_file(generate({"body": "broken_base64"}))


def test_not_an_image_decodes_to_no_image(generate: Generate) -> None:
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(only_file(generate({"body": "not_an_image"}))))


def test_an_empty_list_holds_no_image(sandbox: RunningSandbox, generate: Generate) -> None:
    assert generate({"body": "empty_list"}).data == []
    assert sandbox.calls()[0]["images"] == []


@pytest.mark.parametrize(("asked", "given"), [("png", "JPEG"), ("jpeg", "PNG"), ("webp", "JPEG")])
def test_a_wrong_format_is_not_what_the_answer_claims(generate: Generate, asked: str, given: str) -> None:
    answer = generate({"body": "wrong_format"}, output_format=asked)
    with Image.open(io.BytesIO(only_file(answer))) as image:
        assert (answer.output_format, image.format) == (asked, given)


def test_no_usage_leaves_the_usage_out(generate: Generate) -> None:
    answer = generate({"body": "no_usage"})
    assert answer.usage is None
    assert only_file(answer)


@pytest.mark.parametrize("fault", [{"delay": 0.4}, {"body": "no_usage", "delay": 0.4}])
def test_a_delay_passes_before_the_answer(generate: Generate, fault: dict[str, Any]) -> None:
    started = time.monotonic()
    generate(fault)
    assert time.monotonic() - started >= 0.4


def test_a_delay_alone_is_answered_in_the_end(sandbox: RunningSandbox, generate: Generate) -> None:
    assert only_file(generate({"delay": 0.01}))
    assert sandbox.calls()[0]["outcome"] == "answered"


def test_a_queued_fault_hits_the_next_calls_and_then_no_more(sandbox: RunningSandbox, generate: Generate) -> None:
    sandbox.add_fault({"status": 503}, times=2)
    for _ in range(2):
        with pytest.raises(InternalServerError):
            generate()
    assert only_file(generate())
    assert [call["outcome"] for call in sandbox.calls()] == ["fault:error", "fault:error", "answered"]


def test_a_queued_fault_waits_for_the_prompt_it_is_for(sandbox: RunningSandbox, generate: Generate) -> None:
    sandbox.add_fault({"status": 503}, match={"prompt_contains": "owl"})
    assert only_file(generate(prompt="a fox"))
    with pytest.raises(InternalServerError):
        generate(prompt="an owl at night")
    assert only_file(generate(prompt="an owl at night"))


def test_refused_requests_use_up_no_queued_fault(sandbox: RunningSandbox, generate: Generate) -> None:
    sandbox.add_fault({"status": 503})
    assert sandbox.post({"model": MODEL}).status_code == 400
    with pytest.raises(InternalServerError):
        generate()


def test_the_header_goes_before_the_queue_and_leaves_it(sandbox: RunningSandbox, generate: Generate) -> None:
    sandbox.add_fault({"status": 503})
    with pytest.raises(RateLimitError):
        generate({"status": 429})
    with pytest.raises(InternalServerError):
        generate()


def test_waiting_faults_are_listed_and_cleared(sandbox: RunningSandbox, generate: Generate) -> None:
    sandbox.add_fault({"drop": "before"}, times=3, match={"prompt_contains": "owl"})
    with pytest.raises(APIConnectionError):
        generate(prompt="an owl")
    (listed,) = sandbox.http.get("/sandbox/faults").json()["faults"]
    assert listed["times"] == 2
    assert listed["fault"]["drop"] == "before"
    assert listed["match"] == {"prompt_contains": "owl"}
    sandbox.http.delete("/sandbox/faults")
    assert sandbox.http.get("/sandbox/faults").json() == {"faults": []}
    assert only_file(generate(prompt="an owl"))


BAD_FAULTS: Final[list[tuple[dict[str, Any], str]]] = [
    ({}, "status, drop, hang, body"),
    ({"status": 200}, "status"),
    ({"status": "429"}, "status"),
    ({"status": 429, "drop": "before"}, "status and drop"),
    ({"drop": "after"}, "drop"),
    ({"hang": False}, "hang"),
    ({"body": "empty"}, "body"),
    ({"body": "no_usage", "code": "x"}, "code"),
    ({"status": 429, "delay": -1}, "delay"),
    ({"status": 429, "delay": 1e9}, "delay"),
    ({"status": 429, "headers": {"bad name": "x"}}, "headers"),
    ({"status": 429, "headers": {"x-note": "a\r\nb"}}, "headers"),
    ({"status": 429, "headers": {"content-length": "3"}}, "content-length"),
    ({"status": 429, "header": {}}, "header"),
]


@pytest.mark.parametrize(("fault", "named"), BAD_FAULTS, ids=[json.dumps(row[0]) for row in BAD_FAULTS])
def test_an_unusable_fault_is_refused_by_name(sandbox: RunningSandbox, fault: dict[str, Any], named: str) -> None:
    by_admin = sandbox.http.post("/sandbox/faults", json={"fault": fault})
    by_header = sandbox.post({"model": MODEL, "prompt": "a fox"}, x_sandbox_fault=json.dumps(fault))
    for answer, prefix in ((by_admin, "fault"), (by_header, "x-sandbox-fault")):
        error = answer.json()["error"]
        assert answer.status_code == 400
        assert error["message"].startswith(prefix)
        assert named in error["message"]
    assert sandbox.http.get("/sandbox/faults").json() == {"faults": []}


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({"fault": {"status": 429}, "times": 0}, "times"),
        ({"fault": {"status": 429}, "match": {"prompt": "x"}}, "match.prompt"),
        ({"times": 2}, "fault"),
        ([], "body"),
    ],
)
def test_an_unusable_order_for_faults_is_refused_by_name(sandbox: RunningSandbox, document: object, named: str) -> None:
    answer = sandbox.http.post("/sandbox/faults", json=document)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, named)


def test_a_fault_header_that_is_not_json_is_refused(sandbox: RunningSandbox) -> None:
    answer = sandbox.post({"model": MODEL, "prompt": "a fox"}, x_sandbox_fault="429")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "x-sandbox-fault")
