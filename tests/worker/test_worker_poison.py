"""A job that kills every worker that takes it ends alone: the jobs beside it are served."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest
from fleet_kit import Fleet
from outage_kit import joined_fleet
from web_kit import running_web

from imagequeue.jobs import AttemptOutcome, Job, JobState
from imagequeue.store.keys import Keys

LOST, SUCCEEDED, UNKNOWN = AttemptOutcome.LOST, AttemptOutcome.SUCCEEDED, AttemptOutcome.UNKNOWN
DEATHS, INNOCENTS = 3, 8


def say_nothing(_connection: socket.socket, stop: threading.Event) -> None:
    """Keep the client waiting."""
    stop.wait()


def calls_of_innocents(fleet: Fleet) -> int:
    """How often the jobs beside the poison were called."""
    return len(fleet.sandbox.calls_beginning("beside"))


def beside(fleet: Fleet) -> list[Job]:
    """Jobs that are in mid-call at the first two deaths, and are answered at once from then on."""
    fleet.sandbox.add_fault({"delay": 600}, prompt="beside", times=(DEATHS - 1) * INNOCENTS)
    return [fleet.submit(f"beside {number}") for number in range(INNOCENTS)]


def die_of(fleet: Fleet, swallowed: Callable[[], int]) -> None:
    """Kill every worker as soon as it has swallowed the poison, and start the next one."""
    before = calls_of_innocents(fleet)
    for death in range(1, DEATHS + 1):
        worker = fleet.start_worker()
        fleet.eventually(lambda death=death: swallowed() >= death)
        called = before + INNOCENTS * min(death, DEATHS - 1)
        fleet.eventually(lambda called=called: calls_of_innocents(fleet) >= called)
        fleet.kill(worker)
    fleet.start_worker()


def assert_only_the_poison_failed(fleet: Fleet, poison: Job, innocents: list[Job], outcome: AttemptOutcome) -> Job:
    """The poison ended at its third worker, and the others two calls later than they would have without it."""
    poison = fleet.finished(poison)
    assert (poison.state, poison.error and poison.error.code) == (JobState.FAILED, "worker_lost")
    assert [attempt.outcome for attempt in poison.attempts] == [outcome] * DEATHS
    assert len({attempt.worker for attempt in poison.attempts}) == DEATHS
    assert fleet.redis.hget(Keys(fleet.settings.key_prefix).job(poison.id), "losses") == str(DEATHS)
    for job in innocents:
        ended = fleet.finished(job)
        assert ended.state is JobState.SUCCEEDED, ended
        assert [attempt.outcome for attempt in ended.attempts] == [UNKNOWN, UNKNOWN, SUCCEEDED]
        assert ended.possible_extra_cost_usd == pytest.approx(2 * ended.estimate.expected_usd)
    return poison


def test_a_job_that_kills_workers_in_mid_call_ends_at_the_third_and_the_others_succeed(fleet: Fleet) -> None:
    with joined_fleet(fleet, {"IMAGEQUEUE_UNKNOWN_RETRIES": "20"}) as joined:
        fleet.sandbox.add_fault({"delay": 600}, prompt="poison", times=DEATHS)
        innocents, poison = beside(joined), joined.submit("poison")
        die_of(joined, lambda: len(joined.sandbox.calls("poison")))
        poison = assert_only_the_poison_failed(joined, poison, innocents, UNKNOWN)
        assert len(joined.sandbox.calls("poison")) == DEATHS
        assert poison.possible_extra_cost_usd == pytest.approx(DEATHS * poison.estimate.expected_usd)


def test_a_job_that_kills_workers_before_its_call_ends_at_the_third_and_costs_nothing(fleet: Fleet) -> None:
    with running_web() as web:
        image = web.serve("/poison.png", say_nothing)
        changes = {"IMAGEQUEUE_UNKNOWN_RETRIES": "20", "IMAGEQUEUE_INPUT_ORIGINS": web.origin}
        with joined_fleet(fleet, changes) as joined:
            innocents = beside(joined)
            poison = joined.submit("poisoned image", type="edit", images=[image])
            die_of(joined, lambda: len(web.requests))
            poison = assert_only_the_poison_failed(joined, poison, innocents, LOST)
            assert joined.sandbox.calls("poisoned image") == []
            assert poison.possible_extra_cost_usd == 0
