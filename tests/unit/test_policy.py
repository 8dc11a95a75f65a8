"""What odd answers and rare failures of a call mean, through the real SDK over a transport that fails on purpose.

The rows of the policy themselves are decided in tests/contract/test_call_policy.py.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Final

import httpx2
import pytest
from openai import AsyncOpenAI

from imagequeue.errors import (
    AccountBlocked,
    BadOutput,
    ModerationBlocked,
    OutcomeUnknown,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    RateLimited,
)
from worker.policy import MAX_RETRY_AFTER_SECONDS, meaning_inside, meaning_of

Handler = Callable[[httpx2.Request], httpx2.Response]
OPENAIS: Final = {"message": "Sorry.", "code": "some_code", "type": "some_type"}


def failure_of(handler: Handler) -> ProviderError:
    """What the failure of one streamed call means."""
    return asyncio.run(_failure_of(handler))


async def _failure_of(handler: Handler) -> ProviderError:
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(handler))
    client = AsyncOpenAI(api_key="sk-test", base_url="http://openai.test/v1", max_retries=0, http_client=http)
    async with client:
        try:
            async with client.images.with_streaming_response.generate(model="m", prompt="p") as response:
                await response.read()
        except Exception as error:  # the very thing that is tested
            return meaning_of(error)
    raise AssertionError("the call did not fail")


def answer(
    status: int,
    error: object = None,
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
) -> Handler:
    """Answers with OpenAI's error body, or with `content` in place of it."""
    body = json.dumps({"error": error}).encode() if content is None else content
    return lambda _request: httpx2.Response(
        status, content=body, headers={"content-type": "application/json", **(headers or {})}
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>Bad gateway</html>",
        b"\xff\xfe\x00",
        b'"text"',
        b"[]",
        b'{"error": "overloaded"}',
        b'{"error": {}}',
        b'{"error": null}',
        b'{"code": 503, "message": "no healthy upstream"}',
        b'{"type": ["odd"], "code": {"odd": 1}}',
        b"[" * 100_000,
    ],
)
@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (400, ProviderRefused),
        (401, AccountBlocked),
        (403, AccountBlocked),
        (408, OutcomeUnknown),
        (429, RateLimited),
        (500, OutcomeUnknown),
        (502, OutcomeUnknown),
        (503, OutcomeUnknown),
        (524, OutcomeUnknown),
    ],
)
def test_an_answer_without_openais_body_means(status: int, content: bytes, meaning: type[ProviderError]) -> None:
    assert type(failure_of(answer(status, content=content))) is meaning


@pytest.mark.parametrize("error", [{"message": 5}, {"type": ["odd"], "code": {"odd": 1}}, {"code": 503}])
def test_openais_body_of_odd_content_is_still_openais(error: object) -> None:
    assert type(failure_of(answer(503, error))) is ProviderBusy


def test_an_account_code_counts_at_any_status_and_in_any_body() -> None:
    assert type(failure_of(answer(500, {"code": "insufficient_quota"}))) is AccountBlocked
    assert type(failure_of(answer(503, content=b'{"code": "insufficient_quota"}'))) is AccountBlocked


@pytest.mark.parametrize("error", [httpx2.PoolTimeout, httpx2.ProxyError])
def test_a_connection_that_was_never_made_costs_nothing(error: type[httpx2.RequestError]) -> None:
    def fail(request: httpx2.Request) -> httpx2.Response:
        raise error("it failed", request=request)

    meaning = failure_of(fail)
    assert type(meaning) is ProviderBusy
    assert (meaning.retryable, meaning.retry_after_seconds, meaning.request_id) == (True, None, None)
    assert error.__name__ in str(meaning)


@pytest.mark.parametrize(
    "error",
    [
        httpx2.WriteError("it failed"),
        httpx2.CloseError("it failed"),
        httpx2.LocalProtocolError("it failed"),
        httpx2.DecodingError("it failed"),
        ssl.SSLError("it failed"),
    ],
)
def test_a_connection_that_broke_after_it_was_made_leaves_the_outcome_unknown(error: Exception) -> None:
    def fail(_request: httpx2.Request) -> httpx2.Response:
        raise error

    meaning = failure_of(fail)
    assert type(meaning) is OutcomeUnknown
    assert type(error).__name__ in str(meaning)


