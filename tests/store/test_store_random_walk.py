"""What always holds, whatever happens in whatever order; and that the fake and the real Redis agree on it."""

from __future__ import annotations

import json

import pytest
from key_kit import Purse
from random_walk import KEYS, OWNERS, Walk
from store_kit import Bench, BenchMaker, without_times

from imagequeue.jobs import LANES, Attempt, AttemptOutcome, JobState
from imagequeue.store.attempts import job_id_of
from imagequeue.store.job_codec import job_from_hash
from imagequeue.store.limits import micro

STEPS = 400
SEEDS = (2, 3, 4, 5)
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
    events: dict[str, list[str]] = {}
    sessions_before: dict[str, Hash] = {}
    for number in range(STEPS):
        walk.step()
        before, told_before = hashes, events
        hashes, events = records(bench, [job.id for job in walk.jobs])
        try:
            sessions = {session_id: session_hash(bench, session_id) for session_id in walk.sessions}
            check_sets(bench, hashes)
            check_books(bench, hashes)
            for session_id, session in sessions.items():
                check_session(bench, session_id, session, hashes, forked_from=walk.sessions[session_id])
                check_session_transition(sessions_before.get(session_id, {}), session)
            sessions_before = sessions
            for job_id, fields in hashes.items():
                if (fields, events[job_id]) == (before.get(job_id), told_before.get(job_id)):
                    continue  # checked when it became so
                check_record(fields, events[job_id])
                if job_id in before:
                    check_transition(before[job_id], fields)
        except AssertionError as error:
            steps = "\n".join(walk.log[-12:])
            raise AssertionError(f"seed {seed}, step {number}; the last steps:\n{steps}\n{error}") from error
    ends = {fields["state"] for fields in hashes.values()}
    assert ends >= {"succeeded", "failed", "cancelled"}, "the walk reached every end"
    turns = {fields["state"] for fields in hashes.values() if fields["type"] == "turn"}
    assert turns >= {"succeeded", "failed", "cancelled"}, "with turns too"
    assert max(int(session.get("turn", 0)) for session in sessions_before.values()) > 1, "a session went on"


def records(bench: Bench, job_ids: list[str]) -> tuple[dict[str, Hash], dict[str, list[str]]]:
    """The hashes of jobs, and the names of their events, oldest first; asked for at once."""
    with bench.raw.pipeline(transaction=False) as pipeline:
        for job_id in job_ids:
            pipeline.hgetall(bench.keys.job(job_id))
            pipeline.xrange(bench.keys.events(job_id), "-", "+")
        answers = pipeline.execute()
    hashes = dict(zip(job_ids, answers[::2], strict=True))
    streams = zip(job_ids, answers[1::2], strict=True)
    return hashes, {job_id: [fields["event"] for _, fields in stream] for job_id, stream in streams}


def check_sets(bench: Bench, hashes: dict[str, Hash]) -> None:
    """Each set holds exactly the jobs whose record says so."""
    keys = bench.keys
    by_state = {state: {name for name, job in hashes.items() if job["state"] == state} for state in JobState}
    halted = {job_id_of(entry) for entry in bench.store.halted()}
    for lane in LANES:
        in_lane = {name: job for name, job in hashes.items() if job["lane"] == lane and queued(job)}
        places = {name: float(job["place"]) for name, job in in_lane.items() if may_run(bench, job)}
        waiting = bench.members(keys.waiting(lane))
        assert {name: place for name, place in waiting.items() if name not in halted} == places
        assert all(left_by_a_closed_session(bench, hashes[name]) for name in set(waiting) & halted)
    ended = {name: job for name, job in hashes.items() if JobState(job["state"]).terminal}
    to_tell = {name for name, job in ended.items() if "webhook" in job or job["owner"] == OWNERS[1]}
    assert set(bench.members(keys.webhook_announced)) == to_tell, "whoever wants to know of an end is to be told"
    for owner in OWNERS:
        own = {name for name, job in hashes.items() if job["owner"] == owner}
        assert set(bench.members(keys.index(owner, None))) == own
        for state, names in by_state.items():
            assert set(bench.members(keys.index(owner, state))) == names & own, (owner, state)
    assert {hashes[name]["state"] for name in halted} <= {"queued", "cancelled"}
    running = {name: job for name, job in hashes.items() if job["state"] == "running"}
    leases = {f"{name}:{job['attempt']}:{job['holder']}" for name, job in running.items()}
    assert set(bench.members(keys.leases)) == leases
    delayed = bench.members(keys.delayed)
    assert set(bench.members(keys.outbox)) | set(delayed) <= by_state[JobState.QUEUED]
    assert not set(bench.members(keys.outbox)) & set(delayed), "what waits for its time needs no message"
    assert all(score == float(hashes[name]["not_before"]) for name, score in delayed.items())


