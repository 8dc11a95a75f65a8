"""What the sandbox answers to good calls, seen through OpenAI's own SDK and held against OpenAI's published API."""

from __future__ import annotations

import base64
import io
import json
from typing import Any, Final, cast

import httpx2
import pytest
from openai import APIStatusError, AuthenticationError, DefaultHttpx2Client, NotFoundError, OpenAI
from openai.types import ImagesResponse
from PIL import Image
from published_openapi import PublishedApi
from sandbox_kit import GENERATIONS, KEY, MODEL, RunningSandbox

GOOD_REQUESTS: Final[dict[str, dict[str, Any]]] = {
    "prompt alone": {},
    "snapshot name": {"model": "gpt-image-2-2026-04-21"},
    "square": {"size": "1024x1024", "quality": "low"},
    "wide": {"size": "1536x1024", "quality": "low", "output_format": "jpeg"},
    "tall": {"size": "1024x1536", "quality": "high", "output_format": "webp"},
    "own size": {"size": "1280x720", "quality": "low"},
    "narrowest ratio": {"size": "480x1440", "quality": "low"},
    "fewest pixels": {"size": "1024x640", "quality": "low"},
    "most pixels": {"size": "3840x2160", "quality": "low", "output_format": "jpeg"},
    "three images": {"n": 3, "quality": "low"},
    "all options": {
        "size": "auto",
        "quality": "auto",
        "background": "opaque",
        "moderation": "low",
        "output_format": "jpeg",
        "output_compression": 40,
        "n": 1,
        "user": "u-1",
    },
    "png uncompressed": {"output_format": "png", "output_compression": 100, "quality": "low"},
    "nulls": {"size": None, "quality": None, "background": None, "n": None, "stream": None, "partial_images": None},
}


def generate(client: OpenAI, **parameters: Any) -> ImagesResponse:
    whole: dict[str, Any] = {"model": MODEL, "prompt": "a lighthouse at dawn", **parameters}
    return cast(ImagesResponse, client.images.generate(**whole))


def files_of(answer: ImagesResponse) -> list[bytes]:
    return [base64.b64decode(image.b64_json or "", validate=True) for image in answer.data or []]


@pytest.mark.parametrize("parameters", GOOD_REQUESTS.values(), ids=GOOD_REQUESTS)
def test_good_request_and_its_answer_conform_to_the_published_api(
    sandbox: RunningSandbox, published_api: PublishedApi, parameters: dict[str, Any]
) -> None:
    sent: list[httpx2.Request] = []
    received: list[httpx2.Response] = []
    recorder = DefaultHttpx2Client(event_hooks={"request": [sent.append], "response": [received.append]})
    with OpenAI(base_url=f"{sandbox.url}/v1", api_key=KEY, max_retries=0, http_client=recorder) as client:
        answer = generate(client, **parameters)
    preset = answer.size in ("1024x1024", "1536x1024", "1024x1536")
    body = received[0].json()

    assert published_api.problems("CreateImageRequest", json.loads(sent[0].content)) == []
    assert published_api.problems("ImagesResponse", body, sizes_as_published=preset) == []
    assert set(body) == {"created", "data", "background", "output_format", "size", "quality", "usage"}


@pytest.mark.parametrize(
    ("schema", "instance", "named"),
    [
        ("CreateImageRequest", {"model": MODEL}, "prompt"),
        ("CreateImageRequest", {"prompt": "a fox", "n": 11}, "n"),
        ("CreateImageRequest", {"prompt": "a fox", "quality": "best"}, "quality"),
        ("ImagesResponse", {"created": 1, "data": [{"b64_json": 7}]}, "b64_json"),
        ("ImagesResponse", {"created": 1, "usage": {"input_tokens": 1}}, "usage"),
        ("ImagesResponse", {"created": 1, "size": "1280x720"}, "size"),
        ("ErrorResponse", {"error": {"message": "no", "type": "x", "param": None}}, "code"),
    ],
)
def test_the_published_api_condemns_what_breaks_it(
    published_api: PublishedApi, schema: str, instance: object, named: str
) -> None:
    assert any(named in problem for problem in published_api.problems(schema, instance))


@pytest.mark.parametrize("parameters", GOOD_REQUESTS.values(), ids=GOOD_REQUESTS)
def test_images_have_the_number_size_and_format_asked_for(openai_client: OpenAI, parameters: dict[str, Any]) -> None:
    answer = generate(openai_client, **parameters)
    files = files_of(answer)
    asked_size = parameters.get("size") or "auto"
    asked_format = parameters.get("output_format") or "png"

    assert answer.size == ("1024x1024" if asked_size == "auto" else asked_size)
    assert answer.output_format == asked_format
    assert len(files) == (parameters.get("n") or 1)
    for file in files:
        with Image.open(io.BytesIO(file)) as image:
            image.load()
            assert f"{image.width}x{image.height}" == answer.size
            assert image.format == asked_format.upper()


