"""Every rule of gpt-image-2, broken: what is refused, with which code, naming which parameter."""

from __future__ import annotations

from typing import Any, Final

import pytest
from published_openapi import PublishedApi
from sandbox_kit import GENERATIONS, KEY, MODEL, RunningSandbox

# Parameters beside a good model and prompt (None in place of a parameter: leave it out), code, param.
REFUSED: Final[list[tuple[dict[str, Any], str, str]]] = [
    ({"model": "dall-e-3"}, "model_not_found", "model"),
    ({"model": "gpt-image-1"}, "model_not_found", "model"),
    ({"model": ""}, "model_not_found", "model"),
    ({"model": 2}, "invalid_type", "model"),
    ({"model": None}, "model_not_found", "model"),
    ({"prompt": ""}, "empty_string", "prompt"),
    ({"prompt": "x" * 32_001}, "string_above_max_length", "prompt"),
    ({"prompt": 7}, "invalid_type", "prompt"),
    ({"prompt": None}, "invalid_type", "prompt"),
    ({"prompt": ["a fox"]}, "invalid_type", "prompt"),
    ({"n": 0}, "integer_below_min_value", "n"),
    ({"n": -1}, "integer_below_min_value", "n"),
    ({"n": 11}, "integer_above_max_value", "n"),
    ({"n": "2"}, "invalid_type", "n"),
    ({"n": 1.5}, "invalid_type", "n"),
    ({"n": True}, "invalid_type", "n"),
    ({"size": "large"}, "invalid_value", "size"),
    ({"size": "1024"}, "invalid_value", "size"),
    ({"size": "1024 x 1024"}, "invalid_value", "size"),
    ({"size": "1024×1024"}, "invalid_value", "size"),
    ({"size": "1000x1024"}, "invalid_value", "size"),
    ({"size": "1024x1030"}, "invalid_value", "size"),
    ({"size": "3856x2048"}, "invalid_value", "size"),
    ({"size": "2048x656"}, "invalid_value", "size"),
    ({"size": "512x512"}, "invalid_value", "size"),
    ({"size": "1024x624"}, "invalid_value", "size"),
    ({"size": "3840x2176"}, "invalid_value", "size"),
    ({"size": "0x0"}, "invalid_value", "size"),
    ({"size": 1024}, "invalid_type", "size"),
    ({"size": [1024, 1024]}, "invalid_type", "size"),
    ({"quality": "hd"}, "invalid_value", "quality"),
    ({"quality": "LOW"}, "invalid_value", "quality"),
    ({"quality": 3}, "invalid_type", "quality"),
    ({"background": "transparent"}, "invalid_value", "background"),
    ({"background": "white"}, "invalid_value", "background"),
    ({"background": False}, "invalid_type", "background"),
    ({"output_format": "gif"}, "invalid_value", "output_format"),
    ({"output_format": {}}, "invalid_type", "output_format"),
    ({"output_format": "jpeg", "output_compression": -1}, "integer_below_min_value", "output_compression"),
    ({"output_format": "jpeg", "output_compression": 101}, "integer_above_max_value", "output_compression"),
    ({"output_format": "webp", "output_compression": "80"}, "invalid_type", "output_compression"),
    ({"output_format": "png", "output_compression": 80}, "invalid_png_output_compression", "output_compression"),
    ({"output_compression": 80}, "invalid_png_output_compression", "output_compression"),
    ({"moderation": "off"}, "invalid_value", "moderation"),
    ({"moderation": 0}, "invalid_type", "moderation"),
    ({"user": 5}, "invalid_type", "user"),
    ({"safety_identifier": {}}, "invalid_type", "safety_identifier"),
    ({"stream": "yes"}, "invalid_type", "stream"),
    ({"partial_images": 4}, "integer_above_max_value", "partial_images"),
    ({"partial_images": 2}, "invalid_value", "partial_images"),
    ({"response_format": "b64_json"}, "unknown_parameter", "response_format"),
    ({"style": "vivid"}, "unknown_parameter", "style"),
    ({"input_fidelity": "high"}, "unknown_parameter", "input_fidelity"),
    ({"seed": 1}, "unknown_parameter", "seed"),
]


@pytest.mark.parametrize(("parameters", "code", "param"), REFUSED, ids=[f"{str(row[0])[:50]}" for row in REFUSED])
def test_a_broken_rule_is_refused_with_its_code_and_parameter(
    sandbox: RunningSandbox, published_api: PublishedApi, parameters: dict[str, Any], code: str, param: str
) -> None:
    answer = sandbox.post({"model": MODEL, "prompt": "a fox", **parameters})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, code, param)
    assert error["type"] == "invalid_request_error"
    assert published_api.problems("ErrorResponse", answer.json()) == []


@pytest.mark.parametrize(("missing", "code"), [("prompt", "missing_required_parameter"), ("model", "model_not_found")])
def test_a_missing_parameter_is_named(sandbox: RunningSandbox, missing: str, code: str) -> None:
    whole = {"model": MODEL, "prompt": "a fox"}
    answer = sandbox.post({name: value for name, value in whole.items() if name != missing})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, code, missing)


@pytest.mark.parametrize("prompt", ["x", "x" * 32_000, "日本語 🦊", "a\x00b", "FORBIDDENLY good", "forbidden"])
def test_unusual_prompts_within_the_rules_are_painted(sandbox: RunningSandbox, prompt: str) -> None:
    assert sandbox.post({"model": MODEL, "prompt": prompt, "quality": "low"}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"prompt=a+fox", b"\xff", b'{"prompt": NaN}', b'{"prompt": "\\ud800"}', b"[" * 100_000],
    ids=["empty", "cut", "form", "not UTF-8", "NaN", "lone surrogate", "deep"],
)
def test_a_body_that_is_not_json_is_refused(sandbox: RunningSandbox, published_api: PublishedApi, body: bytes) -> None:
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    answer = sandbox.http.post(GENERATIONS, content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert "JSON" in answer.json()["error"]["message"]
    assert published_api.problems("ErrorResponse", answer.json()) == []


@pytest.mark.parametrize("body", [b"[]", b'"a fox"', b"7", b"null", b"true"])
def test_json_that_is_no_object_is_refused(sandbox: RunningSandbox, body: bytes) -> None:
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    answer = sandbox.http.post(GENERATIONS, content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_type")


def test_a_form_is_refused_for_its_content_type(sandbox: RunningSandbox) -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    answer = sandbox.http.post(GENERATIONS, data={"model": MODEL, "prompt": "a fox"}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_content_type")
