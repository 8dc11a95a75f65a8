"""The circuit breaker: an account that OpenAI does not serve stops the fleet, not the jobs."""

from __future__ import annotations

from collections import Counter

from fleet_kit import Fleet

from imagequeue.jobs import AttemptOutcome, Job, JobState
from imagequeue.store.keys import Keys

BUSY, FAILED, SUCCEEDED = AttemptOutcome.BUSY, AttemptOutcome.FAILED, AttemptOutcome.SUCCEEDED
JOBS, SLOTS = 30, 10
CREDIT = "Add credit or raise the limit at https://platform.openai.com/settings/organization/billing."


def all_parked(fleet: Fleet, jobs: int) -> None:
    """Wait until so many interactive jobs wait for the limiter, and no call is in flight."""
    fleet.eventually(lambda: fleet.redis.zcard(Keys(fleet.settings.key_prefix).parked("interactive")) == jobs)


def probe_now(fleet: Fleet) -> None:
    """Let the minute until the next probe be over."""
    fleet.redis.hset(Keys(fleet.settings.key_prefix).limiter, "probe_at", 1)


def states(fleet: Fleet, jobs: list[Job]) -> Counter[JobState]:
    """How many jobs are in which state."""
    return Counter(fleet.queue.get(job.id).state for job in jobs)


def test_a_fleet_without_credit_keeps_its_jobs_and_serves_all_after_one_probe(fleet: Fleet) -> None:
    fleet.start_worker(IMAGEQUEUE_WORKER_SLOTS=str(SLOTS))
    with fleet.sandbox.account_blocked(429, "insufficient_quota"):
        jobs = [fleet.submit(f"no credit {number}") for number in range(JOBS)]
        all_parked(fleet, JOBS)
        refused = len(fleet.sandbox.calls_beginning("no credit"))
        assert 1 <= refused <= SLOTS, "only what was in flight before the first refusal"
        assert states(fleet, jobs) == {JobState.QUEUED: JOBS}
        health = fleet.queue.health()["openai"]
        waiting_for = fleet.queue.view(fleet.queue.get(jobs[-1].id)).waiting_for or ""
        assert not health.ok
        for text in (health.detail, waiting_for):
            assert "OpenAI answered 429 insufficient_quota" in text
            assert CREDIT in text
            assert "One job is tried at" in text

        probe_now(fleet)
        fleet.eventually(lambda: len(fleet.sandbox.calls_beginning("no credit")) > refused)
        all_parked(fleet, JOBS)
        assert len(fleet.sandbox.calls_beginning("no credit")) == refused + 1, (
            "a probe that is refused keeps the rest waiting"
        )
        assert states(fleet, jobs) == {JobState.QUEUED: JOBS}

    fleet.sandbox.set_latency(0.3)
    probe_now(fleet)
    ended = [fleet.finished(job) for job in jobs]
    assert {job.state for job in ended} == {JobState.SUCCEEDED}
    probe, *others = fleet.sandbox.calls_beginning("no credit")[refused + 1 :]
    assert (probe["status"], len(others)) == (200, JOBS - 1)
    assert min(call["received_ms"] for call in others) >= probe["settled_ms"], "one probe at a time"
    assert sum(job.possible_extra_cost_usd for job in ended) == 0
    assert {attempt.outcome for job in ended for attempt in job.attempts} == {BUSY, SUCCEEDED}
    assert fleet.queue.health()["openai"].ok


def test_a_probe_that_is_refused_for_its_own_prompt_shows_that_the_account_works(fleet: Fleet) -> None:
    fleet.start_worker()
    with fleet.sandbox.account_blocked(401, "invalid_api_key"):
        jobs = [fleet.submit("new key 0")]
        all_parked(fleet, 1)
        jobs += [fleet.submit(f"new key {number}") for number in range(1, 5)]
        all_parked(fleet, len(jobs))
        assert len(fleet.sandbox.calls_beginning("new key")) == 1
        assert "Set OPENAI_API_KEY" in fleet.queue.health()["openai"].detail
    fleet.sandbox.add_fault({"status": 400, "code": "moderation_blocked"}, prompt="new key 0")
    probe_now(fleet)
    first, *others = [fleet.finished(job) for job in jobs]
    assert (first.state, first.error and first.error.code) == (JobState.FAILED, "moderation_blocked")
    assert [attempt.outcome for attempt in first.attempts] == [BUSY, FAILED]
    assert {job.state for job in others} == {JobState.SUCCEEDED}
    assert fleet.queue.health()["openai"].ok
