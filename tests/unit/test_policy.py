"""What each failure of a call means, through the real SDK over a transport that fails on purpose."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
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
)
from worker.policy import ACCOUNT_CODES, MODERATION_CODES, RULES, meaning_of

Handler = Callable[[httpx2.Request], httpx2.Response]
REQUEST_ID: Final = "req_1234"


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
    error: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
) -> Handler:
    """Answers with OpenAI's error body, or with `content` in place of it."""
    body = json.dumps({"error": error}).encode() if content is None else content
    return lambda _request: httpx2.Response(
        status,
        content=body,
        headers={"x-request-id": REQUEST_ID, "content-type": "application/json", **(headers or {})},
    )


def fail_with(error: type[httpx2.HTTPError]) -> Handler:
    """Fails as a connection does."""

    def handler(request: httpx2.Request) -> httpx2.Response:
        raise error("it failed", request=request)  # pyright: ignore[reportCallIssue]

    return handler


@pytest.mark.parametrize("status", [400, 403, 429, 500])
@pytest.mark.parametrize("code", sorted(ACCOUNT_CODES))
def test_quota_billing_and_key_codes_block_the_account_at_any_status(status: int, code: str) -> None:
    error = failure_of(answer(status, {"message": "No.", "code": code, "type": "t"}))
    assert (type(error), error.retryable, error.request_id) == (AccountBlocked, False, REQUEST_ID)
    assert code in str(error)


@pytest.mark.parametrize("status", [400, 403, 500])
@pytest.mark.parametrize("code", sorted(MODERATION_CODES))
def test_moderation_codes_are_refusals_at_any_status(status: int, code: str) -> None:
    error = failure_of(answer(status, {"message": "No.", "code": code, "type": "image_generation_user_error"}))
    assert (type(error), error.retryable) == (ModerationBlocked, False)


OPENAIS = {"message": "Sorry.", "code": "some_code", "type": "some_type"}


@pytest.mark.parametrize(
    ("status", "error", "meaning"),
    [
        (400, OPENAIS, ProviderRefused),
        (401, OPENAIS, AccountBlocked),
        (403, OPENAIS, AccountBlocked),
        (404, {**OPENAIS, "code": "model_not_found"}, ProviderRefused),
        (408, OPENAIS, OutcomeUnknown),
        (409, OPENAIS, ProviderRefused),
        (413, OPENAIS, ProviderRefused),
        (422, OPENAIS, ProviderRefused),
        (429, OPENAIS, ProviderBusy),
        (429, {**OPENAIS, "code": "rate_limit_exceeded", "type": "requests"}, ProviderBusy),
        (429, {**OPENAIS, "code": None, "type": "insufficient_quota"}, AccountBlocked),
        (500, OPENAIS, ProviderBusy),
        (500, {**OPENAIS, "code": None, "type": "server_error"}, ProviderBusy),
        (502, OPENAIS, OutcomeUnknown),
        (503, OPENAIS, ProviderBusy),
        (504, OPENAIS, OutcomeUnknown),
        (520, OPENAIS, OutcomeUnknown),
        (599, OPENAIS, OutcomeUnknown),
    ],
)
def test_an_answer_with_openais_body_means(
    status: int, error: Mapping[str, object], meaning: type[ProviderError]
) -> None:
    assert type(failure_of(answer(status, error))) is meaning


@pytest.mark.parametrize("content", [b"", b"<html>Bad gateway</html>", b'"text"', b'{"error": "overloaded"}', b"[]"])
@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (400, ProviderRefused),
        (401, AccountBlocked),
        (403, AccountBlocked),
        (408, OutcomeUnknown),
        (429, ProviderBusy),
        (500, OutcomeUnknown),
        (502, OutcomeUnknown),
        (503, OutcomeUnknown),
        (524, OutcomeUnknown),
    ],
)
def test_an_answer_without_openais_body_means(status: int, content: bytes, meaning: type[ProviderError]) -> None:
    assert type(failure_of(answer(status, content=content))) is meaning


def test_every_rule_decides_some_answer_of_these_tests() -> None:
    answers = [
        (429, "insufficient_quota", True),
        (400, "moderation_blocked", True),
        (401, "", False),
        (429, "rate_limit_exceeded", True),
        (503, "", True),
        (503, "", False),
        (408, "", True),
        (400, "", True),
    ]
    deciding = [next(rule for rule in RULES if rule.fits(*given)) for given in answers]
    assert deciding == list(RULES)


@pytest.mark.parametrize("error", [httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError])
def test_a_connection_that_was_never_made_costs_nothing(error: type[httpx2.HTTPError]) -> None:
    meaning = failure_of(fail_with(error))
    assert type(meaning) is ProviderBusy
    assert (meaning.retryable, meaning.retry_after_seconds, meaning.request_id) == (True, None, None)
    assert error.__name__ in str(meaning)


@pytest.mark.parametrize(
    "error",
    [
        httpx2.ReadTimeout,
        httpx2.WriteTimeout,
        httpx2.ReadError,
        httpx2.WriteError,
        httpx2.CloseError,
        httpx2.RemoteProtocolError,
        httpx2.LocalProtocolError,
    ],
)
def test_a_connection_that_broke_after_it_was_made_leaves_the_outcome_unknown(error: type[httpx2.HTTPError]) -> None:
    meaning = failure_of(fail_with(error))
    assert type(meaning) is OutcomeUnknown
    assert error.__name__ in str(meaning)


class BrokenBody(httpx2.AsyncByteStream):
    """A body that breaks off."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """One piece, then nothing more."""
        yield b'{"data": '
        raise httpx2.ReadError("connection reset")


@pytest.mark.parametrize("status", [200, 400, 500])
def test_a_body_that_breaks_off_leaves_the_outcome_unknown(status: int) -> None:
    assert type(failure_of(lambda _request: httpx2.Response(status, stream=BrokenBody()))) is OutcomeUnknown


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
    ):
        message = str(failure_of(handler))
        assert secret not in message
        assert secret[3:] not in message


def test_what_openai_says_is_told() -> None:
    error = failure_of(answer(400, {"message": "size is not allowed.", "code": "invalid_value", "type": "t"}))
    assert str(error) == "OpenAI answered 400 invalid_value: size is not allowed."


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": " 3 "}, 3.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after-ms": "-1", "retry-after": "9"}, 9.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_answer_tells_when_to_come_back(status: int, headers: dict[str, str], seconds: float | None) -> None:
    error = failure_of(answer(status, OPENAIS, headers))
    assert isinstance(error, ProviderBusy)
    assert error.retry_after_seconds == seconds


def test_what_has_its_meaning_already_keeps_it() -> None:
    error = BadOutput("no images")
    assert meaning_of(error) is error


def test_a_programming_error_is_not_taken_for_a_failed_call() -> None:
    error = KeyError("a defect")
    with pytest.raises(KeyError) as raised:
        meaning_of(error)
    assert raised.value is error
