"""What becomes of jobs when workers, connections or the broker fail."""

from __future__ import annotations

import os
import signal
import time

import pytest
from fleet_kit import LEASE_SECONDS, Fleet, make_fleet

from imagequeue.errors import ImageQueueError
from imagequeue.jobs import AttemptOutcome, JobState
from imagequeue.requests import parse_request

UNKNOWN, SUCCEEDED = AttemptOutcome.UNKNOWN, AttemptOutcome.SUCCEEDED


@pytest.mark.parametrize("drop", ["before", "middle"])
def test_a_call_that_breaks_off_is_made_once_more_and_stays_visible(working_fleet: Fleet, drop: str) -> None:
    working_fleet.sandbox.add_fault({"drop": drop}, prompt=f"drop {drop}")
    job = working_fleet.finished(working_fleet.submit(f"drop {drop}"))
    assert [attempt.outcome for attempt in job.attempts] == [UNKNOWN, SUCCEEDED]
    assert job.possible_extra_cost_usd == pytest.approx(job.estimate.expected_usd)


def test_a_second_unknown_outcome_ends_the_job(working_fleet: Fleet) -> None:
    working_fleet.sandbox.add_fault({"drop": "middle"}, prompt="drop twice", times=2)
    job = working_fleet.finished(working_fleet.submit("drop twice"))
    assert (job.state, job.error and job.error.code) == (JobState.FAILED, "outcome_unknown")
    assert [attempt.outcome for attempt in job.attempts] == [UNKNOWN, UNKNOWN]


def test_a_silent_openai_is_an_unknown_outcome_after_the_timeout(fleet: Fleet) -> None:
    fleet.start_worker(IMAGEQUEUE_OPENAI_TIMEOUT_SECONDS="1")
    fleet.sandbox.add_fault({"hang": True}, prompt="silent")
    job = fleet.finished(fleet.submit("silent"))
    assert [attempt.outcome for attempt in job.attempts] == [UNKNOWN, SUCCEEDED]


def test_a_killed_workers_call_is_unknown_and_taken_over(fleet: Fleet) -> None:
    first = fleet.start_worker()
    fleet.sandbox.add_fault({"hang": True}, prompt="killed")
    job = fleet.submit("killed")
    fleet.in_call("killed")
    fleet.start_worker()
    killed_ms = time.time() * 1000
    fleet.kill(first)
    job = fleet.finished(job)
    assert [attempt.outcome for attempt in job.attempts] == [UNKNOWN, SUCCEEDED]
    assert len(fleet.sandbox.calls("killed")) == 2
    seconds = (job.attempts[1].started - killed_ms) / 1000
    print(f"\ntaken over {seconds:.1f} s after SIGKILL, with a lease of {LEASE_SECONDS} s")
    assert seconds < LEASE_SECONDS + 5, "a job is taken over within its lease and 5 s"


def test_with_the_policy_fail_a_killed_workers_call_is_not_repeated(fleet: Fleet) -> None:
    first = fleet.start_worker()
    fleet.sandbox.add_fault({"hang": True}, prompt="never twice")
    fail_fleet = make_fleet(fleet.environment | {"IMAGEQUEUE_ON_UNKNOWN_OUTCOME": "fail"}, fleet.sandbox, fleet.folder)
    job = fail_fleet.queue.submit(parse_request({"prompt": "never twice"})).job
    fleet.in_call("never twice")
    fleet.start_worker()
    fleet.kill(first)
    job = fleet.finished(job)
    fail_fleet.close()
    assert (job.state, job.error and job.error.code) == (JobState.FAILED, "outcome_unknown")
    assert len(fleet.sandbox.calls("never twice")) == 1


def test_a_worker_paused_past_its_lease_cannot_finish_the_job_any_more(fleet: Fleet) -> None:
    paused = fleet.start_worker()
    fleet.sandbox.set_latency(1)
    job = fleet.submit("paused")
    fleet.in_call("paused")
    os.killpg(paused.pid, signal.SIGSTOP)
    fleet.start_worker()
    job = fleet.finished(job)
    os.killpg(paused.pid, signal.SIGCONT)
    log = fleet.folder / "worker-0.log"
    fleet.eventually(lambda: "claim_lost" in log.read_text())
    after = fleet.queue.get(job.id)
    assert after == job, "a stale worker changed a finished job"
    assert [attempt.outcome for attempt in after.attempts] == [UNKNOWN, SUCCEEDED]


def test_cancelling_a_running_job_closes_its_connection_to_openai(working_fleet: Fleet) -> None:
    working_fleet.sandbox.add_fault({"hang": True}, prompt="cancelled in call")
    job = working_fleet.submit("cancelled in call")
    working_fleet.in_call("cancelled in call")
    assert working_fleet.queue.cancel(job.id).cancel_requested
    job = working_fleet.finished(job)
    assert (job.state, job.error and job.error.code) == (JobState.CANCELLED, "cancelled")
    assert job.possible_extra_cost_usd > 0, "OpenAI may bill what it had begun"
    working_fleet.eventually(lambda: working_fleet.sandbox.calls("cancelled in call")[0]["outcome"] is not None)
    (call,) = working_fleet.sandbox.calls("cancelled in call")
    assert call["status"] is None


def test_a_queued_job_is_cancelled_at_once_and_never_called(fleet: Fleet) -> None:
    job = fleet.submit("cancelled in queue")
    assert fleet.queue.cancel(job.id).state is JobState.CANCELLED
    fleet.start_worker()
    fleet.finished(fleet.submit("after the cancelled one"))
    assert fleet.sandbox.calls("cancelled in queue") == []


def test_hints_that_the_broker_lost_are_sent_again(fleet: Fleet) -> None:
    jobs = [fleet.submit(f"lost hint {n}") for n in range(5)]
    assert fleet.redis.delete(f"{fleet.settings.key_prefix}interactive") == 1
    fleet.start_worker()
    assert {fleet.finished(job).state for job in jobs} == {JobState.SUCCEEDED}


def test_health_names_the_missing_worker(fleet: Fleet) -> None:
    assert not fleet.queue.health()["workers"].ok
    fleet.start_worker()
    assert {part: health.ok for part, health in fleet.queue.health().items()} == {
        "redis": True,
        "s3": True,
        "workers": True,
        "openai": True,
    }
    assert fleet.queue.probe_messages(10) in fleet.alive()


def test_looking_for_somebody_elses_job_finds_nothing(fleet: Fleet) -> None:
    job = fleet.submit("mine")
    with pytest.raises(ImageQueueError, match="No job"):
        fleet.queue.get(job.id, owner="somebody-else")
