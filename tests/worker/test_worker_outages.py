"""Redis or OpenAI fails while calls are in flight: none is doubled, and what may have been billed for nothing shows."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fleet_kit import Fleet
from outage_kit import freeze, joined_fleet

from imagequeue.jobs import AttemptOutcome, JobState
from sandbox.stack.processes import kill_group
from sandbox.stack.redis_server import RunningServer, start_redis

BUSY, FAILED, SUCCEEDED, UNKNOWN = (
    AttemptOutcome.BUSY,
    AttemptOutcome.FAILED,
    AttemptOutcome.SUCCEEDED,
    AttemptOutcome.UNKNOWN,
)
CALLS, CALL_SECONDS = 10, 3.0
SILENCE_SECONDS = 6.0
"""Longer than the calls, three times the lease, and longer than any of our waits for an answer of Redis."""


@dataclass
class OwnRedis:
    """A Redis that only these tests use."""

    folder: Path
    running: RunningServer
    raw: Any = None

    def falls_silent(self) -> None:
        """It answers nobody for a while."""
        freeze(self.running.process, SILENCE_SECONDS)

    def is_killed_and_started_again(self) -> None:
        """It loses all connections and reads its data from the append-only file."""
        kill_group(self.running.process)
        self.running = start_redis(self.folder)

    def cuts_all_connections(self) -> None:
        """Everybody who is connected has to connect again, those who wait for messages or changes too."""
        self.raw.execute_command("CLIENT", "KILL", "TYPE", "normal")
        self.raw.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


@pytest.fixture
def own_redis(tmp_path: Path) -> Generator[OwnRedis]:
    """A Redis that may be harmed."""
    redis = OwnRedis(tmp_path, start_redis(tmp_path))
    yield redis
    redis.running.stop()


Outage = Callable[[OwnRedis], None]
OUTAGES: tuple[Outage, ...] = (
    OwnRedis.falls_silent,
    OwnRedis.cuts_all_connections,
    OwnRedis.is_killed_and_started_again,
)


def test_no_call_is_lost_or_doubled_when_redis_fails_while_it_is_in_flight(fleet: Fleet, own_redis: OwnRedis) -> None:
    with joined_fleet(fleet, {"IMAGEQUEUE_REDIS_URL": own_redis.running.url}) as joined:
        own_redis.raw = joined.redis
        worker = joined.start_worker()
        for outage in OUTAGES:
            prompt = f"redis {outage.__name__}"
            fleet.sandbox.add_fault({"delay": CALL_SECONDS}, prompt=prompt, times=CALLS)
            jobs = [joined.submit(f"{prompt} {number}") for number in range(CALLS)]
            joined.eventually(lambda prompt=prompt: len(calls_of(joined, prompt)) == CALLS)
            outage(own_redis)
            for job in jobs:
                ended = joined.finished(job)
                assert ended.state is JobState.SUCCEEDED, (prompt, ended.error)
                assert [attempt.outcome for attempt in ended.attempts] == [SUCCEEDED], prompt
            assert len(calls_of(joined, prompt)) == CALLS
            assert joined.finished(joined.submit(f"after {prompt}")).state is JobState.SUCCEEDED
        assert worker.poll() is None


def calls_of(fleet: Fleet, beginning: str) -> list[str]:
    """The prompts of the calls seen that begin so."""
    return [call["prompt"] for call in fleet.sandbox.calls() if str(call["prompt"]).startswith(beginning)]


@pytest.mark.parametrize(
    ("fault", "outcome", "cost_known"),
    [
        ({"drop": "before"}, UNKNOWN, False),
        ({"drop": "middle"}, UNKNOWN, False),
        ({"body": "broken_base64"}, FAILED, False),
        ({"body": "not_an_image"}, FAILED, True),
        ({"body": "empty_list"}, FAILED, True),
        ({"status": 400, "code": "moderation_blocked"}, FAILED, None),
    ],
)
def test_what_may_have_been_billed_for_nothing_is_shown(
    working_fleet: Fleet, fault: dict[str, object], outcome: AttemptOutcome, cost_known: bool | None
) -> None:
    prompt = f"bill {fault}"
    working_fleet.sandbox.add_fault(fault, prompt=prompt)
    job = working_fleet.finished(working_fleet.submit(prompt, on_unknown_outcome="fail"))
    assert job.state is JobState.FAILED
    (attempt,) = job.attempts
    assert attempt.outcome is outcome
    assert (job.cost_usd_estimated or 0) == pytest.approx(attempt.cost_usd_estimated or 0)
    assert (job.cost_usd_estimated is not None) is bool(cost_known)
    assert job.possible_extra_cost_usd == (job.estimate.expected_usd if cost_known is False else 0)


def test_an_image_in_another_format_is_kept_as_it_is_and_noted(working_fleet: Fleet) -> None:
    working_fleet.sandbox.add_fault({"body": "wrong_format"}, prompt="wrong format")
    job = working_fleet.finished(working_fleet.submit("wrong format"))
    assert job.state is JobState.SUCCEEDED
    assert job.images[0].mime_type != "image/jpeg"
    assert any("instead of jpeg; kept as it is" in note for note in job.notes)
    assert job.cost_usd_estimated
    assert len(working_fleet.sandbox.calls("wrong format")) == 1
