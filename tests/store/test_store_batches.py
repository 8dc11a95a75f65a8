"""Batches in the store: each line begins once, and every dollar is reserved before and settled after, in one step."""

from __future__ import annotations

import pytest
from batch_store_kit import EXPECTED, GONE, HIGH, begin, begun, called, now, states, store_batch
from key_kit import make_purse, once
from store_kit import FAILED, FINISHED, GIVEN_UP, OWNER, SUCCEEDED, Bench, new_job

from imagequeue.batches import Batch, BatchNotFound, BatchState, LineState
from imagequeue.errors import IdempotencyKeyReused
from imagequeue.jobs import AttemptOutcome, JobError, JobState, Result
from imagequeue.store.limits import MICRO, micro

COST = micro(SUCCEEDED.cost_usd_estimated or 0)
DOLLAR_CAP = {"max_cost": micro(1.0)}
BROKEN = Result(
    state=JobState.FAILED, outcome=AttemptOutcome.FAILED, error=JobError(code="provider_refused", message="no")
)


def books(bench: Bench, batch: Batch) -> tuple[int, int, int]:
    """In flight, spent, reserved; which the whole fleet's counter of lines in flight has to agree with."""
    found = now(bench, batch)
    flying = bench.client.hgetall(bench.keys.batches_flying)
    assert int(flying.get(batch.owner, 0)) == found.in_flight
    return found.in_flight, found.spent, found.reserved


def test_a_line_begins_once_and_in_its_turn(bench: Bench) -> None:
    batch = store_batch(bench, lines=3)
    assert begin(bench, batch, 1) == "other_line"
    job = begun(bench, batch, 0)
    assert (job.batch_id, job.line, job.custom_id, job.lane) == (batch.id, 0, "line-0", "batch")
    assert begin(bench, batch, 0) == "other_line"
    assert begin(bench, batch, 1) == "stored"
    assert now(bench, batch).next_line == 2
    assert books(bench, batch) == (2, 0, 2 * HIGH)


def test_a_beginning_that_is_sent_again_changes_nothing(bench: Bench) -> None:
    batch = store_batch(bench, lines=2)
    job = new_job(lane="batch")
    assert bench.feed.begin([(batch, 0, job), (batch, 0, job)]) == ["stored", "stored"]
    assert books(bench, batch) == (1, 0, HIGH)


def test_the_window_is_never_exceeded(bench: Bench) -> None:
    batch = store_batch(bench, lines=3, window=1)
    claim = called(bench, batch, 0)
    assert begin(bench, batch, 1) == "window_full"
    assert bench.store.finish(claim, SUCCEEDED) == FINISHED
    assert begin(bench, batch, 1) == "stored"


def test_a_batch_is_completed_by_the_end_of_its_last_line(bench: Bench) -> None:
    batch = store_batch(bench, lines=4)
    claims = [called(bench, batch, line) for line in range(3)]
    assert begin(bench, batch, 3, GONE) == "failed"
    assert bench.batches.faults(batch.id, [3]) == {3: GONE}
    for claim, result in zip(claims, (SUCCEEDED, FAILED, GIVEN_UP), strict=True):
        assert now(bench, batch).state is BatchState.RUNNING
        assert bench.store.finish(claim, result) == FINISHED
    found = now(bench, batch)
    assert (found.state, found.ended, found.images_made) == (BatchState.COMPLETED, True, 1)
    assert found.counts.model_dump() == {
        "waiting": 0,
        "in_flight": 0,
        "succeeded": 1,
        "failed": 1,
        "refused": 1,
        "cancelled": 1,
    }
    assert states(bench, batch) == "srcf"
    assert bench.batches.ended(batch.id, 0, 10) == [3, 0, 1, 2]
    # The refusal's price is not known and nothing was billed; that of the cancelled call is guessed.
    assert (found.spent, found.guessed, found.reserved) == (COST + EXPECTED, EXPECTED, 0)
    assert bench.members(bench.keys.batches_active) == {}


