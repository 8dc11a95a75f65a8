"""Requests about API keys that are wrong are refused; none makes a key that cannot be read again."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from imagequeue.errors import InvalidRequest
from imagequeue.key_requests import KeyLimitsRequest, KeyRequest, RotateRequest
from imagequeue.requests import parse_as

WRONG: list[tuple[type[BaseModel], dict[str, object], str]] = [
    (KeyRequest, {"name": "a", "scopes": [{}]}, "scopes"),
    (KeyRequest, {"name": "a", "scopes": [[]]}, "scopes"),
    (KeyRequest, {"name": "a", "scopes": ["read", "read"]}, "scopes"),
    (KeyRequest, {"name": "a", "scopes": []}, "scopes"),
    (KeyRequest, {"name": "a", "scopes": "read"}, "scopes"),
    (KeyLimitsRequest, {"limits": {"monthly_budget_usd": 5e-324}}, "limits.monthly_budget_usd"),
    (KeyLimitsRequest, {"limits": {"daily_budget_usd": 0}}, "limits.daily_budget_usd"),
    (KeyLimitsRequest, {"limits": {"jobs_per_minute": True}}, "limits.jobs_per_minute"),
    (KeyLimitsRequest, {"limits": {"jobs_in_flight": "3"}}, "limits.jobs_in_flight"),
    (KeyLimitsRequest, {"limits": {"daily_budget_usd": True}}, "limits.daily_budget_usd"),
    (RotateRequest, {"grace_seconds": False}, "grace_seconds"),
    (RotateRequest, {"grace_seconds": "60"}, "grace_seconds"),
]


@pytest.mark.parametrize(("model", "body", "field"), WRONG)
def test_a_wrong_request_about_keys_names_its_field(
    model: type[BaseModel], body: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_as(model, body)
    assert caught.value.violations[0].field == field


def test_scopes_come_as_a_list_and_seconds_as_a_whole_number() -> None:
    assert parse_as(KeyRequest, {"name": "a", "scopes": ["read", "submit"]}).scopes == {"read", "submit"}
    assert parse_as(RotateRequest, {"grace_seconds": 60}).grace_seconds == 60
