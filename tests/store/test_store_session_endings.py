"""How turns end: a failure halts what waits behind it, a cancel does not."""

from __future__ import annotations

import pytest
from store_kit import FAILED, FINISHED, GIVEN_UP, HOUR_MS, OWNER, Bench
from turn_kit import add_turn, painted, pending, start_session, states, succeed, sweep_halted, waiting

from imagequeue.errors import JobFinished, SessionClosed
from imagequeue.jobs import Job, JobState, Result
from imagequeue.sessions import NewSession, SessionState
from imagequeue.store.jobs import CANCELLED, HALT_REASONS, Ending

S, F, C, Q, R = JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.QUEUED, JobState.RUNNING


def codes(bench: Bench, jobs: list[Job]) -> list[str | None]:
    """Why the jobs ended."""
    return [job.error.code if job.error else None for job in bench.store.get_many([job.id for job in jobs])]


def test_a_failed_turn_halts_those_behind_and_the_session_stays_at_its_last_good_image(bench: Bench) -> None:
    session, jobs = start_session(bench, turns=4)
    first = bench.claimed(jobs[0])
    succeed(bench, first)
    assert bench.store.finish(bench.claimed(jobs[1]), FAILED) == FINISHED
    assert states(bench, jobs) == [S, F, Q, Q]
    assert waiting(bench) == pending(bench, session.id) == []
    assert [bench.claim(job.id) for job in jobs[2:]] == [None, None], "they can not run any more"
    expected = [f"{job.id}:previous_turn_failed" for job in jobs[2:]]
    assert sorted(bench.store.halted()) == sorted(bench.due().halted) == sorted(expected)
    assert sweep_halted(bench) == ["previous_turn_failed"] * 2
    assert states(bench, jobs) == [S, F, C, C]
    assert codes(bench, jobs) == [None, "moderation_blocked", "previous_turn_failed", "previous_turn_failed"]
    assert bench.store.get(jobs[2].id).error == HALT_REASONS["previous_turn_failed"]
    assert bench.store.halted() == []
    session = bench.sessions.get(session.id)
    assert (session.state, session.image, session.turn) == (SessionState.ACTIVE, painted(first)[1], 1)
    added = add_turn(bench, session.id)
    assert added.turn == 5
    assert succeed(bench, bench.claimed(added)) == FINISHED


def test_a_turn_added_before_the_halted_ones_are_cancelled_runs(bench: Bench) -> None:
    session, jobs = start_session(bench, turns=3)
    succeed(bench, bench.claimed(jobs[0]))
    bench.store.finish(bench.claimed(jobs[1]), FAILED)
    added = add_turn(bench, session.id)
    claim = bench.claimed(added)
    sweep_halted(bench)
    assert states(bench, [*jobs, added]) == [S, F, C, R]
    assert bench.sessions.get(session.id).turn_lock == f"{added.id}:1"
    assert succeed(bench, claim) == FINISHED


def test_a_halted_turn_may_be_cancelled_twice_over(bench: Bench) -> None:
    _, jobs = start_session(bench, turns=2)
    bench.store.finish(bench.claimed(jobs[0]), FAILED)
    (halted,) = bench.store.halted()
    assert bench.store.cancel(jobs[1]) == Ending("cancelled")
    bench.store.cancel_halted(halted)
    assert bench.store.halted() == []
    before = bench.contents()
    bench.store.cancel_halted(halted)
    assert bench.contents() == before
    assert bench.store.get(jobs[1].id).error == CANCELLED, "the client was first"


def test_a_halted_turn_that_is_gone_is_forgotten(bench: Bench) -> None:
    _, jobs = start_session(bench, turns=2)
    bench.store.finish(bench.claimed(jobs[0]), FAILED)
    bench.raw.delete(bench.keys.job(jobs[1].id))
    sweep_halted(bench)
    assert bench.store.halted() == []


@pytest.mark.parametrize("result", [FAILED, GIVEN_UP], ids=lambda result: result.state)
def test_a_session_whose_first_turn_fails_or_is_cancelled_ends(bench: Bench, result: Result) -> None:
    session, jobs = start_session(bench, turns=2)
    assert bench.store.finish(bench.claimed(jobs[0]), result) == FINISHED
    session = bench.sessions.get(session.id)
    assert (session.state, session.end_reason, session.turn_lock) == (SessionState.ENDED, "first_turn_failed", None)
    assert sweep_halted(bench) == ["previous_turn_failed"]
    assert states(bench, jobs) == [result.state, C]
    with pytest.raises(SessionClosed):
        add_turn(bench, session.id)


def test_a_session_whose_first_turn_is_cancelled_while_it_waits_ends(bench: Bench) -> None:
    session, jobs = start_session(bench, turns=2)
    assert bench.store.cancel(jobs[0]) == Ending("cancelled")
    assert bench.sessions.get(session.id).state is SessionState.ENDED
    sweep_halted(bench)
    assert states(bench, jobs) == [C, C]
    assert waiting(bench) == pending(bench, session.id) == []


