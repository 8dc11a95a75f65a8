"""The sandbox as an account with rate limits, and as one that is blocked, as OpenAI's SDK sees it."""

from __future__ import annotations

import threading
from typing import Any, cast

import httpx2
import pytest
from edit_kit import data_url, png
from openai import AuthenticationError, OpenAI, PermissionDeniedError, RateLimitError
from openai.types import ImagesResponse
from sandbox_kit import EDITS, GENERATIONS, KEY, MODEL, RESPONSES, RunningSandbox

CHEAP: dict[str, Any] = {"model": MODEL, "prompt": "a fox", "quality": "low", "output_format": "jpeg"}
TEXT_TOKENS, IMAGE_TOKENS, INPUT_TOKENS = 2, 196, 194  # of "a fox", of 1024×1024 low, of an input of 64×64
BLOCKED = {"status": 429, "code": "insufficient_quota", "type": "insufficient_quota", "message": "No credit."}
SMALL = png(64, 64)
PAID: dict[str, dict[str, Any]] = {
    GENERATIONS: CHEAP,
    EDITS: {**CHEAP, "images": [{"image_url": data_url(SMALL)}], "size": "1024x1024"},
    RESPONSES: {
        "model": "gpt-5",
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "a fox"},
                    {"type": "input_image", "detail": "auto", "image_url": data_url(SMALL)},
                ],
            }
        ],
        "tools": [{"type": "image_generation", "model": MODEL, "quality": "low", "size": "1024x1024"}],
    },
}
EDITING = (EDITS, RESPONSES)


def post(sandbox: RunningSandbox, path: str, **headers: str) -> httpx2.Response:
    return sandbox.http.post(path, json=PAID[path], headers={"authorization": f"Bearer {KEY}", **headers})


def generate(client: OpenAI, **parameters: Any) -> ImagesResponse:
    return cast(ImagesResponse, client.images.generate(**{**CHEAP, **parameters}))


