"""Every row of the call policy, decided by real failures of the worker's own call."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from call_kit import (
    HASTY,
    HASTY_TO_CONNECT,
    PATIENT,
    Caller,
    Patience,
    Wire,
    answering,
    closed_port,
    deaf,
    deaf_to_tls,
    no_tls,
    other_protocol,
    resetting,
)
from sandbox_kit import RunningSandbox

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
from worker.policy import ACCOUNT_CODES, ADVICE, MODERATION_CODES, RULES, Action, action_of, rule_of

DECISIONS: Final[Mapping[str, tuple[type[ProviderError], Action]]] = {
    "not_sent": (ProviderBusy, Action.RETRY),
    "account": (AccountBlocked, Action.BREAK),
    "moderation": (ModerationBlocked, Action.FAIL),
    "not_verified": (AccountBlocked, Action.BREAK),
    "key_refused": (AccountBlocked, Action.BREAK),
    "too_large": (ProviderRefused, Action.FAIL),
    "rate_limit": (RateLimited, Action.PAUSE),
    "slow_down": (RateLimited, Action.PAUSE),
    "overloaded": (ProviderBusy, Action.RETRY),
    "gateway": (OutcomeUnknown, Action.UNKNOWN),
    "refused": (ProviderRefused, Action.FAIL),
    "broken_off": (OutcomeUnknown, Action.UNKNOWN),
    "unusable": (BadOutput, Action.FAIL),
    "not_kept": (OutcomeUnknown, Action.UNKNOWN),
}

VERIFY: Final = (
    "Your organization must be verified to use the model `gpt-image-2`. Please go to: "
    "https://platform.openai.com/settings/organization/general and click on Verify Organization."
)
TOO_LARGE: Final = "Request too large for gpt-image-2 in organization org-1 on images per min: Limit 5, Requested 8."
PAGE: Final = b"<html><h1>Something went wrong</h1></html>"
OTHER_JSON: Final = b'{"code": 503, "message": "no healthy upstream"}'


@dataclass(frozen=True, slots=True)
class Case:
    """A failure, and the row that decides it: a fault of the sandbox, or a server of its own."""

    row: str
    name: str
    fault: Mapping[str, object] | None = None
    server: Wire | None = None
    patience: Patience = PATIENT
    upload: bool = False
    reason: str | None = None  # of a blocked account


def told(
    row: str,
    status: int,
    code: str | None = None,
    kind: str = "some_type",
    text: str = "No.",
    reason: str | None = None,
) -> Case:
    """OpenAI answers with its error body."""
    fault: dict[str, object] = {"status": status, "code": code, "type": kind, "message": text}
    return Case(row, f"{status} {code} {kind}", fault, reason=reason)


def account(status: int, code: str) -> Case:
    """OpenAI's answer to an account that is refused."""
    return told("account", status, code, reason=code)


def bare(row: str, status: str, body: bytes, *headers: str, reason: str | None = None) -> Case:
    """The answer has another body than OpenAI's."""
    return Case(row, f"{status} {body[:12].decode()}", server=answering(status, body, *headers), reason=reason)


CASES: Final = (
    Case("not_sent", "closed port", server=closed_port),
    Case("not_sent", "no TLS", server=no_tls),
    Case("not_sent", "TLS handshake hangs", server=deaf_to_tls, patience=HASTY_TO_CONNECT),
    Case("not_sent", "other protocol", server=other_protocol),
    *(account(429, code) for code in sorted(ACCOUNT_CODES)),
    *(account(400, code) for code in ("billing_hard_limit_reached", "model_not_found")),
    *(account(401, code) for code in ("invalid_api_key", "account_deactivated")),
    *(account(403, code) for code in ("unsupported_country_region_territory", "model_not_found")),
    account(404, "model_not_found"),
    told("account", 429, None, "billing_not_active", reason="billing_not_active"),
    told("account", 429, "a_code_of_tomorrow", "insufficient_quota", reason="insufficient_quota"),
    *(told("moderation", 400, code, "image_generation_user_error") for code in sorted(MODERATION_CODES)),
    told("not_verified", 403, None, "invalid_request_error", VERIFY, reason="organization_not_verified"),
    told("key_refused", 401, reason="http_401"),
    told("key_refused", 403, reason="http_403"),
    told("key_refused", 401, "mismatched_organization", reason="mismatched_organization"),
    bare(
        "key_refused", "401 Unauthorized", b'{"error": "Missing scopes: api.model.images.request"}', reason="http_401"
    ),
    bare("key_refused", "403 Forbidden", PAGE, reason="http_403"),
    told("too_large", 429, "rate_limit_exceeded", "images", TOO_LARGE),
    told("rate_limit", 429, "rate_limit_exceeded", "requests"),
    told("rate_limit", 429, "slow_down", "rate_limit_error"),
    bare("rate_limit", "429 Too Many Requests", b""),
    bare("rate_limit", "429 Too Many Requests", PAGE),
    told("slow_down", 503, "slow_down", "service_unavailable_error"),
    told("overloaded", 503, "server_is_overloaded", "service_unavailable_error"),
    told("overloaded", 500, None, "server_error"),
    *(told("gateway", status) for status in (408, 502, 504, 520, 599)),
    bare("gateway", "500 Internal Server Error", b""),
    bare("gateway", "503 Service Unavailable", PAGE),
    bare("gateway", "503 Service Unavailable", OTHER_JSON),
    *(told("refused", status, "invalid_value", "invalid_request_error") for status in (400, 404, 409, 413, 422)),
    bare("refused", "400 Bad Request", b""),
    bare("refused", "307 Temporary Redirect", b"", "location: https://openai.test/v1/images/generations"),
    Case("broken_off", "closed before the answer", {"drop": "before"}),
    Case("broken_off", "closed in the middle of the answer", {"drop": "middle"}),
    Case("broken_off", "closed in the middle of a refusal", server=answering("400 Bad Request", b'{"err', missing=9)),
    Case("broken_off", "silence", {"hang": True}, patience=HASTY),
    Case("broken_off", "reset", server=resetting),
    Case("broken_off", "reset while it is sent", server=resetting, upload=True),
    Case("broken_off", "nobody reads what is sent", server=deaf, patience=HASTY, upload=True),
    Case("unusable", "broken base64", {"body": "broken_base64"}),
    Case("unusable", "no images", {"body": "empty_list"}),
    Case("unusable", "no image file", {"body": "not_an_image"}),
    Case("unusable", "cut JSON", server=answering("200 OK", b'{"created": 1, "data": [')),
    Case("unusable", "a page", server=answering("200 OK", PAGE)),
)