def test_a_repeated_end_settles_once(bench: Bench) -> None:
    batch = store_batch(bench, lines=2)
    claim = called(bench, batch, 0)
    for _ in range(2):
        assert bench.store.finish(claim, SUCCEEDED) == FINISHED
    assert books(bench, batch) == (0, COST, 0)
    assert bench.batches.ended(batch.id, 0, 10) == [0]


def test_a_line_that_workers_lost_is_settled_by_the_sweep(bench: Bench) -> None:
    batch = store_batch(bench, lines=1)
    job = begun(bench, batch, 0)
    for number in range(3):
        assert bench.taken_back(bench.claimed(bench.store.get(job.id), f"worker-{number}/h")) in ("queued", "failed")
    assert (states(bench, batch), books(bench, batch)) == ("f", (0, 0, 0))
    assert now(bench, batch).state is BatchState.COMPLETED


def test_no_line_begins_that_could_exceed_the_cap_and_the_cap_is_used_up(bench: Bench) -> None:
    batch = store_batch(bench, lines=100, **DOLLAR_CAP)
    line = 0
    while True:
        answer = begin(bench, batch, line)
        found = now(bench, batch)
        assert found.spent + found.reserved <= micro(1.0)
        if answer == "waits":
            assert (found.state, found.waits_for) == (BatchState.RUNNING, "max_cost_usd")
            for record in bench.batches.lines(batch.id, 0, 100):
                if record.state is LineState.IN_FLIGHT and record.job_id:
                    claim = bench.claimed(bench.store.get(record.job_id), f"holder-{record.number}")
                    assert bench.store.finish(claim, SUCCEEDED) == FINISHED
            continue
        if answer == "paused":
            break
        assert answer == "stored"
        line += 1
    assert (found.state, found.reason, found.waits_for) == (BatchState.PAUSED, "max_cost_usd", None)
    assert found.spent > micro(1.0) - HIGH
    assert found.in_flight == 0
    assert begin(bench, batch, line) == "not_running"


def test_a_raised_cap_lets_the_batch_go_on_and_a_lowered_one_does_not(bench: Bench) -> None:
    batch = store_batch(bench, lines=3, max_cost=HIGH - 1)
    assert begin(bench, batch, 0) == "paused"
    assert bench.batches.change(batch, {"max_cost": 0}) == "done"
    assert now(bench, batch).state is BatchState.PAUSED
    assert bench.batches.change(batch, {"max_cost": HIGH}) == "done"
    assert now(bench, batch).state is BatchState.RUNNING
    claim = called(bench, batch, 0)
    assert begin(bench, batch, 1) == "waits"
    assert bench.store.finish(claim, SUCCEEDED) == FINISHED
    assert begin(bench, batch, 1) == "paused"
    assert bench.batches.change(batch, {"max_cost": None}) == "done"
    assert begin(bench, batch, 1) == "stored"


def test_a_call_of_unknown_fate_is_repeated_only_within_the_cap(bench: Bench) -> None:
    batch = store_batch(bench, lines=2, max_cost=2 * HIGH)
    first = called(bench, batch, 0)
    assert bench.released(first, outcome=AttemptOutcome.UNKNOWN) == "released"
    assert books(bench, batch) == (1, 0, 2 * HIGH)
    again = bench.claimed(bench.store.get(first.job.id), "holder-9")
    assert bench.released(again, outcome=AttemptOutcome.UNKNOWN) == "unaffordable"
    assert bench.store.finish(again, FAILED.model_copy(update={"error": BROKEN.error})) == FINISHED
    assert books(bench, batch) == (0, EXPECTED, 0)


def test_a_dead_workers_call_is_not_repeated_beyond_the_cap(bench: Bench) -> None:
    batch = store_batch(bench, lines=2, max_cost=HIGH)
    claim = called(bench, batch, 0)
    assert bench.taken_back(claim) == "failed"
    assert books(bench, batch) == (0, EXPECTED, 0)
    assert bench.store.get(claim.job.id).error


