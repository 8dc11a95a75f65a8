"""What each failure of a call means and what follows from it, as data: the first row of RULES that fits decides.

A call is paid for when OpenAI served it, whether or not the answer reached us. So what matters is not how a call
failed but whether it may have been served.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final, cast

import httpx2
from openai import APIConnectionError, APIError, APIStatusError

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
from worker.answer_fields import Fields, object_of, text_of

MAX_RETRY_AFTER_SECONDS: Final = 3600.0
"""More than OpenAI ever asks for: a header that is out of its mind must not stop the fleet for a day."""
_MAX_TEXT: Final = 500
_MOST_CATEGORIES: Final = 20
"""Characters kept of what an answer says; a proxy's error page may have any number."""
_SECRET_LIKE: Final = re.compile(r"\b(sk|iq)[-_][A-Za-z0-9_*-]{6,}")

_ADD_CREDIT: Final = "Add credit or raise the limit at https://platform.openai.com/settings/organization/billing."
_RAISE_LIMIT: Final = "Raise the limit at https://platform.openai.com/settings/organization/limits."
_SET_KEY: Final = "Set OPENAI_API_KEY to a key that is valid for the images API and restart the workers."
_CODE_ADVICE: Final = {
    "insufficient_quota": _ADD_CREDIT,
    "credit_balance_exhausted": _ADD_CREDIT,
    "billing_hard_limit_reached": _ADD_CREDIT,
    "billing_not_active": "Set up billing at https://platform.openai.com/settings/organization/billing.",
    "organization_spend_limit_exceeded": _RAISE_LIMIT,
    "project_spend_limit_exceeded": _RAISE_LIMIT,
    "organization_usage_limit_exceeded": _RAISE_LIMIT,
    "invalid_api_key": _SET_KEY,
    "account_deactivated": "Ask OpenAI's support at https://help.openai.com.",
    "model_not_found": "The key's project has no access to the model: check IMAGEQUEUE_MODEL (for edits by the "
    "Responses API, IMAGEQUEUE_RESPONSES_MODEL too) and the project's allowed models.",
    "unsupported_country_region_territory": "Run the workers where OpenAI serves its API: "
    "https://platform.openai.com/docs/supported-countries.",
}
ACCOUNT_CODES: Final = frozenset(_CODE_ADVICE)
NOT_VERIFIED: Final = "organization_not_verified"
"""The reason of a refusal to which OpenAI gives no code."""
ADVICE: Final[Mapping[str, str]] = {
    **_CODE_ADVICE,
    NOT_VERIFIED: "Verify the organisation at https://platform.openai.com/settings/organization/general; it takes up "
    "to 15 minutes to work.",
    "http_401": f"{_SET_KEY} OPENAI_ORG_ID and OPENAI_PROJECT_ID, if set, must be the key's own.",
    "http_403": "Check what the key and its project are allowed to do at https://platform.openai.com/settings, and "
    "that nothing between the workers and OpenAI refuses them.",
}
"""What the person who runs the fleet has to do, by the reason of an AccountBlocked."""
MODERATION_CODES: Final = frozenset({"moderation_blocked", "content_policy_violation"})


_TOLD_INSIDE_MODERATION: Final = frozenset({"image_content_policy_violation", "content_filter"})
"""What the Responses API says beside the image endpoints' own codes."""
_TOLD_INSIDE_STATUSES: Final = {
    "rate_limit_exceeded": 429,
    "server_error": 500,
    "image_generation_server_error": 500,
}
"""The HTTP status that stands for an error told inside an answered call; any other is a refusal."""


class StreamEnded(Exception):
    """The events of a streamed answer ended in good order, and the image was not among them."""


class Phase(StrEnum):
    """How far a call came."""

    NOT_SENT = "not_sent"  # there was no connection to send it on
    ANSWERED = "answered"  # with a status that is no success
    BROKEN_OFF = "broken_off"  # sent, in part or wholly, and no whole answer came
    SERVED = "served"  # with success, and we have no image of it


class Action(StrEnum):
    """What becomes of the job, and of the fleet."""

    RETRY = "retry"  # back into the queue, to be tried later
    PAUSE = "pause"  # the same, and the whole fleet pauses and goes on slower
    BREAK = "break"  # back into the queue, which stops until the account works again
    UNKNOWN = "unknown"  # perhaps served and billed: on_unknown_outcome decides
    FAIL = "fail"  # the same call would end the same way


