"""Answers that lie on a worker's disk: nobody calls again for them until they have been waited for long enough."""

from __future__ import annotations

from store_kit import FINISHED, HOUR_MS, LONG_AGO_MS, SUCCEEDED, TOO_LATE, Bench
from turn_kit import painted, start_session

from imagequeue.jobs import AttemptOutcome, Claim, Job, JobState
from imagequeue.store.attempts import AttemptStore, RetryLimits, lease_of
from imagequeue.store.jobs import OUTCOME_UNKNOWN, WORKER_LOST

SPOOL_MS = RetryLimits().spool_ms
LEASE_MS = 15_000


def called(bench: Bench, job: Job | None = None, holder: str = "worker-1/a") -> Claim:
    """A claim whose call was sent."""
    claim = bench.claimed(job, holder)
    assert bench.store.start_call(claim, "direct") == "started"
    return claim


def answered(bench: Bench, job: Job | None = None, holder: str = "worker-1/a") -> Claim:
    """A claim whose whole answer is on the worker's disk."""
    claim = called(bench, job, holder)
    assert bench.store.answered(claim) == "noted"
    return claim


def left(bench: Bench, job: Job | None = None) -> Claim:
    """A claim that its worker left to who works on its disk next."""
    claim = answered(bench, job)
    assert bench.store.leave_spooled(claim) == "left"
    return claim


def adopt(bench: Bench, claim: Claim, holder: str = "worker-2/b") -> str:
    """Take the claim's job over for the worker that found its answer."""
    return bench.store.adopt(claim.job, claim.attempt, holder.partition("/")[0], holder, LEASE_MS)


def milliseconds_held(bench: Bench, claim: Claim) -> float:
    """How much longer nobody takes the job away."""
    seconds, microseconds = bench.client.time()
    return bench.members(bench.keys.leases)[lease_of(claim)] - seconds * 1000 - microseconds / 1000


def test_an_answer_on_disk_is_noted_by_the_holder_alone(bench: Bench) -> None:
    stale = called(bench)
    bench.taken_back(stale)
    current = called(bench, stale.job, "worker-2/b")
    assert bench.store.answered(stale) == "refused"
    assert bench.store.answered(current) == bench.store.answered(current) == "noted"
    first, second = bench.store.get(stale.job.id).attempts
    assert first.answered is None
    assert (second.call_started or 0) <= (second.answered or 0)


def test_a_left_answer_keeps_its_job_running_for_as_long_as_it_is_waited_for(bench: Bench) -> None:
    claim = left(bench)
    assert bench.store.leave_spooled(claim) == "left"
    assert SPOOL_MS - 10_000 < milliseconds_held(bench, claim) <= SPOOL_MS
    assert bench.due().lapsed == ()
    assert bench.store.get(claim.job.id).state is JobState.RUNNING
    assert bench.indexed_as(claim.job.id) == [JobState.RUNNING]


def test_a_last_heartbeat_of_the_one_who_left_does_not_shorten_the_wait(bench: Bench) -> None:
    claim = left(bench)
    assert bench.store.renew("worker-1", [lease_of(claim)], LEASE_MS) == []
    assert milliseconds_held(bench, claim) > SPOOL_MS - 10_000


def test_only_the_holder_can_leave_an_answer(bench: Bench) -> None:
    stale = called(bench)
    bench.taken_back(stale)
    current = called(bench, stale.job, "worker-2/b")
    before = bench.contents()
    assert bench.store.leave_spooled(stale) == "refused"
    assert bench.contents() == before
    assert bench.store.finish(current, SUCCEEDED) == FINISHED
    assert bench.store.leave_spooled(current) == "refused"


def test_an_answer_that_somebody_works_on_is_not_adopted(bench: Bench) -> None:
    claim = answered(bench)
    before = bench.contents()
    assert adopt(bench, claim) == "held"
    assert bench.contents() == before


def test_an_adopted_answer_ends_the_same_attempt_and_the_former_holder_comes_too_late(bench: Bench) -> None:
    claim = left(bench)
    assert adopt(bench, claim) == "adopted"
    adopted = Claim(job=claim.job, holder="worker-2/b")
    assert list(bench.members(bench.keys.leases)) == [lease_of(adopted)]
    assert 0 < milliseconds_held(bench, adopted) <= LEASE_MS
    assert bench.store.finish(claim, SUCCEEDED) == TOO_LATE
    assert bench.store.leave_spooled(claim) == "refused"
    assert bench.store.finish(adopted, SUCCEEDED) == FINISHED
    job = bench.store.get(claim.job.id)
    (attempt,) = job.attempts
    assert (job.state, attempt.number, attempt.worker) == (JobState.SUCCEEDED, 1, "worker-2")
    assert job.possible_extra_cost_usd == 0
    assert bench.members(bench.keys.leases) == {}
    assert bench.events(job.id) == ["queued", "running", "adopted", "succeeded"]


