"""Limits of API keys and idempotency keys: checked in the step that stores the job; what is refused leaves no trace."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress

import pytest
from key_kit import HIGH, Purse, make_purse, once
from store_kit import HOUR_MS, Bench, new_job
from turn_kit import MOST_TURNS, add_turn, start_session, turn_job

from imagequeue.errors import (
    BudgetExceeded,
    IdempotencyKeyReused,
    ImageQueueError,
    LimitReached,
    Quota,
    SessionClosed,
    SessionFull,
    SessionNotFound,
)
from imagequeue.jobs import Job, NewJob
from imagequeue.sessions import SessionSubmit
from imagequeue.store.jobs import IDEMPOTENCY_MS
from imagequeue.store.limits import MICRO

Refused = tuple[NewJob, SessionSubmit | None]
IN_THE_FUTURE_MS = 10**13
CONTINUE = SessionSubmit("continue", HOUR_MS, MOST_TURNS)


def _too_many(purse: Purse) -> Refused:
    purse.limit(jobs_in_flight=1)
    purse.submit()
    return purse.new(), None


def _too_fast(purse: Purse) -> Refused:
    purse.limit(jobs_per_minute=1)
    purse.submit()
    return purse.new(), None


def _over_the_daily_budget(purse: Purse) -> Refused:
    purse.limit(daily_budget_usd=HIGH / MICRO - 0.000001, jobs_per_minute=5)
    return purse.new(), None


def _over_the_monthly_budget(purse: Purse) -> Refused:
    purse.limit(monthly_budget_usd=HIGH / MICRO - 0.000001, jobs_per_minute=5)
    return purse.new(), None


def _with_a_used_idempotency_key(purse: Purse) -> Refused:
    purse.submit(idempotency=once("b"))
    return purse.new(idempotency=once("b", "other")), None


def _turn(purse: Purse, session_id: str) -> Refused:
    return new_job(**turn_job(session_id, key_id=purse.key_id)), CONTINUE


def _in_no_session(purse: Purse) -> Refused:
    return _turn(purse, "ses_none")


def _in_an_ended_session(purse: Purse) -> Refused:
    session, _ = start_session(purse.bench)
    purse.bench.sessions.end(session)
    return _turn(purse, session.id)


def _in_a_full_session(purse: Purse) -> Refused:
    session, _ = start_session(purse.bench, turns=MOST_TURNS)
    return _turn(purse, session.id)


def _over_a_limit_in_a_session(purse: Purse) -> Refused:
    session, _ = start_session(purse.bench)
    purse.limit(jobs_in_flight=1)
    add_turn(purse.bench, session.id, key_id=purse.key_id)
    return _turn(purse, session.id)


REFUSALS: dict[str, tuple[Callable[[Purse], Refused], type[ImageQueueError], str]] = {
    "too many": (_too_many, LimitReached, "too_many_jobs_in_flight"),
    "too fast": (_too_fast, LimitReached, "too_many_jobs_per_minute"),
    "over the daily budget": (_over_the_daily_budget, BudgetExceeded, "budget_exceeded"),
    "over the monthly budget": (_over_the_monthly_budget, BudgetExceeded, "budget_exceeded"),
    "a used idempotency key": (_with_a_used_idempotency_key, IdempotencyKeyReused, "idempotency_key_reused"),
    "no session": (_in_no_session, SessionNotFound, "session_not_found"),
    "an ended session": (_in_an_ended_session, SessionClosed, "session_ended"),
    "a full session": (_in_a_full_session, SessionFull, "session_full"),
    "over a limit in a session": (_over_a_limit_in_a_session, LimitReached, "too_many_jobs_in_flight"),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_is_refused_leaves_no_trace(bench: Bench, refusal: str) -> None:
    lead_up, error, code = REFUSALS[refusal]
    new, joins = lead_up(make_purse(bench))
    if new.idempotency is None:
        new = new.model_copy(update={"idempotency": once()})
    before = bench.contents()
    with pytest.raises(error) as refused:
        bench.store.submit(new, joins)
    assert refused.value.code == code
    assert bench.contents() == before


@pytest.mark.parametrize("per_minute", [1, 7])
def test_a_rested_key_may_send_a_minutes_jobs_at_once_and_is_told_what_is_left(bench: Bench, per_minute: int) -> None:
    purse = make_purse(bench, jobs_per_minute=per_minute)
    assert [stored(purse).remaining for _ in range(per_minute)] == list(reversed(range(per_minute)))
    with pytest.raises(LimitReached, match=f"{per_minute} jobs a minute") as refused:
        stored(purse)
    wait = math.ceil(60 / per_minute)
    assert (refused.value.retry_after_seconds, refused.value.quota) == (wait, Quota(per_minute, 0, wait))


def test_after_that_jobs_follow_each_other_evenly(bench: Bench) -> None:
    purse = make_purse(bench, jobs_per_minute=6)  # one in ten seconds
    sent = 0
    for _ in range(30):  # two minutes and a half, five seconds at a time
        while True:
            try:
                purse.submit()
            except LimitReached:
                break
            sent += 1
        pass_ms(purse, 5_000)
    assert sent == 6 + 14


def test_a_quota_tells_when_there_is_one_more(bench: Bench) -> None:
    purse = make_purse(bench, jobs_per_minute=6)
    assert [stored(purse) for _ in range(2)] == [Quota(6, 5, 10), Quota(6, 4, 10)]
    assert stored(purse, rested=0.7) == Quota(6, 3, 3)
    assert stored(purse, rested=60) == Quota(6, 5, 10)
    assert bench.store.store(new_job()).quota is None
    purse.limit(jobs_in_flight=100)
    assert bench.store.store(purse.new()).quota is None


def test_jobs_in_flight_are_those_that_have_not_ended(bench: Bench) -> None:
    purse = make_purse(bench, jobs_in_flight=2)
    first, second = purse.submit(), purse.submit()
    bench.claimed(first)
    with pytest.raises(LimitReached, match="2 jobs that have not ended, and may have 2") as refused:
        purse.submit()
    assert (refused.value.retry_after_seconds, refused.value.quota) == (None, None)
    bench.store.cancel(second)
    third = purse.submit()
    purse.limit(jobs_in_flight=3)
    purse.submit()
    purse.limit(jobs_in_flight=1)
    bench.store.cancel(third)
    with pytest.raises(LimitReached, match="2 jobs that have not ended, and may have 1"):
        purse.submit()
    assert bench.api_keys.spending(purse.key_id).jobs_in_flight == 2


def test_limits_are_each_keys_own(bench: Bench) -> None:
    tight, other = (make_purse(bench, jobs_in_flight=1, jobs_per_minute=1) for _ in range(2))
    tight.submit()
    other.submit()
    bench.submit()
    with pytest.raises(LimitReached):
        tight.submit()


def test_the_same_request_with_the_same_key_is_one_job_and_counts_once(bench: Bench) -> None:
    purse = make_purse(bench, jobs_in_flight=1, jobs_per_minute=1, daily_budget_usd=HIGH / MICRO)
    job = purse.submit(idempotency=once())
    before = bench.contents()
    assert [purse.submit(idempotency=once()).id for _ in range(3)] == [job.id] * 3
    assert bench.store.idempotent(job.owner, once()) == job.id
    assert bench.contents() == before
    with pytest.raises(IdempotencyKeyReused, match="another request within the last 24 hours"):
        bench.store.idempotent(job.owner, once(request="other"))


def test_a_job_that_has_ended_is_given_again_too(bench: Bench) -> None:
    job = bench.submit(idempotency=once())
    bench.store.cancel(job)
    assert bench.submit(idempotency=once()).state == "cancelled"


def test_idempotency_keys_of_others_do_not_collide_and_each_is_kept_for_a_day(bench: Bench) -> None:
    ids = {bench.submit(idempotency=once(name), owner=owner).id for name in "ab" for owner in ("owner-1", "owner-2")}
    assert len(ids) == 4
    key = bench.keys.idempotency("owner-1", once("a").key)
    assert IDEMPOTENCY_MS - 60_000 < bench.raw.pttl(key) <= IDEMPOTENCY_MS == 24 * HOUR_MS
    bench.raw.delete(key)  # as its time to live does
    assert bench.store.idempotent("owner-1", once("a")) is None
    assert bench.submit(idempotency=once("a", "other")).id not in ids


def test_a_lost_answer_repeated_is_the_same_job(bench: Bench) -> None:
    purse = make_purse(bench, jobs_in_flight=1, jobs_per_minute=1)
    new = purse.new(idempotency=once())
    jobs: list[Job] = []
    for _ in range(3):
        with suppress(LimitReached):
            jobs.append(bench.store.submit(new))
    assert {job.id for job in jobs} == {new.id}
    assert len(jobs) == 3
    assert purse.reserved == {new.id: HIGH}


def stored(purse: Purse, rested: float = 0) -> Quota:
    """What is left after one more job, when it comes after so many times the key's pace, and not a moment later."""
    raw, key = purse.bench.raw, purse.bench.keys.for_key(purse.key_id)["pace"]
    if raw.exists(key):
        raw.set(key, f"{max(0, float(raw.get(key).split()[0]) - rested)} {IN_THE_FUTURE_MS}")
    quota = purse.bench.store.store(purse.new()).quota
    assert quota
    return quota


def pass_ms(purse: Purse, milliseconds: int) -> None:
    """Let time pass for the key's pace."""
    raw, key = purse.bench.raw, purse.bench.keys.for_key(purse.key_id)["pace"]
    used, at = raw.get(key).split()
    raw.set(key, f"{used} {int(at) - milliseconds}")
