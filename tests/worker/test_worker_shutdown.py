"""How a worker stops: what it has in flight, what waits, and what is said of calls that are closed."""

from __future__ import annotations

import signal
from collections import Counter

import pytest
from fleet_kit import PATIENCE_SECONDS, Fleet
from outage_kit import log_of, stop_twice

from imagequeue.jobs import AttemptOutcome, Job, JobState

UNKNOWN, SUCCEEDED = AttemptOutcome.UNKNOWN, AttemptOutcome.SUCCEEDED
SOON_SECONDS = 10.0
"""A worker that gives up waits for nobody; Celery and the helpers end within a few seconds of a busy machine's time."""


def in_long_call(fleet: Fleet, prompt: str, **fields: object) -> Job:
    """A job whose call OpenAI has received and works on for longer than any test."""
    fleet.sandbox.add_fault({"delay": 600}, prompt=prompt)
    job = fleet.submit(prompt, **fields)
    fleet.in_call(prompt)
    return job


def assert_closed(fleet: Fleet, prompt: str) -> None:
    """The sandbox saw the connection of the prompt's call end."""
    fleet.eventually(lambda: fleet.sandbox.calls(prompt)[0]["outcome"] == "client_gone")


def test_a_second_sigterm_closes_the_calls_and_says_that_their_outcome_is_unknown(fleet: Fleet) -> None:
    worker = fleet.start_worker()
    again = in_long_call(fleet, "closed by force, retry")
    never = in_long_call(fleet, "closed by force, fail", on_unknown_outcome="fail")
    assert stop_twice(fleet, worker, SOON_SECONDS) == 0
    again, never = fleet.queue.get(again.id), fleet.queue.get(never.id)
    assert (again.state, never.state) == (JobState.QUEUED, JobState.FAILED)
    assert never.error
    assert never.error.code == "outcome_unknown"
    for job in (again, never):
        assert [attempt.outcome for attempt in job.attempts] == [UNKNOWN]
        assert job.possible_extra_cost_usd == pytest.approx(job.estimate.expected_usd)
        assert_closed(fleet, job.request.prompt)
    assert fleet.alive() == []
    fleet.start_worker()
    again = fleet.finished(again)
    assert [attempt.outcome for attempt in again.attempts] == [UNKNOWN, SUCCEEDED]
    assert len(fleet.sandbox.calls(never.request.prompt)) == 1


def test_the_end_of_the_grace_closes_the_calls_as_a_second_sigterm_does(fleet: Fleet) -> None:
    worker = fleet.start_worker(IMAGEQUEUE_SHUTDOWN_GRACE_SECONDS="1")
    job = in_long_call(fleet, "closed by the grace's end")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(1 + SOON_SECONDS) == 0
    fleet.workers.remove(worker)
    job = fleet.queue.get(job.id)
    assert (job.state, [attempt.outcome for attempt in job.attempts]) == (JobState.QUEUED, [UNKNOWN])
    assert_closed(fleet, job.request.prompt)


def test_sigterm_finishes_what_is_in_flight_and_leaves_the_rest_to_the_next_worker(fleet: Fleet) -> None:
    first = fleet.start_worker(IMAGEQUEUE_WORKER_SLOTS="5")
    fleet.sandbox.add_fault({"delay": 1}, prompt="replaced", times=5)
    jobs = [fleet.submit(f"replaced {number}") for number in range(24)]
    fleet.eventually(lambda: len(calls_of(fleet, "replaced ")) >= 5)
    first.send_signal(signal.SIGTERM)
    fleet.eventually(lambda: "Warm shutdown" in log_of(fleet))
    jobs.append(fleet.submit("replaced, submitted after sigterm"))
    assert first.wait(PATIENCE_SECONDS) == 0
    fleet.workers.remove(first)
    assert Counter(fleet.queue.get(job.id).state for job in jobs) == {JobState.SUCCEEDED: 5, JobState.QUEUED: 20}
    assert fleet.alive() == []
    fleet.start_worker()
    ended = [fleet.finished(job) for job in jobs]
    assert {job.state for job in ended} == {JobState.SUCCEEDED}
    assert [len(job.attempts) for job in ended] == [1] * 25
    assert sorted(calls_of(fleet, "replaced")) == sorted(job.request.prompt for job in jobs)


def calls_of(fleet: Fleet, beginning: str) -> list[str]:
    """The prompts of the calls seen that begin so."""
    return [call["prompt"] for call in fleet.sandbox.calls() if str(call["prompt"]).startswith(beginning)]