def test_a_budget_without_room_pauses_the_batch_until_it_begins_anew(bench: Bench) -> None:
    purse = make_purse(bench, daily_budget_usd=HIGH * 1.5 / MICRO)
    batch = store_batch(bench, lines=3, key_id=purse.key_id)
    claim = called(bench, batch, 0)
    assert begin(bench, batch, 1) == "waits"
    assert bench.store.finish(claim, SUCCEEDED.model_copy(update={"cost_usd_estimated": HIGH / MICRO})) == FINISHED
    assert begin(bench, batch, 1) == "paused"
    found = now(bench, batch)
    assert found.reason == "budget_exceeded"
    assert found.resumes_at
    assert found.resumes_at % 86_400_000 == 0
    assert 0 < found.resumes_at - bench.fleet.now() <= 86_400_000
    assert (purse.reserved, purse.spent) == ({}, HIGH)
    bench.batches.resume_due(batch.id, OWNER)
    assert now(bench, batch).state is BatchState.PAUSED
    assert bench.feed.resuming(found.resumes_at, 10) == [batch.id]
    bench.raw.hset(bench.keys.batch(batch.id), "resumes_at", 1)
    bench.batches.resume_due(batch.id, OWNER)
    assert now(bench, batch).state is BatchState.RUNNING
    assert bench.feed.resuming(found.resumes_at, 10) == []


def test_a_line_dearer_than_the_whole_budget_does_not_go_on_by_itself(bench: Bench) -> None:
    purse = make_purse(bench, monthly_budget_usd=HIGH * 0.5 / MICRO)
    batch = store_batch(bench, lines=1, key_id=purse.key_id)
    assert begin(bench, batch, 0) == "paused"
    assert now(bench, batch).resumes_at is None


def test_a_monthly_budget_begins_anew_with_the_month(bench: Bench) -> None:
    purse = make_purse(bench, monthly_budget_usd=HIGH * 1.5 / MICRO)
    batch = store_batch(bench, lines=2, key_id=purse.key_id)
    claim = called(bench, batch, 0)
    assert bench.store.finish(claim, SUCCEEDED.model_copy(update={"cost_usd_estimated": HIGH / MICRO})) == FINISHED
    assert begin(bench, batch, 1) == "paused"
    resumes_at = now(bench, batch).resumes_at
    assert resumes_at
    assert 0 < resumes_at - bench.fleet.now() <= 31 * 86_400_000


def test_a_key_with_as_many_jobs_as_it_may_have_makes_lines_wait(bench: Bench) -> None:
    purse = make_purse(bench, jobs_in_flight=1)
    batch = store_batch(bench, lines=2, key_id=purse.key_id)
    claim = called(bench, batch, 0)
    assert begin(bench, batch, 1) == "too_many_jobs"
    assert (now(bench, batch).state, now(bench, batch).waits_for) == (BatchState.RUNNING, "too_many_jobs")
    assert bench.store.finish(claim, SUCCEEDED) == FINISHED
    assert begin(bench, batch, 1) == "stored"
    assert now(bench, batch).waits_for is None


def test_a_paused_batch_begins_nothing_and_ends_with_what_was_in_flight(bench: Bench) -> None:
    batch = store_batch(bench, lines=1)
    claim = called(bench, batch, 0)
    for _ in range(2):
        assert bench.batches.steer(batch, "pause") == "done"
    assert (now(bench, batch).reason, bench.members(bench.keys.batches_active)) == ("asked", {})
    assert bench.store.finish(claim, SUCCEEDED) == FINISHED
    assert now(bench, batch).state is BatchState.COMPLETED
    assert bench.batches.steer(batch, "resume") == "over"


