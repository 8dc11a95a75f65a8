"""How sessions end: by their owner's wish, or because nobody used them."""

from __future__ import annotations

import pytest
from store_kit import FAILED, FINISHED, HOUR_MS, LONG_AGO_MS, NOTHING_DUE, Bench
from turn_kit import add_turn, be_idle, painted, pending, start_session, states, succeed, sweep_halted, waiting

from imagequeue.errors import SessionClosed, SessionNotFound
from imagequeue.jobs import Job, JobState
from imagequeue.sessions import SessionState

S, F, C, Q, R = JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.QUEUED, JobState.RUNNING


def codes(bench: Bench, jobs: list[Job]) -> list[str | None]:
    """Why the jobs ended."""
    return [job.error.code if job.error else None for job in bench.store.get_many([job.id for job in jobs])]


@pytest.mark.parametrize("state", ["ended", "expired"])
def test_a_closed_session_takes_no_turn(bench: Bench, state: str) -> None:
    session, (first,) = start_session(bench)
    succeed(bench, bench.claimed(first))
    if state == "ended":
        bench.sessions.end(session)
    else:
        be_idle(bench, session.id)
        bench.sessions.expire(session.id, HOUR_MS)
    before = bench.contents()
    with pytest.raises(SessionClosed) as caught:
        add_turn(bench, session.id)
    assert caught.value.code == f"session_{state}"
    assert bench.contents() == before


def test_ending_a_session_lets_the_running_turn_finish_and_halts_the_others(bench: Bench) -> None:
    session, jobs = start_session(bench, turns=3)
    claim = bench.claimed(jobs[0])
    ended = bench.sessions.end(session)
    assert (ended.state, ended.turn_lock) == (SessionState.ENDED, f"{jobs[0].id}:1")
    assert pending(bench, session.id) == [jobs[0].id]
    assert sweep_halted(bench) == ["session_ended"] * 2
    assert codes(bench, jobs) == [None, "session_ended", "session_ended"]
    assert succeed(bench, claim) == FINISHED
    after = bench.sessions.get(session.id)
    assert (after.state, after.image, after.turn) == (SessionState.ENDED, painted(claim)[1], 1)
    assert states(bench, jobs) == [S, C, C]


def test_a_running_turn_of_an_ended_session_survives_its_worker(bench: Bench) -> None:
    session, jobs = start_session(bench, turns=2)
    claim = bench.claimed(jobs[0])
    bench.sessions.end(session)
    assert bench.taken_back(claim) == "queued"
    assert succeed(bench, bench.claimed(jobs[0], "holder-2")) == FINISHED


def test_a_running_turn_that_fails_in_an_ended_session_leaves_it_as_it_was_ended(bench: Bench) -> None:
    session, (first,) = start_session(bench)
    claim = bench.claimed(first)
    bench.sessions.end(session)
    bench.store.finish(claim, FAILED)
    after = bench.sessions.get(session.id)
    assert (after.state, after.end_reason, after.turn_lock) == (SessionState.ENDED, None, None)


@pytest.mark.parametrize("delay_ms", [None, HOUR_MS], ids=["never claimed", "waiting for its retry"])
def test_ending_a_session_halts_the_turn_that_is_next_too(bench: Bench, delay_ms: int | None) -> None:
    session, jobs = start_session(bench, turns=2)
    if delay_ms:
        bench.released(bench.claimed(jobs[0]), delay_ms)
    bench.sessions.end(session)
    assert [bench.claim(job.id) for job in jobs] == [None, None]
    assert sweep_halted(bench) == ["session_ended"] * 2
    assert states(bench, jobs) == [C, C]
    assert waiting(bench) == []
    assert bench.due() == NOTHING_DUE


def test_ending_a_session_twice_changes_nothing(bench: Bench) -> None:
    session, _ = start_session(bench, turns=2)
    ended = bench.sessions.end(session)
    before = bench.contents()
    assert bench.sessions.end(session) == ended
    assert bench.contents() == before


def test_a_missing_session_cannot_be_ended(bench: Bench) -> None:
    session, _ = start_session(bench)
    bench.raw.delete(bench.keys.session(session.id))
    with pytest.raises(SessionNotFound):
        bench.sessions.end(session)


def test_a_session_expires_when_it_was_idle_and_nothing_waits(bench: Bench) -> None:
    session, (first,) = start_session(bench)
    succeed(bench, bench.claimed(first))
    assert bench.due().idle_sessions == ()
    be_idle(bench, session.id)
    assert bench.due().idle_sessions == (session.id,)
    bench.sessions.expire(session.id, HOUR_MS)
    assert bench.sessions.get(session.id).state is SessionState.EXPIRED
    assert bench.due().idle_sessions == ()
    before = bench.contents()
    bench.sessions.expire(session.id, HOUR_MS)
    assert bench.contents() == before


@pytest.mark.parametrize("claimed", [False, True], ids=["waits", "runs"])
def test_a_session_with_a_turn_that_waits_or_runs_does_not_expire(bench: Bench, claimed: bool) -> None:
    session, (first,) = start_session(bench)
    if claimed:
        bench.claimed(first)
    be_idle(bench, session.id)
    bench.sessions.expire(session.id, HOUR_MS)
    assert bench.sessions.get(session.id).state is SessionState.ACTIVE
    assert bench.due().idle_sessions == (), "it is looked at again later"
    assert session.id in bench.members(bench.keys.sessions_idle)
    be_idle(bench, session.id)
    assert add_turn(bench, session.id).turn == 2


def test_a_session_used_lately_does_not_expire_and_is_looked_at_when_it_could(bench: Bench) -> None:
    session, (first,) = start_session(bench)
    succeed(bench, bench.claimed(first))
    bench.raw.zadd(bench.keys.sessions_idle, {session.id: LONG_AGO_MS})
    bench.sessions.expire(session.id, HOUR_MS)
    after = bench.sessions.get(session.id)
    assert after.state is SessionState.ACTIVE
    assert bench.members(bench.keys.sessions_idle) == {session.id: after.updated_at}


def test_an_idle_session_refuses_a_turn_before_the_sweep_finds_it(bench: Bench) -> None:
    session, (first,) = start_session(bench)
    succeed(bench, bench.claimed(first))
    be_idle(bench, session.id)
    with pytest.raises(SessionClosed) as caught:
        add_turn(bench, session.id)
    assert caught.value.code == "session_expired"
    assert bench.sessions.get(session.id).state is SessionState.EXPIRED
    bench.sessions.expire(session.id, HOUR_MS)
    assert bench.due().idle_sessions == ()


def test_an_idle_session_that_is_gone_is_forgotten(bench: Bench) -> None:
    session, _ = start_session(bench)
    bench.raw.delete(bench.keys.session(session.id))
    bench.raw.zadd(bench.keys.sessions_idle, {session.id: LONG_AGO_MS})
    bench.sessions.expire(session.id, HOUR_MS)
    assert bench.due().idle_sessions == ()