def test_a_first_turn_that_lost_its_workers_ends_the_session(bench: Bench) -> None:
    session, jobs = start_session(bench, turns=2)
    while bench.taken_back(bench.claimed(jobs[0])) == "queued":
        assert bench.sessions.get(session.id).state is SessionState.ACTIVE
    assert bench.sessions.get(session.id).state is SessionState.ENDED
    sweep_halted(bench)
    assert codes(bench, jobs) == ["worker_lost", "previous_turn_failed"]


def test_a_fork_whose_first_turn_fails_stays_active_at_its_image(bench: Bench) -> None:
    _, (first,) = start_session(bench)
    claim = bench.claimed(first)
    succeed(bench, claim)
    fork = bench.sessions.fork(NewSession(owner=OWNER, output_format="png", image=painted(claim)[1]))
    bench.store.finish(bench.claimed(add_turn(bench, fork.id)), FAILED)
    after = bench.sessions.get(fork.id)
    assert (after.state, after.image, after.turn) == (SessionState.ACTIVE, painted(claim)[1], 0)


def test_cancelling_a_turn_in_the_middle_removes_just_that_one(bench: Bench) -> None:
    session, jobs = start_session(bench, turns=3)
    claim = bench.claimed(jobs[0])
    assert bench.store.cancel(jobs[1]) == Ending("cancelled")
    assert bench.sessions.get(session.id).turn_lock == f"{jobs[0].id}:1", "the running turn keeps the lock"
    assert pending(bench, session.id) == [jobs[0].id, jobs[2].id]
    assert waiting(bench) == []
    assert succeed(bench, claim) == Ending("finished", jobs[2].id)
    assert states(bench, jobs) == [S, C, Q]
    assert bench.store.halted() == []


@pytest.mark.parametrize("delay_ms", [None, HOUR_MS], ids=["never claimed", "waiting for its retry"])
def test_cancelling_the_turn_that_is_next_lets_the_one_behind_run(bench: Bench, delay_ms: int | None) -> None:
    session, jobs = start_session(bench, turns=3)
    succeed(bench, bench.claimed(jobs[0]))
    if delay_ms:
        bench.released(bench.claimed(jobs[1]), delay_ms)
    assert bench.store.cancel(jobs[1]) == Ending("cancelled", jobs[2].id)
    assert pending(bench, session.id) == waiting(bench) == [jobs[2].id]
    assert list(bench.members(bench.keys.outbox)) == [jobs[2].id]
    before = bench.contents()
    assert bench.store.cancel(jobs[1]) == Ending("cancelled"), "a repetition promotes nothing"
    assert bench.contents() == before
    bench.claimed(jobs[2])


def test_after_a_running_turn_gave_way_to_a_cancel_the_next_edits_the_same_image(bench: Bench) -> None:
    session, jobs = start_session(bench, turns=3)
    first = bench.claimed(jobs[0])
    succeed(bench, first)
    claim = bench.claimed(jobs[1])
    assert bench.store.cancel(jobs[1]) == Ending("requested")
    assert bench.sessions.get(session.id).turn_lock == f"{jobs[1].id}:1"
    assert bench.store.finish(claim, GIVEN_UP) == Ending("finished", jobs[2].id)
    session = bench.sessions.get(session.id)
    assert (session.turn_lock, session.image, session.turn) == (None, painted(first)[1], 1)
    assert states(bench, jobs) == [S, C, Q]
    assert waiting(bench) == [jobs[2].id]


def test_a_turn_lost_after_its_cancel_lets_the_next_run(bench: Bench) -> None:
    session, jobs = start_session(bench, turns=3)
    succeed(bench, bench.claimed(jobs[0]))
    claim = bench.claimed(jobs[1])
    bench.store.cancel(jobs[1])
    assert bench.taken_back(claim) == "cancelled"
    assert bench.sessions.get(session.id).turn_lock is None
    assert waiting(bench) == list(bench.members(bench.keys.outbox)) == [jobs[2].id]


def test_a_turn_of_unknown_outcome_halts_those_behind(bench: Bench) -> None:
    session, (first,) = start_session(bench)
    succeed(bench, bench.claimed(first))
    unknown, behind = add_turn(bench, session.id, on_unknown_outcome="fail"), add_turn(bench, session.id)
    claim = bench.claimed(unknown)
    bench.store.start_call(claim, "direct")
    assert bench.taken_back(claim) == "failed"
    sweep_halted(bench)
    assert codes(bench, [unknown, behind]) == ["outcome_unknown", "previous_turn_failed"]
    assert bench.sessions.get(session.id).state is SessionState.ACTIVE


def test_a_turn_that_has_ended_can_not_be_cancelled(bench: Bench) -> None:
    _, jobs = start_session(bench, turns=2)
    succeed(bench, bench.claimed(jobs[0]))
    before = bench.contents()
    with pytest.raises(JobFinished):
        bench.store.cancel(jobs[0])
    assert bench.contents() == before
