"""Edit sessions: turns join in order, one runs at a time, and each hands its image to the next."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from store_kit import HOUR_MS, OWNER, RESULTS, SUCCEEDED, TOO_LATE, Bench, new_job
from turn_kit import (
    FIRST_TURN,
    MOST_TURNS,
    add_turn,
    painted,
    pending,
    start_session,
    states,
    succeed,
    turn_job,
    waiting,
)

from imagequeue.errors import SessionFull, SessionNotFound
from imagequeue.jobs import Claim, Job, JobState, Result
from imagequeue.sessions import NewSession, SessionState, SessionSubmit
from imagequeue.store.jobs import Ending


def test_a_session_starts_with_its_first_turn_in_the_queue(bench: Bench) -> None:
    session, (first,) = start_session(bench)
    assert (session.state, session.owner, session.output_format) == (SessionState.ACTIVE, OWNER, "png")
    assert (session.turn, session.submitted, session.image, session.turn_lock) == (0, 1, None, None)
    assert (first.type, first.session_id, first.turn, first.state) == ("turn", session.id, 1, JobState.QUEUED)
    assert waiting(bench) == [first.id]
    assert session.created_at == session.updated_at == first.created_at


def test_turns_are_numbered_in_the_order_of_submit_and_only_the_first_waits_in_the_queue(bench: Bench) -> None:
    session, jobs = start_session(bench, turns=3)
    assert [job.turn for job in jobs] == [1, 2, 3]
    assert bench.sessions.get(session.id).submitted == 3
    assert bench.sessions.turn_job_ids(session.id) == pending(bench, session.id) == [job.id for job in jobs]
    assert waiting(bench) == list(bench.members(bench.keys.outbox)) == [jobs[0].id]
    assert [bench.store.positions([job])[0] for job in jobs] == [1, None, None]
    assert states(bench, jobs) == [JobState.QUEUED] * 3
    assert [bench.indexed_as(job.id) for job in jobs] == [[JobState.QUEUED]] * 3


def test_numbers_are_not_given_twice(bench: Bench) -> None:
    session, (_, second) = start_session(bench, turns=2)
    bench.store.cancel(second)
    assert add_turn(bench, session.id).turn == 3


def test_a_turn_that_is_submitted_again_joins_once(bench: Bench) -> None:
    session, (first, second) = start_session(bench, turns=2)
    before = bench.contents()
    again = new_job(id=second.id, **turn_job(session.id))
    assert bench.store.submit(again, SessionSubmit("continue", HOUR_MS, 1)) == second, "full or not: it is there"
    start = new_job(id=first.id, **turn_job(session.id, request=FIRST_TURN))
    fields = NewSession(id=session.id, owner=OWNER, output_format="png").fields
    assert bench.store.submit(start, SessionSubmit("start", fields=fields)) == first
    assert bench.contents() == before


def test_turns_submitted_at_once_have_different_numbers_and_one_is_first(bench: Bench) -> None:
    session, (first,) = start_session(bench)
    together = threading.Barrier(4)

    def add(_number: int) -> Job:
        together.wait()
        return add_turn(bench, session.id)

    with ThreadPoolExecutor(4) as pool:
        jobs = sorted(pool.map(add, range(4)), key=lambda job: job.turn or 0)
    assert [job.turn for job in jobs] == [2, 3, 4, 5]
    assert pending(bench, session.id) == [first.id, *(job.id for job in jobs)]
    assert waiting(bench) == [first.id]


def test_a_claim_of_a_later_turn_is_refused_and_changes_nothing(bench: Bench) -> None:
    _, (first, second, third) = start_session(bench, turns=3)
    before = bench.contents()
    assert [bench.claim(job.id) for job in (third, second)] == [None, None]
    assert bench.contents() == before
    bench.claimed(first)
    before = bench.contents()
    assert [bench.claim(job.id) for job in (third, second)] == [None, None]
    assert bench.contents() == before


def test_a_claim_takes_the_turn_lock(bench: Bench) -> None:
    session, (first,) = start_session(bench)
    bench.claimed(first)
    assert bench.sessions.get(session.id).turn_lock == f"{first.id}:1"


def test_a_finish_hands_over_its_image_unlocks_and_lets_exactly_the_next_run(bench: Bench) -> None:
    session, (first, second, _) = start_session(bench, turns=3)
    other = bench.submit()
    claim = bench.claimed(first)
    result, image = painted(claim)
    assert bench.store.finish(claim, result, image) == Ending("finished", second.id)
    session = bench.sessions.get(session.id)
    assert (session.image, session.output_format, session.turn, session.turn_lock) == (image, "webp", 1, None)
    assert waiting(bench) == [second.id, other.id], "at the place that it got when it was submitted"
    assert second.id in bench.due().unsent
    assert bench.store.get(first.id).images == result.images
    assert bench.claimed(second).job.state is JobState.RUNNING


def test_turns_run_to_the_last_each_on_the_image_of_the_one_before(bench: Bench) -> None:
    session, jobs = start_session(bench, turns=3)
    edited: list[str | None] = []
    for job, next_job_id in zip(jobs, [jobs[1].id, jobs[2].id, None], strict=True):
        image = bench.sessions.get(session.id).image
        edited.append(image.job_id if image else None)
        assert succeed(bench, bench.claimed(job)) == Ending("finished", next_job_id)
    assert edited == [None, jobs[0].id, jobs[1].id]
    session = bench.sessions.get(session.id)
    assert (session.state, session.turn, session.turn_lock) == (SessionState.ACTIVE, 3, None)
    assert pending(bench, session.id) == waiting(bench) == []
    added = add_turn(bench, session.id)
    assert waiting(bench) == [added.id], "an empty session runs a new turn at once"


def test_sessions_do_not_wait_for_each_other(bench: Bench) -> None:
    one, (first, _) = start_session(bench, turns=2)
    other, (other_first, other_second) = start_session(bench, turns=2)
    bench.claimed(first)
    succeed(bench, bench.claimed(other_first))
    bench.claimed(other_second)
    locks = [bench.sessions.get(session.id).turn_lock for session in (one, other)]
    assert locks == [f"{first.id}:1", f"{other_second.id}:1"]


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: result.state)
def test_a_finish_repeated_by_its_holder_changes_nothing(bench: Bench, result: Result) -> None:
    _, (first, second, _) = start_session(bench, turns=3)
    succeed(bench, bench.claimed(first))
    claim = bench.claimed(second)
    image = painted(claim)[1] if result is SUCCEEDED else None
    assert bench.store.finish(claim, result, image).answer == "finished"
    before = bench.contents()
    assert bench.store.finish(claim, result, image) == Ending("finished")
    assert bench.contents() == before


def test_a_repeated_finish_does_not_take_the_session_back(bench: Bench) -> None:
    session, (first, second) = start_session(bench, turns=2)
    early = bench.claimed(first)
    succeed(bench, early)
    late = bench.claimed(second)
    succeed(bench, late)
    before = bench.contents()
    assert succeed(bench, early) == Ending("finished")
    assert bench.contents() == before
    assert bench.sessions.get(session.id).image == painted(late)[1]


def test_a_finish_of_an_older_attempt_changes_neither_job_nor_session_nor_queue(bench: Bench) -> None:
    session, (first, _) = start_session(bench, turns=2)
    stale = bench.claimed(first)
    bench.taken_back(stale)
    for claim_again in (False, True):
        if claim_again:
            bench.claimed(first)
        before = bench.contents()
        assert succeed(bench, stale) == TOO_LATE
        assert bench.released(stale) == "refused"
        assert bench.contents() == before
    assert bench.sessions.get(session.id).turn_lock == f"{first.id}:2"


def test_a_finish_by_another_holder_changes_nothing(bench: Bench) -> None:
    _, (first, _) = start_session(bench, turns=2)
    claim = bench.claimed(first)
    before = bench.contents()
    assert succeed(bench, Claim(job=claim.job, holder="holder-2")) == TOO_LATE
    assert bench.contents() == before


@pytest.mark.parametrize("lock", [None, "job_other:1"], ids=["free", "another's"])
def test_a_finish_without_the_turn_lock_changes_nothing(bench: Bench, lock: str | None) -> None:
    session, (first, _) = start_session(bench, turns=2)
    claim = bench.claimed(first)
    bench.raw.hdel(bench.keys.session(session.id), "turn_lock")
    if lock:
        bench.raw.hset(bench.keys.session(session.id), "turn_lock", lock)
    before = bench.contents()
    assert succeed(bench, claim) == TOO_LATE
    assert bench.contents() == before


def test_a_release_keeps_the_turn_first_and_frees_the_lock(bench: Bench) -> None:
    session, (first, second) = start_session(bench, turns=2)
    assert bench.released(bench.claimed(first), HOUR_MS) == "released"
    assert bench.sessions.get(session.id).turn_lock is None
    assert pending(bench, session.id) == [first.id, second.id]
    assert waiting(bench) == [first.id]
    assert bench.claim(second.id) is None
    bench.end_delay(first.id)
    assert bench.claimed(first, "holder-2").attempt == 2
    assert bench.sessions.get(session.id).turn_lock == f"{first.id}:2"


def test_a_turn_whose_worker_went_silent_runs_again_before_the_next(bench: Bench) -> None:
    session, (first, second) = start_session(bench, turns=2)
    assert bench.taken_back(bench.claimed(first)) == "queued"
    assert bench.sessions.get(session.id).turn_lock is None
    assert pending(bench, session.id) == [first.id, second.id]
    assert waiting(bench) == [first.id]
    assert bench.claim(second.id) is None
    assert succeed(bench, bench.claimed(first, "holder-2")) == Ending("finished", second.id)


def test_a_claim_repeated_by_its_holder_changes_nothing(bench: Bench) -> None:
    claim = bench.claimed(start_session(bench)[1][0])
    before = bench.contents()
    assert bench.claim(claim.job.id) == claim
    assert bench.contents() == before


def test_a_missing_session_takes_no_turn_and_nothing_is_stored(bench: Bench) -> None:
    with pytest.raises(SessionNotFound, match="ses_missing"):
        add_turn(bench, "ses_missing")
    with pytest.raises(SessionNotFound, match="ses_missing"):
        bench.sessions.get("ses_missing")
    assert bench.contents() == {}


def test_a_full_session_takes_no_turn_until_one_has_ended(bench: Bench) -> None:
    session, (first, *_) = start_session(bench, turns=MOST_TURNS)
    before = bench.contents()
    with pytest.raises(SessionFull, match=f"{MOST_TURNS} turns waiting") as caught:
        add_turn(bench, session.id)
    assert caught.value.retryable
    assert bench.contents() == before
    succeed(bench, bench.claimed(first))
    assert add_turn(bench, session.id).turn == MOST_TURNS + 1, "a refused turn takes no number"


def test_a_fork_starts_active_from_the_image_and_counts_from_one(bench: Bench) -> None:
    session, (first,) = start_session(bench)
    claim = bench.claimed(first)
    succeed(bench, claim)
    new = NewSession(owner=OWNER, output_format="webp", image=painted(claim)[1], forked_from=f"{session.id}/1")
    original = bench.sessions.get(session.id)
    fork = bench.sessions.fork(new)
    assert (fork.state, fork.image, fork.forked_from) == (SessionState.ACTIVE, painted(claim)[1], f"{session.id}/1")
    assert (fork.turn, fork.submitted, fork.output_format) == (0, 0, "webp")
    before = bench.contents()
    assert bench.sessions.fork(new) == fork, "a repetition changes nothing"
    assert bench.contents() == before
    added = add_turn(bench, fork.id)
    assert added.turn == 1
    assert waiting(bench) == [added.id]
    assert bench.sessions.get(session.id) == original


def test_sessions_are_listed_newest_first_page_by_page_and_for_one_owner(bench: Bench) -> None:
    ids = [f"ses_{number}" for number in range(5)]
    for session_id in ids:
        start_session(bench, id=session_id)
    start_session(bench, id="ses_9", owner="owner-2")
    assert bench.sessions.list_ids(OWNER, None, 10) == ids[::-1]
    assert bench.sessions.list_ids(OWNER, None, 2) == ["ses_4", "ses_3"]
    assert bench.sessions.list_ids(OWNER, "ses_3", 2) == ["ses_2", "ses_1"]
    assert bench.sessions.list_ids(OWNER, "ses_0", 2) == []
    assert bench.sessions.list_ids("owner-2", None, 10) == ["ses_9"]