def test_what_is_left_open_is_decided_and_reported(openai_client: OpenAI) -> None:
    answer = generate(openai_client, size="auto", quality="auto", background="auto")
    assert (answer.size, answer.quality, answer.background) == ("1024x1024", "medium", "opaque")


@pytest.mark.parametrize(
    ("size", "quality", "n", "tokens"),
    [
        ("1024x1024", "low", 1, 196),
        ("1024x1024", "medium", 1, 1756),
        ("1024x1024", "high", 1, 7024),
        ("1536x1024", "low", 2, 2 * 158),
        ("1536x1024", "high", 1, 5488),
    ],
)
def test_usage_follows_the_published_token_table(
    openai_client: OpenAI, size: str, quality: str, n: int, tokens: int
) -> None:
    usage = generate(openai_client, prompt="x" * 41, size=size, quality=quality, n=n).usage
    assert usage is not None
    assert usage.output_tokens_details is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (11, tokens, 11 + tokens)
    assert (usage.input_tokens_details.text_tokens, usage.input_tokens_details.image_tokens) == (11, 0)
    assert (usage.output_tokens_details.image_tokens, usage.output_tokens_details.text_tokens) == (tokens, 0)


def test_images_of_one_call_differ_and_equal_calls_paint_the_same(openai_client: OpenAI) -> None:
    first = files_of(generate(openai_client, n=3, quality="low"))
    again = files_of(generate(openai_client, n=3, quality="low"))
    assert len(set(first)) == 3
    assert first == again


def test_lower_compression_value_gives_smaller_files(openai_client: OpenAI) -> None:
    fine, coarse = (
        files_of(generate(openai_client, output_format="jpeg", output_compression=value))[0] for value in (95, 20)
    )
    assert len(coarse) < len(fine) / 2


def test_every_answer_carries_its_own_request_id_and_the_mark_of_the_sandbox(sandbox: RunningSandbox) -> None:
    answers = [
        sandbox.post({"model": MODEL, "prompt": "a fox", "quality": "low"}),
        sandbox.post({"model": MODEL}),
        sandbox.post({"model": MODEL, "prompt": "a fox"}, x_sandbox_fault='{"status": 503}'),
        sandbox.http.get("/nowhere"),
        sandbox.http.get("/healthz"),
    ]
    assert [answer.status_code for answer in answers] == [200, 400, 503, 404, 200]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == len(answers)
    assert all(each.startswith("req_") for each in ids)
    assert all(answer.headers["x-imagequeue-sandbox"] == "painted" for answer in answers)
    assert all(int(answer.headers["openai-processing-ms"]) >= 0 for answer in answers)


def test_models_are_listed_and_found(openai_client: OpenAI) -> None:
    assert [model.id for model in openai_client.models.list()] == ["gpt-image-2", "gpt-image-2-2026-04-21"]
    model = openai_client.models.retrieve("gpt-image-2")
    assert (model.id, model.object) == ("gpt-image-2", "model")
    with pytest.raises(NotFoundError) as caught:
        openai_client.models.retrieve("dall-e-3")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Basic dGVzdA==", KEY])
@pytest.mark.parametrize(("method", "path"), [("POST", GENERATIONS), ("GET", "/v1/models"), ("GET", "/v1/models/x")])
def test_without_a_key_nothing_is_served(
    sandbox: RunningSandbox, published_api: PublishedApi, authorization: str | None, method: str, path: str
) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    answer = sandbox.http.request(method, path, json={"model": MODEL, "prompt": "a fox"}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert published_api.problems("ErrorResponse", answer.json()) == []


def test_a_missing_key_is_an_authentication_error_of_the_sdk(openai_client: OpenAI) -> None:
    with pytest.raises(AuthenticationError) as caught:
        generate(openai_client, extra_headers={"Authorization": "Bearer"})
    assert caught.value.code == "invalid_api_key"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", GENERATIONS, 405, "method_not_supported"),
        ("POST", "/v1/images/variations", 404, "unknown_url"),
        ("GET", "/", 404, "unknown_url"),
    ],
)
def test_unknown_endpoints_are_refused_in_openais_form(
    sandbox: RunningSandbox, published_api: PublishedApi, method: str, path: str, status: int, code: str
) -> None:
    answer = sandbox.http.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert published_api.problems("ErrorResponse", answer.json()) == []


def test_health_says_which_service_answers(sandbox: RunningSandbox) -> None:
    answer = sandbox.http.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "service": "imagequeue-sandbox"})


def test_the_safety_refusal_looks_like_openais(openai_client: OpenAI) -> None:
    with pytest.raises(APIStatusError) as caught:
        generate(openai_client, prompt="a FORBIDDEN thing")
    error = caught.value
    assert (error.status_code, error.code, error.type) == (400, "moderation_blocked", "image_generation_user_error")
    details = error.response.json()["error"]["moderation_details"]
    assert (details["moderation_stage"], type(details["categories"])) == ("input", list)