@pytest.fixture(scope="module")
def caller(service_environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Generator[Caller]:
    """Makes a worker's calls."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in service_environment.items():
            environment.setenv(name, value)
        caller = Caller(environment, tmp_path_factory.mktemp("spool"))
        yield caller
        caller.close()


def failure_of(case: Case, caller: Caller, sandbox: RunningSandbox) -> ProviderError:
    """What the worker's call raises."""
    if case.fault:
        sandbox.add_fault(dict(case.fault))
    return (caller.edit if case.upload else caller.generate)(case.server or f"{sandbox.url}/v1", case.patience)


def deciding_row(error: ProviderError) -> str:
    """The name of the row behind an error."""
    cause = error.__cause__
    rule = (rule_of(cause) if isinstance(cause, Exception) else None) or rule_of(error)
    assert rule
    return rule.name


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.row}: {case.name}")
def test_a_failed_call_means_what_its_row_says(case: Case, caller: Caller, sandbox: RunningSandbox) -> None:
    error = failure_of(case, caller, sandbox)
    assert deciding_row(error) == case.row
    assert (type(error), action_of(error)) == DECISIONS[case.row]
    assert error.retryable == (action_of(error) is not Action.FAIL)
    if case.fault and "status" in case.fault:
        assert error.request_id == sandbox.calls()[0]["request_id"]
    if isinstance(error, AccountBlocked):
        assert error.reason == case.reason
        assert str(error).endswith(f". {ADVICE.get(error.reason, ADVICE['http_401'])}")


def test_an_answer_that_the_disk_does_not_take_leaves_the_outcome_unknown(
    caller: Caller, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("worker.spool._MEMORY_DISK", tmp_path / "none")
    error = caller.generate(f"{sandbox.url}/v1", PATIENT, folder=tmp_path / "missing")
    assert deciding_row(error) == "not_kept"
    assert (type(error), action_of(error)) == DECISIONS["not_kept"]
    assert sandbox.calls()[0]["outcome"] == "answered"


def test_every_row_has_a_case_and_every_case_a_row() -> None:
    tested = {case.row for case in CASES} | {"not_kept"}
    assert tested == {rule.name for rule in RULES} == DECISIONS.keys()
    assert len(RULES) == len(DECISIONS), "names are unique"


def test_every_kind_of_failure_has_one_action() -> None:
    pairs = {(rule.meaning, rule.action) for rule in RULES}
    assert pairs == set(DECISIONS.values())
    assert len(pairs) == len({meaning for meaning, _ in pairs}), "an error's class alone tells what follows"
    assert {meaning for meaning, _ in pairs} == subclasses(ProviderError)


def subclasses(kind: type[ProviderError]) -> set[type[ProviderError]]:
    """All below `kind`."""
    return {each for direct in kind.__subclasses__() for each in {direct, *subclasses(direct)}}


@pytest.mark.parametrize(("status", "code"), [(429, "rate_limit_exceeded"), (503, "slow_down"), (503, "overloaded")])
def test_a_busy_openai_says_when_to_come_back(caller: Caller, sandbox: RunningSandbox, status: int, code: str) -> None:
    sandbox.add_fault({"status": status, "code": code, "headers": {"retry-after": "7"}})
    error = caller.generate(f"{sandbox.url}/v1", PATIENT)
    assert isinstance(error, ProviderBusy)
    assert error.retry_after_seconds == 7


def test_operations_tell_every_action_and_every_reason() -> None:
    operations = (Path(__file__).parents[2] / "docs/operations.md").read_text()
    section = operations.split("\n## What happens after a failed call\n", 1)[1].split("\n## ", 1)[0]
    assert [name for name in (*Action, *sorted(ADVICE)) if f"`{name}`" not in section] == []