def test_a_resumed_batch_goes_on_where_it_was(bench: Bench) -> None:
    batch = store_batch(bench, lines=3)
    begun(bench, batch, 0)
    bench.batches.steer(batch, "pause")
    assert begin(bench, batch, 1) == "not_running"
    bench.batches.steer(batch, "resume")
    assert begin(bench, batch, 1) == "stored"


def test_a_cancel_ends_what_waits_at_once_and_the_batch_with_its_last_job(bench: Bench) -> None:
    batch = store_batch(bench, lines=10)
    claim = called(bench, batch, 0)
    for _ in range(2):
        assert bench.batches.steer(batch, "cancel") == "done"
    found = now(bench, batch)
    assert (found.state, found.ended) == (BatchState.CANCELLED, False)
    assert (found.counts.cancelled, found.counts.in_flight, found.counts.waiting) == (9, 1, 0)
    assert bench.store.finish(claim, SUCCEEDED) == FINISHED
    found = now(bench, batch)
    assert (found.state, found.ended, found.counts.succeeded) == (BatchState.CANCELLED, True, 1)
    assert bench.batches.steer(batch, "resume") == "over"


def test_failed_lines_run_again_as_new_jobs_and_the_others_stay(bench: Bench) -> None:
    batch = store_batch(bench, lines=4)
    claims = [called(bench, batch, line) for line in range(3)]
    for claim, result in zip(claims, (SUCCEEDED, BROKEN, FAILED), strict=True):
        assert bench.store.finish(claim, result) == FINISHED
    assert begin(bench, batch, 3, GONE) == "failed"
    assert states(bench, batch) == "sfrf"
    for _ in range(2):
        assert bench.batches.again(batch, [LineState.FAILED], "token-1") == 2
    found = now(bench, batch)
    assert (found.state, found.ended, found.counts.waiting, found.counts.refused) == (BatchState.RUNNING, False, 2, 1)
    assert [one.next_lines for one in bench.feed.hungry()] == [[1, 3]]
    assert begin(bench, batch, 3) == "other_line"
    again = called(bench, batch, 1)
    assert bench.batches.earlier_jobs(batch.id) == [claims[1].job.id]
    assert begin(bench, batch, 3) == "stored"
    assert bench.batches.faults(batch.id, [3]) == {}
    assert bench.store.finish(again, SUCCEEDED) == FINISHED
    assert states(bench, batch) == "ssri"
    assert bench.batches.ended(batch.id, 0, 10) == [0, 1, 2, 3, 1]
    assert bench.batches.again(batch, [LineState.FAILED], "token-2") == 0


def test_cancelled_lines_can_run_after_all(bench: Bench) -> None:
    batch = store_batch(bench, lines=3)
    claim = called(bench, batch, 0)
    bench.batches.steer(batch, "cancel")
    assert bench.store.finish(claim, GIVEN_UP) == FINISHED
    assert bench.batches.again(batch, [LineState.CANCELLED], "token") == 3
    assert now(bench, batch).counts.waiting == 3
    for line in range(3):
        assert begin(bench, batch, line) == "stored"


def test_the_same_idempotency_key_makes_one_batch(bench: Bench) -> None:
    batch = store_batch(bench, lines=1, idempotency=once())
    assert store_batch(bench, lines=1, idempotency=once()).id == batch.id
    with pytest.raises(IdempotencyKeyReused):
        store_batch(bench, lines=1, idempotency=once(request="another"))
    assert bench.batches.list_ids(OWNER, None, 10) == [batch.id]


def test_a_batch_that_is_gone_is_told_so_and_leaves_no_traces(bench: Bench) -> None:
    batch = store_batch(bench, lines=1)
    bench.client.delete(bench.keys.batch(batch.id))
    for action in ("pause", "resume", "cancel"):
        with pytest.raises(BatchNotFound):
            bench.batches.steer(batch, action)
    assert bench.members(bench.keys.batches_active) == {}
