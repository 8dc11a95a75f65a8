"""Batches that may take a day, over HTTP."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from api_kit import RunningApi
from batch_kit import lines, look, submit
from manifest_kit import jsonl


@pytest.fixture
def words() -> str:
    """Prompts that no other test has."""
    return f"economy {uuid.uuid4().hex}"


def test_a_batch_with_a_completion_window_is_priced_at_half_and_has_a_day(fleet_api: RunningApi, words: str) -> None:
    manifest = lines(3, words)
    at_once = submit(fleet_api.http, manifest, max_cost_usd="0.000001")
    before = datetime.now(UTC)
    batch = submit(fleet_api.http, manifest, completion_window="24h", max_cost_usd="0.000001")
    assert (at_once["economy"], at_once["deadline"], batch["economy"]) == (False, None, True)
    deadline = datetime.fromisoformat(batch["deadline"])
    assert timedelta(hours=23, minutes=59) < deadline - before < timedelta(hours=24, minutes=1)
    for figure in ("low_usd", "expected_usd", "high_usd"):
        assert batch["estimate"][figure] == pytest.approx(at_once["estimate"][figure] / 2, abs=2e-6)
    paused = look(fleet_api.http, batch, wait=20)
    assert paused["pause"]["code"] == "max_cost_usd", "no line leaves for OpenAI that the cap has no room for"
    assert (paused["at_openai"], paused["moved_to_real_time"], paused["cost_usd_estimated"]) == (0, 0, 0)


@pytest.mark.parametrize(
    "options",
    [
        {"completion_window": "1h"},
        {"deadline": "2020-01-01T00:00:00Z"},
        {"deadline": "2999-01-01T00:00:00Z"},
        {"deadline": "tomorrow"},
        {"deadline": "2026-12-24T12:00:00"},
    ],
)
def test_windows_and_deadlines_that_cannot_be_are_refused_by_name(
    fleet_api: RunningApi, words: str, options: dict[str, str]
) -> None:
    answer = fleet_api.http.post(
        "/v1/batches",
        content=jsonl(*lines(1, words)),
        headers={"Content-Type": "application/jsonl"},
        params=options,
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert next(iter(options)) in answer.text