@dataclass(frozen=True, slots=True)
class Told:
    """What an answer says of its failure: `kind` is OpenAI's error type, `openais` whether the body is OpenAI's own."""

    status: int
    code: str
    kind: str
    text: str
    openais: bool = True


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: which failures, what they mean and what follows. All that is given must fit; what is empty fits any.

    Answers are told by status, by OpenAI's error code or type, and by a part of the message in small letters; the other
    phases by exception. `reason` is for the refusals to which OpenAI gives no code.
    """

    name: str
    meaning: type[ProviderError]
    action: Action
    phase: Phase = Phase.ANSWERED
    statuses: Collection[int] = ()
    codes: Collection[str] = ()
    says: str = ""
    only_with_body: bool = False
    exceptions: tuple[type[Exception], ...] = ()
    reason: str = ""

    def fits(self, told: Told) -> bool:
        """Whether the row speaks of this answer."""
        return (
            self.phase is Phase.ANSWERED
            and (not self.statuses or told.status in self.statuses)
            and (not self.codes or told.code in self.codes or told.kind in self.codes)
            and self.says in told.text.lower()
            and (told.openais or not self.only_with_body)
        )


_NOT_SENT: Final = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,  # a proxy that makes no connection to OpenAI
    httpx2.UnsupportedProtocol,
)
# Also while the request was being sent: OpenAI may have had enough of it to begin.
_BROKEN_OFF: Final = (APIError, httpx2.HTTPError, httpx2.StreamError, ssl.SSLError, StreamEnded)

RULES: Final = (
    Rule("not_sent", ProviderBusy, Action.RETRY, Phase.NOT_SENT, exceptions=_NOT_SENT),
    Rule("account", AccountBlocked, Action.BREAK, codes=ACCOUNT_CODES),
    Rule("moderation", ModerationBlocked, Action.FAIL, codes=MODERATION_CODES),
    Rule("not_verified", AccountBlocked, Action.BREAK, statuses=(403,), says="must be verified", reason=NOT_VERIFIED),
    Rule("key_refused", AccountBlocked, Action.BREAK, statuses=(401, 403)),
    # More than the account may use in a whole minute: waiting never helps, and no other job has to wait for it.
    Rule("too_large", ProviderRefused, Action.FAIL, statuses=(429,), says="request too large for"),
    Rule("rate_limit", RateLimited, Action.PAUSE, statuses=(429,)),
    # Traffic that grows too fast is answered 503 in place of 429 by some endpoints.
    Rule("slow_down", RateLimited, Action.PAUSE, statuses=(503,), codes=("slow_down",)),
    # OpenAI's own error body says that the request was not served; a bare one may come from something in between.
    Rule("overloaded", ProviderBusy, Action.RETRY, statuses=(500, 503), only_with_body=True),
    Rule("gateway", OutcomeUnknown, Action.UNKNOWN, statuses=(408, *range(500, 600))),
    Rule("refused", ProviderRefused, Action.FAIL),
    Rule("broken_off", OutcomeUnknown, Action.UNKNOWN, Phase.BROKEN_OFF, exceptions=_BROKEN_OFF),
    Rule("unusable", BadOutput, Action.FAIL, Phase.SERVED, exceptions=(BadOutput,)),
    # This worker's disk did not take the answer: the image is gone, and another call may be wanted.
    Rule("not_kept", OutcomeUnknown, Action.UNKNOWN, Phase.SERVED, exceptions=(OutcomeUnknown,)),
)
_ACTIONS: Final = {rule.meaning: rule.action for rule in RULES}


def action_of(error: ProviderError) -> Action:
    """What follows from a failure that `meaning_of` gave back."""
    return _ACTIONS[type(error)]


def rule_of(error: Exception) -> Rule | None:
    """The row that decides what an exception of a call means; None: it is no failed call but a defect of ours."""
    if isinstance(error, APIStatusError):
        return _rule_for(_told(error))
    cause = error.__cause__ if isinstance(error, APIConnectionError) else None
    return next((rule for rule in RULES for each in (cause, error) if isinstance(each, rule.exceptions)), None)


def meaning_of(error: Exception) -> ProviderError:
    """What a failed call means; the original stays chained by the caller.

    Raises:
        Exception: the error itself, when it is no failed call but a defect of ours.
    """
    if isinstance(error, ProviderError):
        return error
    if isinstance(error, APIStatusError):
        return _meaning_of_answer(error)
    rule = rule_of(error)
    if rule is None:
        raise error
    what = type(error.__cause__ or error).__name__
    if rule.phase is Phase.NOT_SENT:
        return rule.meaning(f"OpenAI could not be reached; nothing was sent ({what}).")
    return rule.meaning(f"The call to OpenAI was sent and broke off before a whole answer came ({what}).")


def meaning_of_told(
    told: Told, message: str, request_id: str | None = None, retry_after_seconds: float | None = None
) -> ProviderError:
    """What a failure means that OpenAI told, by its status or inside an answered call. `message` says so to people."""
    rule, message = _rule_for(told), _cleaned(message)
    if issubclass(rule.meaning, AccountBlocked):
        reason = rule.reason or _account_code(told) or _cleaned(told.code) or f"http_{told.status}"
        advice = ADVICE.get(reason) or ADVICE[f"http_{told.status}"]
        return rule.meaning(f"{message.rstrip('. ')}. {advice}", reason=reason, request_id=request_id)
    if issubclass(rule.meaning, ProviderBusy):
        return rule.meaning(message, request_id=request_id, retry_after_seconds=retry_after_seconds)
    return rule.meaning(message, request_id=request_id)


def meaning_inside(error: Fields, *, begun: bool = False) -> ProviderError:
    """What an error object means that OpenAI gave inside a call answered with 200.

    `begun`: previews of the image had come, so that the call may be billed even where another one would be served.
    """
    code, kind = text_of(error.get("code")) or "", text_of(error.get("type")) or ""
    text = text_of(error.get("message")) or "no reason given"
    message = f"OpenAI answered {code or kind or 'an error'}: {text}"
    if not _TOLD_INSIDE_MODERATION.isdisjoint((code, kind)) or object_of(error.get("moderation_details")):
        return _with_categories(ModerationBlocked(_cleaned(message)), error)
    status = next((_TOLD_INSIDE_STATUSES[name] for name in (code, kind) if name in _TOLD_INSIDE_STATUSES), 400)
    meaning = meaning_of_told(Told(status, code, kind, text), message)
    if begun and isinstance(meaning, ProviderBusy):
        return OutcomeUnknown(f"{meaning} Previews of the image had come: the call may be billed.")
    return meaning


def _meaning_of_answer(error: APIStatusError) -> ProviderError:
    told = _told(error)
    code = told.code or told.kind
    message = f"OpenAI answered {told.status}{f' {code}' if code else ''}: {told.text}"
    meaning = meaning_of_told(told, message, error.request_id, _retry_after_seconds(error.response))
    return _with_categories(meaning, object_of(cast("object", error.body)))


def _with_categories(meaning: ProviderError, error: Fields) -> ProviderError:
    """The meaning of an error object; of a refusal, with what the safety system names in it."""
    named = object_of(error.get("moderation_details")).get("categories")
    if isinstance(meaning, ModerationBlocked) and isinstance(named, list):
        texts = (text_of(category) for category in cast("list[object]", named)[:_MOST_CATEGORIES])
        meaning.categories = tuple(_cleaned(text) for text in texts if text)
    return meaning


def _rule_for(told: Told) -> Rule:
    return next(rule for rule in RULES if rule.fits(told))


def _account_code(told: Told) -> str:
    return next((code for code in (told.code, told.kind) if code in ACCOUNT_CODES), "")


def _told(error: APIStatusError) -> Told:
    body = cast("object", error.body)
    fields, page = object_of(body), text_of(body)
    return Told(
        status=error.status_code,
        code=str(error.code or ""),
        kind=str(error.type or ""),
        text=str(fields.get("message") or page or "no reason given"),
        openais=bool(fields) and _is_openais(error.response),
    )


def _is_openais(response: httpx2.Response) -> bool:
    """Whether a body that is a JSON object is `{"error": {…}}`; the SDK gives other objects out as if they were."""
    return bool(object_of(response.json().get("error")))


def _cleaned(text: str) -> str:
    """One line without keys, cut to what a person reads."""
    line = " ".join(_SECRET_LIKE.sub("[key]", text).split())
    return line if len(line) <= _MAX_TEXT else f"{line[:_MAX_TEXT]}…"


def _retry_after_seconds(response: httpx2.Response) -> float | None:
    """Seconds from `retry-after-ms` or `retry-after`, which may be a date; None for nonsense."""
    for header, divisor in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(response.headers.get(header, "")) / divisor
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return min(seconds, MAX_RETRY_AFTER_SECONDS)
    try:
        until = parsedate_to_datetime(response.headers.get("retry-after", "")).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(until - time.time(), 0.0), MAX_RETRY_AFTER_SECONDS)
