"""Cancelling: what is in flight is cut off at once and may be billed, what waits costs nothing."""

from __future__ import annotations

import time

import pytest
from fleet_kit import Fleet

from imagequeue.jobs import AttemptOutcome, JobState
from imagequeue.store.keys import Keys

CUT_OFF_MS = 1000
"""So soon after a cancel the call's connection is closed."""


def test_a_running_jobs_call_is_cut_off_within_a_second_and_may_be_billed(working_fleet: Fleet) -> None:
    working_fleet.sandbox.add_fault({"delay": 600}, prompt="cut off")
    job = working_fleet.submit("cut off")
    working_fleet.in_call("cut off")
    asked_ms = time.time() * 1000
    assert working_fleet.queue.cancel(job.id).cancel_requested
    job = working_fleet.finished(job)
    working_fleet.eventually(lambda: working_fleet.sandbox.calls("cut off")[0]["outcome"] is not None)
    (call,) = working_fleet.sandbox.calls("cut off")
    print(f"\nconnection closed {call['settled_ms'] - asked_ms:.0f} ms after the cancel")
    assert (call["outcome"], call["status"]) == ("client_gone", None)
    assert call["settled_ms"] - asked_ms <= CUT_OFF_MS
    assert job.state is JobState.CANCELLED
    assert job.error
    assert "OpenAI may bill the call all the same" in job.error.message
    assert [attempt.outcome for attempt in job.attempts] == [AttemptOutcome.CANCELLED]
    assert job.possible_extra_cost_usd == pytest.approx(job.estimate.expected_usd)
    assert job.possible_extra_cost_usd > 0


def test_cancelled_jobs_that_waited_for_a_worker_or_for_the_limiter_cost_nothing(fleet: Fleet) -> None:
    queued = fleet.submit("cancelled while queued")
    assert fleet.queue.cancel(queued.id).state is JobState.CANCELLED
    fleet.start_worker(IMAGEQUEUE_IMAGES_PER_MINUTE="1")
    assert fleet.finished(fleet.submit("the minute's only one")).state is JobState.SUCCEEDED
    parked = fleet.submit("cancelled while parked")
    where = Keys(fleet.settings.key_prefix).parked("interactive")
    fleet.eventually(lambda: fleet.redis.zcard(where) == 1)
    assert fleet.queue.cancel(parked.id).state is JobState.CANCELLED
    assert fleet.redis.zcard(where) == 0
    for job in (queued, parked):
        job = fleet.queue.get(job.id)
        assert (job.possible_extra_cost_usd, job.attempts) == (0, ())
        assert fleet.sandbox.calls(job.request.prompt) == []