def test_an_answer_is_adopted_by_one_and_that_one_may_repeat_it(bench: Bench) -> None:
    claim = left(bench)
    assert adopt(bench, claim) == "adopted"
    before = bench.contents()
    assert adopt(bench, claim) == "adopted"
    assert adopt(bench, claim, "worker-3/c") == "held"
    assert bench.contents() == before


def test_an_adopted_answer_can_be_left_again(bench: Bench) -> None:
    claim = left(bench)
    adopt(bench, claim)
    assert bench.store.leave_spooled(Claim(job=claim.job, holder="worker-2/b")) == "left"
    assert adopt(bench, claim, "worker-3/c") == "adopted"


def test_an_answer_that_came_too_late_is_not_adopted(bench: Bench) -> None:
    ended = answered(bench)
    bench.store.finish(ended, SUCCEEDED)
    assert adopt(bench, ended) == "over"
    taken_back = called(bench)
    bench.taken_back(taken_back)
    assert adopt(bench, taken_back) == "over", "it is queued for another call"
    called(bench, taken_back.job, "worker-2/b")
    assert adopt(bench, taken_back) == "over", "it is being called again"


def test_the_answer_of_a_silent_worker_is_waited_for_before_anything_is_called_again(bench: Bench) -> None:
    claim = answered(bench)
    assert bench.taken_back(claim) == "spooled"
    assert SPOOL_MS - 10_000 < milliseconds_held(bench, claim) <= SPOOL_MS
    job = bench.store.get(claim.job.id)
    assert (job.state, job.attempts[0].outcome) == (JobState.RUNNING, None)
    assert adopt(bench, claim) == "adopted"


def test_a_silent_worker_that_was_only_slow_still_finishes_its_answered_job(bench: Bench) -> None:
    claim = answered(bench)
    bench.taken_back(claim)
    assert bench.store.renew("worker-1", [lease_of(claim)], LEASE_MS) == []
    assert bench.store.finish(claim, SUCCEEDED) == FINISHED


def test_an_answer_that_nobody_came_back_for_is_an_unknown_outcome_and_called_once_more(bench: Bench) -> None:
    claim = answered(bench)
    bench.taken_back(claim)
    assert bench.taken_back(claim) == "queued"
    job = bench.store.get(claim.job.id)
    (attempt,) = job.attempts
    assert (attempt.outcome, attempt.error) == (
        AttemptOutcome.UNKNOWN,
        "the answer was on a disk that no worker came back to",
    )
    assert job.possible_extra_cost_usd == job.estimate.expected_usd
    assert bench.fields(job.id)["losses"] == "1", "one worker was lost, not two"
    assert adopt(bench, claim) == "over"
    again = answered(bench, job, "worker-2/b")
    assert bench.taken_back(again) == "spooled", "the next answer is waited for as well"


def test_with_the_policy_fail_an_answer_that_nobody_came_back_for_ends_the_job(bench: Bench) -> None:
    claim = left(bench, bench.submit(on_unknown_outcome="fail"))
    assert bench.taken_back(claim) == "failed"
    assert bench.store.get(claim.job.id).error == OUTCOME_UNKNOWN


def test_a_job_whose_cancel_was_asked_for_ends_cancelled_when_nobody_comes_back(bench: Bench) -> None:
    claim = left(bench)
    bench.store.cancel(claim.job)
    assert bench.taken_back(claim) == "cancelled"


def test_an_answer_that_kills_every_worker_that_stores_it_is_given_up(bench: Bench) -> None:
    store = AttemptStore(bench.client, bench.keys, RetryLimits(losses=2, unknowns=9))
    claim = answered(bench)
    for holder in ("worker-1/a", "worker-2/b"):
        current = Claim(job=claim.job, holder=holder)
        bench.lapse(current)
        swept = store.sweep(claim.job.id, lease_of(current))
        adopt(bench, claim)
    assert swept == "failed"
    assert bench.store.get(claim.job.id).error == WORKER_LOST


def test_a_turn_keeps_its_lock_while_its_answer_is_on_a_disk_and_its_adopter_hands_the_image_over(bench: Bench) -> None:
    session, (first, second) = start_session(bench, turns=2)
    claim = left(bench, first)
    assert bench.claim(second.id, "worker-3/c") is None
    adopt(bench, claim)
    adopted = Claim(job=bench.store.get(first.id), holder="worker-2/b")
    result, image = painted(adopted)
    assert bench.store.finish(adopted, result, image).next_job_id == second.id
    after = bench.sessions.get(session.id)
    assert (after.turn, after.image) == (1, image)
    assert bench.claim(second.id, "worker-3/c") is not None


