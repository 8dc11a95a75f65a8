"""What always holds, whatever happens in whatever order; and that the fake and the real Redis agree on it."""

from __future__ import annotations

import json

import pytest
from random_walk import OWNERS, Walk
from store_kit import Bench, BenchMaker, without_times

from imagequeue.jobs import LANES, Attempt, AttemptOutcome, JobState
from imagequeue.store.job_codec import job_from_hash

STEPS = 400
SEEDS = (1, 2, 3, 4)
Hash = dict[str, str]

# The picture of the state machine. From queued to failed there is no way: what fails has been claimed.
EDGES = {
    JobState.QUEUED: {JobState.QUEUED, JobState.RUNNING, JobState.CANCELLED},
    # A sweep that takes a job back is one step, so that all ends of running are seen from here.
    JobState.RUNNING: set(JobState),
    JobState.SUCCEEDED: {JobState.SUCCEEDED},
    JobState.FAILED: {JobState.FAILED},
    JobState.CANCELLED: {JobState.CANCELLED},
}


@pytest.mark.parametrize("seed", SEEDS)
def test_the_invariants_hold_after_every_step(bench: Bench, seed: int) -> None:
    walk = Walk(bench, seed)
    hashes: dict[str, Hash] = {}
    for number in range(STEPS):
        walk.step()
        before, hashes = hashes, {job.id: bench.fields(job.id) for job in walk.jobs}
        try:
            check_sets(bench, hashes)
            for job_id, fields in hashes.items():
                check_record(bench, fields)
                if job_id in before:
                    check_transition(before[job_id], fields)
        except AssertionError as error:
            steps = "\n".join(walk.log[-12:])
            raise AssertionError(f"seed {seed}, step {number}; the last steps:\n{steps}\n{error}") from error
    ends = {fields["state"] for fields in hashes.values()}
    assert ends >= {"succeeded", "failed", "cancelled"}, "the walk reached every end"


def check_sets(bench: Bench, hashes: dict[str, Hash]) -> None:
    """Each set holds exactly the jobs whose record says so."""
    keys = bench.keys
    by_state = {state: {name for name, job in hashes.items() if job["state"] == state} for state in JobState}
    for lane in LANES:
        places = {name: job["place"] for name, job in hashes.items() if job["lane"] == lane and queued(job)}
        assert bench.members(keys.waiting(lane)) == {name: float(place) for name, place in places.items()}
    for owner in OWNERS:
        own = {name for name, job in hashes.items() if job["owner"] == owner}
        assert set(bench.members(keys.index(owner, None))) == own
        for state, names in by_state.items():
            assert set(bench.members(keys.index(owner, state))) == names & own, (owner, state)
    running = {name: job for name, job in hashes.items() if job["state"] == "running"}
    leases = {f"{name}:{job['attempt']}:{job['holder']}" for name, job in running.items()}
    assert set(bench.members(keys.leases)) == leases
    delayed = bench.members(keys.delayed)
    assert set(bench.members(keys.outbox)) | set(delayed) <= by_state[JobState.QUEUED]
    assert not set(bench.members(keys.outbox)) & set(delayed), "what waits for its time needs no message"
    assert all(score == float(hashes[name]["not_before"]) for name, score in delayed.items())


def queued(fields: Hash) -> bool:
    """Whether the record says that the job waits."""
    return fields["state"] == JobState.QUEUED


def check_record(bench: Bench, fields: Hash) -> None:
    """The record agrees with itself and with its events."""
    job = job_from_hash(fields)
    assert [attempt.number for attempt in job.attempts] == list(range(1, job.attempt + 1))
    open_attempts = [attempt for attempt in job.attempts if attempt.ended is None]
    assert open_attempts == ([job.attempts[-1]] if job.state is JobState.RUNNING else [])
    assert all((attempt.outcome is None) == (attempt.ended is None) for attempt in job.attempts)
    assert all(in_order(attempt) for attempt in job.attempts)
    unknowns = [attempt for attempt in job.attempts if attempt.outcome is AttemptOutcome.UNKNOWN]
    assert int(fields.get("unknowns", 0)) == len(unknowns)
    assert job.state.terminal == (job.finished_at is not None)
    assert (job.started_at is not None) == bool(job.attempts)
    assert job.not_before is None or job.state is JobState.QUEUED
    assert not (job.cancel_requested and job.state is JobState.QUEUED)
    assert "holder" in fields or job.state is not JobState.RUNNING
    states = [event for event in bench.events(job.id) if event != "cancel_requested"]
    assert states[-1] == job.state


def in_order(attempt: Attempt) -> bool:
    """Whether the attempt's times follow each other."""
    times = [time for time in (attempt.started, attempt.call_started, attempt.ended) if time is not None]
    return times == sorted(times)


def check_transition(before: Hash, after: Hash) -> None:
    """Ended jobs stay as they are; the others move along the picture's edges, and what is fixed stays fixed."""
    state = JobState(before["state"])
    if state.terminal:
        assert after == before
    assert JobState(after["state"]) in EDGES[state], f"{before['id']}: {state} to {after['state']}"
    for name in ("id", "created_at", "place", "owner", "lane", "request", "fingerprint", "estimate"):
        assert after[name] == before[name]
    assert int(after["attempt"]) - int(before["attempt"]) in (0, 1)
    for name, value in before.items():
        if name.startswith("attempt:") and json.loads(value).get("ended"):
            assert after[name] == value, "an attempt that ended never changes"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_fake_and_the_real_redis_give_equal_answers_and_equal_contents(open_bench: BenchMaker, seed: int) -> None:
    fake, real = Walk(bench := open_bench("fakeredis"), seed), Walk(real_bench := open_bench("redis"), seed)
    for number in range(STEPS):
        fake.step()
        real.step()
        assert fake.log[-1] == real.log[-1], f"seed {seed}, step {number}"
    assert without_times(bench.contents()) == without_times(real_bench.contents())