@pytest.mark.parametrize("error", [ssl.SSLError("it failed"), httpx2.StreamClosed(), httpx2.ReadError("it failed")])
def test_what_the_sdk_does_not_wrap_leaves_the_outcome_unknown_too(error: Exception) -> None:
    meaning = meaning_of(error)
    assert type(meaning) is OutcomeUnknown
    assert type(error).__name__ in str(meaning)


@pytest.mark.parametrize("status", [400, 401, 429, 500])
@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcDEF_123-456",
        "sk-abcdefghijkl",
        "sk-********************wxyz",
        "iq_0123456789abcdef",
        "sk_live_abcdef1",
    ],
)
def test_keys_in_an_answer_never_reach_the_message(status: int, secret: str) -> None:
    for handler in (
        answer(status, {"message": f"Incorrect API key provided: {secret}. See the docs.", "code": "c", "type": "t"}),
        answer(status, {"message": "No.", "code": secret, "type": "t"}),
        answer(status, content=f"<html>{secret}</html>".encode()),
        answer(status, content=f"<html>{'x' * 440} {secret}</html>".encode()),
    ):
        error = failure_of(handler)
        for told in (str(error), error.reason if isinstance(error, AccountBlocked) else ""):
            assert secret not in told
            assert secret[3:] not in told


def test_what_openai_says_is_told() -> None:
    error = failure_of(answer(400, {"message": "size is not allowed.", "code": "invalid_value", "type": "t"}))
    assert str(error) == "OpenAI answered 400 invalid_value: size is not allowed."


def test_a_page_in_place_of_an_answer_is_told_in_one_short_line() -> None:
    message = str(failure_of(answer(502, content=b"<html>\n  <p>Bad gateway</p>\n" + b"spam " * 100_000)))
    assert message.startswith("OpenAI answered 502: <html> <p>Bad gateway</p> spam")
    assert len(message) < 600
    assert "\n" not in message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": " 3 "}, 3.0),
        ({"retry-after": "3600"}, 3600.0),
        ({"retry-after": "86400"}, MAX_RETRY_AFTER_SECONDS),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after-ms": "-1", "retry-after": "9"}, 9.0),
        ({"retry-after-ms": "9999999"}, MAX_RETRY_AFTER_SECONDS),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 -0000"}, 0.0),
        ({"retry-after": "Fri, 31 Dec 2100 23:59:59 GMT"}, MAX_RETRY_AFTER_SECONDS),
        ({"retry-after": "Mon, 01 Jan 0001 00:00:00 +2359"}, 0.0),
        ({"retry-after": "Mon, 01 Jan 99999 00:00:00 GMT"}, None),
        ({"retry-after": "Wed, 99 Oct 2026 07:28:00 GMT"}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_answer_tells_when_to_come_back(status: int, headers: dict[str, str], seconds: float | None) -> None:
    error = failure_of(answer(status, OPENAIS, headers))
    assert isinstance(error, ProviderBusy)
    assert error.retry_after_seconds == seconds


def test_a_date_to_come_back_at_is_told_in_seconds_from_now() -> None:
    headers = {"retry-after": formatdate(time.time() + 1800, usegmt=True)}
    error = failure_of(answer(429, OPENAIS, headers))
    assert isinstance(error, ProviderBusy)
    assert error.retry_after_seconds is not None
    assert 0 < error.retry_after_seconds <= 1800


def test_what_has_its_meaning_already_keeps_it() -> None:
    error = BadOutput("no images")
    assert meaning_of(error) is error


def test_a_programming_error_is_not_taken_for_a_failed_call() -> None:
    error = KeyError("a defect")
    with pytest.raises(KeyError) as raised:
        meaning_of(error)
    assert raised.value is error


@pytest.mark.parametrize(
    ("details", "categories"),
    [
        ({"moderation_stage": "output", "categories": ["sexual", "violence"]}, ("sexual", "violence")),
        ({"categories": ["a" * 9000, 7, "", None, "two\nlines"]}, ("a" * 500 + "…", "two lines")),
        ({"categories": [str(number) for number in range(1000)]}, tuple(map(str, range(20)))),
        ({"categories": "sexual"}, ()),
        ({}, ()),
        (None, ()),
        ("sexual", ()),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_refusal_keeps_what_the_safety_system_names(details: object, categories: tuple[str, ...]) -> None:
    error = {"message": "No.", "code": "moderation_blocked", "moderation_details": details}
    for meaning in (failure_of(answer(400, error)), meaning_inside(error)):
        assert isinstance(meaning, ModerationBlocked)
        assert meaning.categories == categories