def suspect(bench: Bench) -> Job:
    """A queued job that lost as many workers as make it a suspect."""
    job = bench.submit()
    for number in range(RetryLimits().suspect_from):
        assert bench.taken_back(bench.claimed(job, f"lost-{number}/x")) == "queued"
    return job


def test_a_worker_runs_one_suspect_at_a_time_and_another_worker_takes_the_next(bench: Bench) -> None:
    first, second, innocent = suspect(bench), suspect(bench), bench.submit()
    running = bench.claimed(first, "worker-1/a")
    assert bench.claim(second.id, "worker-1/b") is None
    assert second.id in bench.members(bench.keys.delayed), "it comes back by itself"
    assert bench.claim(innocent.id, "worker-1/c") is not None
    bench.end_delay(second.id)
    assert bench.claim(second.id, "worker-2/a") is not None
    third = suspect(bench)
    assert bench.store.finish(running, SUCCEEDED) == FINISHED
    assert bench.claim(third.id, "worker-1/d") is not None, "the first one did not kill it"


def test_a_dead_workers_suspect_is_blamed_and_the_jobs_beside_it_are_not(bench: Bench) -> None:
    culprit, innocent = suspect(bench), bench.submit()
    claims = [bench.claimed(culprit, "worker-1/a"), bench.claimed(innocent, "worker-1/b")]
    assert [bench.taken_back(claim) for claim in claims] == ["failed", "queued"]
    assert bench.store.get(culprit.id).error == WORKER_LOST
    assert "losses" not in bench.fields(innocent.id)


def end_sparing(bench: Bench) -> None:
    """Let the time be over in which leases are spared; nobody swept since the sweep before."""
    bench.raw.hset(bench.keys.sweeps, "spared_until", LONG_AGO_MS)


def due_after(bench: Bench, gap_ms: int) -> tuple[tuple[str, ...], int]:
    """What lapsed, and for how long it is spared, as if the last sweep had been so long ago."""
    seconds, _ = bench.client.time()
    bench.raw.hset(bench.keys.sweeps, "at", seconds * 1000 - gap_ms)
    due = bench.store.due(0, HOUR_MS, LEASE_MS, 10)
    return due.lapsed, due.spared_ms


def test_the_first_sweep_ever_spares_nobody(bench: Bench) -> None:
    claim = bench.claimed()
    bench.lapse(claim)
    due = bench.store.due(0, HOUR_MS, LEASE_MS, 10)
    assert (due.lapsed, due.spared_ms) == ((lease_of(claim),), 0)


def test_after_a_time_without_sweeps_lapsed_leases_are_spared_until_a_heartbeat_could_renew_them(bench: Bench) -> None:
    alive, dead = bench.claimed(holder="worker-1/a"), bench.claimed(holder="worker-2/b")
    bench.lapse(alive)
    bench.lapse(dead)
    lapsed, spared_ms = due_after(bench, LEASE_MS)
    assert lapsed == ()
    assert LEASE_MS / 3 < spared_ms <= LEASE_MS * 2 / 3, "a heartbeat comes every third of a lease"
    bench.store.renew("worker-1", [lease_of(alive)], LEASE_MS)
    end_sparing(bench)
    due = bench.store.due(0, HOUR_MS, LEASE_MS, 10)
    assert (due.lapsed, due.spared_ms) == ((lease_of(dead),), 0)


def test_a_short_gap_between_sweeps_spares_nobody(bench: Bench) -> None:
    claim = bench.claimed()
    bench.lapse(claim)
    assert due_after(bench, LEASE_MS // 2 - 2_000) == ((lease_of(claim),), 0)


def test_sweeps_that_take_long_do_not_spare_leases_for_ever(bench: Bench) -> None:
    claim = bench.claimed()
    bench.lapse(claim)
    due_after(bench, LEASE_MS)
    seconds, _ = bench.client.time()
    bench.raw.hset(bench.keys.sweeps, "spared_until", seconds * 1000 - 1_000)
    assert due_after(bench, LEASE_MS) == ((lease_of(claim),), 0)


def test_what_else_is_due_is_not_kept_waiting_while_leases_are_spared(bench: Bench) -> None:
    job = bench.submit()
    seconds, _ = bench.client.time()
    bench.raw.hset(bench.keys.sweeps, "at", seconds * 1000 - LEASE_MS)
    due = bench.store.due(0, HOUR_MS, LEASE_MS, 10)
    assert due.spared_ms > 0
    assert due.unsent == (job.id,)