def check_books(bench: Bench, hashes: dict[str, Hash]) -> None:
    """Reserved is what each unfinished job of a key may cost, spent what its ended ones have cost."""
    for owner, key_id in KEYS.items():
        if key_id is None:
            assert not any("key_id" in job for job in hashes.values() if job["owner"] == owner)
            continue
        jobs = [job_from_hash(job) for job in hashes.values() if job.get("key_id") == key_id]
        reserved = {job.id: micro(job.estimate.high_usd) for job in jobs if not job.state.terminal}
        purse = Purse(bench, key_id)
        assert (purse.reserved, purse.reserved_in_all) == (reserved, sum(reserved.values()))
        costs = [(job.cost_usd_estimated or 0) + job.possible_extra_cost_usd for job in jobs if job.state.terminal]
        assert purse.spent == sum(map(micro, costs))


def queued(fields: Hash) -> bool:
    """Whether the record says that the job waits."""
    return fields["state"] == JobState.QUEUED


def may_run(bench: Bench, fields: Hash) -> bool:
    """Whether a queued job belongs in the queue: of a session's turns only the first does."""
    session_id = fields.get("session_id")
    return not session_id or list(bench.members(bench.keys.turns(session_id)))[:1] == [fields["id"]]


def left_by_a_closed_session(bench: Bench, fields: Hash) -> bool:
    """Whether a halted job was the next of a session that was closed: it leaves the queue when it is cancelled."""
    return session_hash(bench, fields["session_id"])["state"] == "ended"


def session_hash(bench: Bench, session_id: str) -> Hash:
    """The session's whole hash."""
    return bench.client.hgetall(bench.keys.session(session_id))


def check_session(bench: Bench, session_id: str, session: Hash, hashes: dict[str, Hash], *, forked_from: str) -> None:
    """The session agrees with its jobs."""
    jobs = {name: job for name, job in hashes.items() if job.get("session_id") == session_id}
    halted = {job_id_of(entry) for entry in bench.store.halted()}
    open_jobs = {name: job for name, job in jobs.items() if not JobState(job["state"]).terminal and name not in halted}
    turns = bench.members(bench.keys.turns(session_id))
    assert turns == {name: float(job["place"]) for name, job in open_jobs.items()}
    assert bench.members(bench.keys.history(session_id)) == {name: float(job["turn"]) for name, job in jobs.items()}
    by_place = sorted(jobs.values(), key=lambda job: int(job["place"]))
    assert [int(job["turn"]) for job in by_place] == list(range(1, int(session.get("submitted", 0)) + 1))
    running = [name for name, job in jobs.items() if job["state"] == "running"]
    assert running in ([], list(turns)[:1]), "only the first runs"
    locks = [f"{name}:{jobs[name]['attempt']}" for name in running]
    assert [session[name] for name in ("turn_lock",) if name in session] == locks
    good = [job for job in by_place if job["state"] == "succeeded"]
    image = json.loads(session["image"])["key"] if "image" in session else ""
    assert image == (f"{good[-1]['id']}/{good[-1]['attempt']}" if good else forked_from)
    assert session.get("turn", "0") == (good[-1]["turn"] if good else "0")
    if session["state"] != "active":
        assert len(turns) <= 1, "at most the turn that ran goes on"
    elif not image:
        assert turns, "a session that can never have an image is ended"


def check_session_transition(before: Hash, after: Hash) -> None:
    """A session that was closed stays so, and what is fixed stays fixed."""
    if before.get("state") in ("ended", "expired"):
        assert after["state"] == before["state"]
    for name in ("id", "owner", "created_at", "forked_from"):
        assert not before or after.get(name) == before.get(name)
    assert int(after.get("submitted", 0)) >= int(before.get("submitted", 0))
    assert int(after.get("turn", 0)) >= int(before.get("turn", 0))


def check_record(fields: Hash, events: list[str]) -> None:
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
    states = [event for event in events if event != "cancel_requested"]
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
    for name in ("session_id", "turn"):
        assert after.get(name) == before.get(name)
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
