"""What each failure of a call means, as data: the first rule that fits decides.

A call is paid for when OpenAI served it, whether or not the answer reached us. So what matters is not how a call
failed but whether it may have been served.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, cast

import httpx2
from openai import APIConnectionError, APIError, APIStatusError

from imagequeue.errors import (
    AccountBlocked,
    ModerationBlocked,
    OutcomeUnknown,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
)

ACCOUNT_CODES: Final = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "billing_hard_limit_reached",
        "invalid_api_key",
        "account_deactivated",
    }
)
MODERATION_CODES: Final = frozenset({"moderation_blocked", "content_policy_violation"})
_NOT_SENT: Final = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,  # a proxy that makes no connection to OpenAI
    httpx2.UnsupportedProtocol,
)
_SECRET_LIKE: Final = re.compile(r"\b(sk|iq)[-_][A-Za-z0-9_*-]{6,}")


@dataclass(frozen=True, slots=True)
class Rule:
    """An answered failure, by HTTP status and OpenAI's error code (empty: any), and what it means."""

    statuses: frozenset[int]
    codes: frozenset[str]
    meaning: type[ProviderError]
    only_with_body: bool = False

    def fits(self, status: int, code: str, has_body: bool) -> bool:
        """Whether the rule speaks of this answer."""
        status_fits = not self.statuses or status in self.statuses
        return status_fits and (not self.codes or code in self.codes) and (has_body or not self.only_with_body)


RULES: Final = (
    Rule(frozenset(), ACCOUNT_CODES, AccountBlocked),
    Rule(frozenset(), MODERATION_CODES, ModerationBlocked),
    Rule(frozenset({401, 403}), frozenset(), AccountBlocked),
    Rule(frozenset({429}), frozenset(), ProviderBusy),
    # OpenAI's own error body says that the request was not served; a bare one may come from something in between.
    Rule(frozenset({500, 503}), frozenset(), ProviderBusy, only_with_body=True),
    Rule(frozenset(range(500, 600)), frozenset(), OutcomeUnknown),
    Rule(frozenset({408}), frozenset(), OutcomeUnknown),
    Rule(frozenset(), frozenset(), ProviderRefused),
)


def meaning_of(error: Exception) -> ProviderError:
    """What a failed call means; the original stays chained by the caller."""
    if isinstance(error, ProviderError):
        return error
    if isinstance(error, APIStatusError):
        return _meaning_of_answer(error)
    cause = error.__cause__ if isinstance(error, APIConnectionError) else error
    if isinstance(cause, _NOT_SENT):
        return ProviderBusy(f"OpenAI could not be reached; nothing was sent ({type(cause).__name__}).")
    if isinstance(error, APIError | httpx2.HTTPError | httpx2.StreamError):
        what = type(cause or error).__name__
        return OutcomeUnknown(f"The call to OpenAI was sent and broke off before a whole answer came ({what}).")
    raise error


def _meaning_of_answer(error: APIStatusError) -> ProviderError:
    body = cast("object", error.body)
    code = str(error.code or error.type or "")
    status = error.status_code
    rule = next(rule for rule in RULES if rule.fits(status, code, isinstance(body, dict)))
    message = _SECRET_LIKE.sub("[key]", f"OpenAI answered {status}{f' {code}' if code else ''}: {_text_of(error)}")
    if rule.meaning is ProviderBusy:
        retry_after = _retry_after_seconds(error.response)
        return ProviderBusy(message, request_id=error.request_id, retry_after_seconds=retry_after)
    return rule.meaning(message, request_id=error.request_id)


def _text_of(error: APIStatusError) -> str:
    body = cast("object", error.body)
    if isinstance(body, dict):
        return str(cast("dict[str, object]", body).get("message") or error.message)
    return error.message


def _retry_after_seconds(response: httpx2.Response) -> float | None:
    """Seconds from `retry-after-ms` or `retry-after`; None for the rare date form and for nonsense."""
    for header, divisor in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(response.headers.get(header, "")) / divisor
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    return None