def test_a_call_over_the_limit_is_the_sdks_rate_limit_error(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    sandbox.set(images_per_minute=3)
    generate(openai_client, n=2)
    with pytest.raises(RateLimitError) as caught:
        generate(openai_client, n=2)
    headers = caught.value.response.headers
    assert (caught.value.code, caught.value.type) == ("rate_limit_exceeded", "images")
    assert "Limit 3, Used 2, Requested 2. Please try again in " in caught.value.message
    assert 50 < int(headers["retry-after"]) <= 60
    assert (headers["x-ratelimit-limit-images"], headers["x-ratelimit-remaining-images"]) == ("3", "1")
    assert headers["x-ratelimit-reset-images"].endswith("s")
    generate(openai_client)


def test_a_refused_call_is_recorded_as_refused_and_counts_for_nothing(sandbox: RunningSandbox) -> None:
    sandbox.set(images_per_minute=1)
    sandbox.add_fault({"status": 503})
    found = [sandbox.post(CHEAP).status_code for _ in range(2)]
    assert found == [503, 429]  # a fault does not undo an admission, and a refused call uses up no fault
    sandbox.add_fault({"status": 503})
    assert sandbox.post(CHEAP).status_code == 429
    assert len(sandbox.http.get("/sandbox/faults").json()["faults"]) == 1
    calls = [(call["outcome"], call["status"], call["images"]) for call in sandbox.calls()]
    assert calls == [("fault:error", 503, []), ("refused", 429, []), ("refused", 429, [])]


def test_invalid_calls_use_nothing_of_the_limits(sandbox: RunningSandbox) -> None:
    sandbox.set(images_per_minute=1)
    assert sandbox.post({**CHEAP, "size": "1x1"}).status_code == 400
    assert sandbox.http.post(GENERATIONS, json=CHEAP).status_code == 401
    assert sandbox.post(CHEAP).status_code == 200


@pytest.mark.parametrize("path", PAID)
def test_every_paid_endpoint_takes_of_the_same_limits(sandbox: RunningSandbox, path: str) -> None:
    inputs = 1 if path in EDITING else 0
    tokens = TEXT_TOKENS + IMAGE_TOKENS + inputs * INPUT_TOKENS
    sandbox.set(images_per_minute=5, tokens_per_minute=1000, input_images_per_minute=5)
    headers = post(sandbox, path).raise_for_status().headers
    left = {kind: int(headers[f"x-ratelimit-remaining-{kind}"]) for kind in ("images", "tokens", "input-images")}
    assert left == {"images": 4, "tokens": 1000 - tokens, "input-images": 5 - inputs}


def test_tokens_are_those_of_the_usage(sandbox: RunningSandbox) -> None:
    sandbox.set(tokens_per_minute=100_000)
    answer = sandbox.post({**CHEAP, "prompt": "x" * 41, "n": 2, "size": "1536x1024"}).raise_for_status()
    assert int(answer.headers["x-ratelimit-remaining-tokens"]) == 100_000 - answer.json()["usage"]["total_tokens"]


@pytest.mark.parametrize("path", EDITING)
def test_input_images_have_a_limit_of_their_own(sandbox: RunningSandbox, path: str) -> None:
    sandbox.set(input_images_per_minute=1)
    assert [post(sandbox, path).status_code for _ in range(2)] == [200, 429]
    assert post(sandbox, path).json()["error"]["type"] == "input-images"
    assert post(sandbox, GENERATIONS).status_code == 200


def test_calls_fit_again_after_the_time_that_was_told(sandbox: RunningSandbox) -> None:
    sandbox.set(images_per_minute=1, limit_window_seconds=0.2)
    assert sandbox.post(CHEAP).status_code == 200
    while (answer := sandbox.post(CHEAP)).status_code == 429:
        assert answer.headers["retry-after"] == "1"
    assert answer.status_code == 200


def test_of_calls_at_once_no_more_than_the_limit_are_admitted(sandbox: RunningSandbox) -> None:
    sandbox.set(images_per_minute=4)
    found: list[int] = []
    callers = [threading.Thread(target=lambda: found.append(sandbox.post(CHEAP).status_code)) for _ in range(12)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert sorted(found) == [200] * 4 + [429] * 8


def test_naming_a_limit_starts_with_an_empty_window_and_null_ends_it(sandbox: RunningSandbox) -> None:
    sandbox.set(images_per_minute=1)
    assert [sandbox.post(CHEAP).status_code for _ in range(2)] == [200, 429]
    sandbox.set(latency_seconds=0)
    assert sandbox.post(CHEAP).status_code == 429
    sandbox.set(images_per_minute=1)
    assert [sandbox.post(CHEAP).status_code for _ in range(2)] == [200, 429]
    sandbox.set(images_per_minute=None)
    answers = [sandbox.post(CHEAP) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert "x-ratelimit-limit-images" not in answers[0].headers


@pytest.mark.parametrize("path", PAID)
def test_a_blocked_account_is_refused_everything_paid_until_it_is_not(sandbox: RunningSandbox, path: str) -> None:
    sandbox.set(account_error=BLOCKED)
    sandbox.add_fault({"status": 503})
    answer = post(sandbox, path)
    assert answer.status_code == 429
    assert answer.json()["error"] == {
        "message": "No credit.",
        "type": "insufficient_quota",
        "param": None,
        "code": "insufficient_quota",
    }
    assert sandbox.http.get("/v1/models", headers={"authorization": f"Bearer {KEY}"}).status_code == 200
    sandbox.set(account_error=None)
    assert [post(sandbox, path).status_code for _ in range(2)] == [503, 200]
    outcomes = [(call["outcome"], call["status"]) for call in sandbox.calls()]
    assert outcomes == [("refused", 429), ("fault:error", 503), ("answered", 200)]


@pytest.mark.parametrize(
    ("blocked", "error"),
    [
        ({"status": 401, "code": "invalid_api_key"}, AuthenticationError),
        ({"status": 403}, PermissionDeniedError),
        ({"status": 429, "code": "billing_hard_limit_reached", "type": "requests"}, RateLimitError),
    ],
)
def test_a_blocked_account_is_refused_in_any_way_that_openai_has(
    sandbox: RunningSandbox, openai_client: OpenAI, blocked: dict[str, Any], error: type[Exception]
) -> None:
    sandbox.set(account_error=blocked)
    shown = sandbox.http.get("/sandbox/settings").json()["account_error"]
    assert shown == {"code": None, "type": None, "message": None, **blocked}
    with pytest.raises(error) as caught:
        generate(openai_client)
    assert getattr(caught.value, "code", None) == blocked.get("code")


@pytest.mark.parametrize("field", ["status", "code", "reason"])
def test_an_unusable_account_error_is_refused_by_name(sandbox: RunningSandbox, field: str) -> None:
    spec: dict[str, object] = {"status": 429, field: 200}
    answer = sandbox.http.post("/sandbox/settings", json={"account_error": spec})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, f"account_error.{field}")
    assert sandbox.http.get("/sandbox/settings").json()["account_error"] is None
