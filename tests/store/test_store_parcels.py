"""Parcels in Redis: lines leave once, land once or come back once, and every reservation is settled."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from batch_store_kit import begin, new_batch, now, states, store_batch
from key_kit import make_purse
from store_kit import FINISHED, HOUR_MS, SUCCEEDED, Bench, new_job

from imagequeue.batches import Batch
from imagequeue.jobs import AttemptOutcome, Claim, Job, JobState, Result
from imagequeue.parcels import PackedLine, Parcel
from imagequeue.pricing import BATCH_API_FACTOR
from imagequeue.store.limits import micro
from imagequeue.store.parcels import NOW, HeldParcel, ParcelLost, ParcelStore

HALF = new_job(price_share=BATCH_API_FACTOR)
HELD = micro(HALF.estimate.high_usd)
"""What a line may cost at most in the economy lane."""


@pytest.fixture
def parcels(bench: Bench) -> ParcelStore:
    return ParcelStore(bench.client, bench.keys)


def economy_batch(bench: Bench, lines: int, **changes: object) -> Batch:
    return store_batch(bench, lines, economy=True, **changes)


def parcel_of(batch: Batch, first: int, end: int, lines: int | None = None, **changes: object) -> Parcel:
    own = end - first if lines is None else lines
    fields = {"batch_id": batch.id, "owner": batch.owner, "key_id": batch.key_id, "endpoint": "/v1/images/generations"}
    return Parcel.model_validate(
        {**fields, "first": first, "end": end, "lines": own, "reserved": own * HELD, **changes}
    )


def shipped(bench: Bench, parcels: ParcelStore, lines: int, **changes: object) -> tuple[Batch, HeldParcel]:
    """A batch all of whose lines are in one parcel, and the parcel, which is held."""
    batch = economy_batch(bench, lines, **changes)
    assert parcels.ship(batch, lines, [parcel_of(batch, 0, lines)]) == "shipped"
    (held,) = parcels.claim_due("worker-1", 10)
    return now(bench, batch), parcels.note(held, {"state": "creating", "creating_at": NOW})


def packed(batch: Batch, number: int) -> PackedLine:
    job = new_job(owner=batch.owner, key_id=batch.key_id, lane="batch", custom_id=f"line-{number}")
    halved = job.model_copy(update={"price_share": BATCH_API_FACTOR, "on_unknown_outcome": "fail"})
    return PackedLine(number=number, job=halved)


def landed(parcels: ParcelStore, held: HeldParcel, line: PackedLine) -> Claim:
    claim = parcels.land(held.parcel, line, "worker-1", HOUR_MS)
    assert isinstance(claim, Claim)
    return claim


def books(bench: Bench, batch: Batch) -> tuple[int, int, int]:
    """Lines in flight, lines at OpenAI, and what is reserved."""
    batch = now(bench, batch)
    return batch.in_flight, batch.at_openai, batch.reserved


def test_lines_leave_together_and_are_reserved_at_half_the_price(bench: Bench, parcels: ParcelStore) -> None:
    batch = economy_batch(bench, 5)
    assert [found.id for found in parcels.shipping()] == [batch.id]
    first, second = parcel_of(batch, 0, 3, lines=2), parcel_of(batch, 0, 3, lines=1, endpoint="/v1/images/edits")
    assert parcels.ship(batch, 3, [first, second]) == "shipped"
    assert parcels.ship(batch, 3, [first, second]) == "shipped", "repeated"
    assert parcels.ship(batch, 3, [parcel_of(batch, 0, 3)]) == "other_line", "by somebody else"
    assert books(bench, batch) == (3, 3, 3 * HELD)
    assert (now(bench, batch).next_line, states(bench, batch)) == (3, "iii")
    assert {parcel.id for parcel in parcels.of_batch(batch.id)} == {first.id, second.id}
    assert parcels.ship(now(bench, batch), 5, [parcel_of(batch, 3, 5)]) == "shipped"
    assert parcels.shipping() == []


def test_the_feeder_leaves_lines_of_the_economy_lane_alone(bench: Bench, parcels: ParcelStore) -> None:
    batch = economy_batch(bench, 2)
    assert [list(one.next_lines) for one in bench.feed.hungry()] == [[]]
    assert begin(bench, batch, 0) == "other_line"
    bench.batches.leave_economy(batch)
    assert parcels.shipping() == []
    assert parcels.ship(batch, 2, [parcel_of(batch, 0, 2)]) == "not_running"
    assert begin(bench, now(bench, batch), 0) == "stored"


def test_a_paused_or_cancelled_batch_ships_nothing(bench: Bench, parcels: ParcelStore) -> None:
    batch = economy_batch(bench, 2)
    bench.batches.steer(batch, "pause")
    assert parcels.ship(batch, 2, [parcel_of(batch, 0, 2)]) == "not_running"
    bench.batches.steer(batch, "resume")
    bench.batches.steer(batch, "cancel")
    assert parcels.ship(batch, 2, [parcel_of(batch, 0, 2)]) == "not_running"
    assert now(bench, batch).cancelled == 2


def test_a_cap_lets_leave_what_fits_and_pauses_when_nothing_does(bench: Bench, parcels: ParcelStore) -> None:
    batch = economy_batch(bench, 4, max_cost=int(2.5 * HELD))
    assert parcels.ship(batch, 4, [parcel_of(batch, 0, 4)]) == "fewer"
    assert parcels.ship(batch, 2, [parcel_of(batch, 0, 2)]) == "shipped"
    batch = now(bench, batch)
    assert parcels.ship(batch, 3, [parcel_of(batch, 2, 3)]) == "waits"
    assert now(bench, batch).waits_for == "max_cost_usd"
    (held,) = parcels.claim_due("worker-1", 1)
    for number in range(2):
        spend = SUCCEEDED.model_copy(update={"cost_usd_estimated": HELD / 1e6})
        assert bench.store.finish(landed(parcels, held, packed(batch, number)), spend).answer == "finished"
    batch = now(bench, batch)
    assert (batch.spent, batch.reserved) == (2 * HELD, 0)
    assert parcels.ship(batch, 3, [parcel_of(batch, 2, 3)]) == "paused"
    assert now(bench, batch).reason == "max_cost_usd"


def test_a_key_without_budget_for_a_line_pauses_its_batch_until_the_budget_begins_anew(
    bench: Bench, parcels: ParcelStore
) -> None:
    purse = make_purse(bench, daily_budget_usd=1.5 * HELD / 1e6)
    batch = economy_batch(bench, 2, key_id=purse.key_id)
    assert parcels.ship(batch, 2, [parcel_of(batch, 0, 2)]) == "fewer"
    assert parcels.ship(batch, 1, [parcel_of(batch, 0, 1)]) == "shipped"
    batch = now(bench, batch)
    assert parcels.ship(batch, 2, [parcel_of(batch, 1, 2)]) == "waits"
    (held,) = parcels.claim_due("worker-1", 1)
    spend = SUCCEEDED.model_copy(update={"cost_usd_estimated": HELD / 1e6})
    assert bench.store.finish(landed(parcels, held, packed(batch, 0)), spend) == FINISHED
    assert parcels.ship(batch, 2, [parcel_of(batch, 1, 2)]) == "paused"
    batch = now(bench, batch)
    assert (batch.reason, bool(batch.resumes_at)) == ("budget_exceeded", True)
    dear = economy_batch(bench, 1, key_id=make_purse(bench, daily_budget_usd=0.5 * HELD / 1e6).key_id)
    assert parcels.ship(dear, 1, [parcel_of(dear, 0, 1)]) == "paused"
    assert now(bench, dear).resumes_at is None


def test_an_answered_line_becomes_a_job_whose_call_is_over_and_ends_as_any_other(
    bench: Bench, parcels: ParcelStore
) -> None:
    batch, held = shipped(bench, parcels, 1)
    line = packed(batch, 0)
    claim = landed(parcels, held, line)
    (attempt,) = claim.job.attempts
    assert (claim.job.state, claim.job.batch_id, claim.job.line) == (JobState.RUNNING, batch.id, 0)
    assert (attempt.route, attempt.answered is None, attempt.call_started) == ("batch", False, held.parcel.creating_at)
    assert books(bench, batch) == (1, 0, HELD)
    assert bench.store.finish(claim, SUCCEEDED) == FINISHED
    batch = now(bench, batch)
    assert (batch.state, batch.succeeded, batch.reserved) == ("completed", 1, 0)
    assert batch.spent == micro(SUCCEEDED.cost_usd_estimated or 0)
    parcels.done(held)
    assert parcels.of_batch(batch.id) == []


def test_a_line_lands_once(bench: Bench, parcels: ParcelStore) -> None:
    batch, held = shipped(bench, parcels, 2)
    line = packed(batch, 0)
    claim = landed(parcels, held, line)
    again = parcels.land(held.parcel, line, "worker-2", HOUR_MS)
    assert isinstance(again, Job)
    assert (again.id, again.state) == (line.job.id, JobState.RUNNING)
    assert parcels.land(held.parcel, packed(batch, 0), "worker-2", HOUR_MS) is None, "packed anew, under another id"
    bench.store.finish(claim, SUCCEEDED)
    assert books(bench, batch) == (1, 1, HELD)


def test_a_lander_that_died_is_followed_by_one_that_adopts_its_jobs(bench: Bench, parcels: ParcelStore) -> None:
    batch, held = shipped(bench, parcels, 1)
    line = packed(batch, 0)
    dead = landed(parcels, held, line)
    assert bench.taken_back(dead) == "spooled"
    found = parcels.land(held.parcel, line, "worker-2", HOUR_MS)
    assert isinstance(found, Job)
    assert bench.store.adopt(found, 1, "worker-2", "worker-2/h", HOUR_MS) == "adopted"
    assert bench.store.finish(dead, SUCCEEDED).answer == "refused"
    assert bench.store.finish(Claim(job=found, holder="worker-2/h"), SUCCEEDED) == FINISHED
    assert books(bench, batch) == (0, 0, 0)


def test_what_was_not_executed_comes_back_to_run_in_real_time(bench: Bench, parcels: ParcelStore) -> None:
    batch, held = shipped(bench, parcels, 3, window=1)
    claim = landed(parcels, held, packed(batch, 0))
    given = {0: HELD, 1: HELD, 2: HELD}
    assert parcels.give_back(held.parcel, given) == 2, "the line that has landed stays"
    assert parcels.give_back(held.parcel, given) == 0, "repeated"
    assert books(bench, batch) == (1, 0, HELD)
    assert (now(bench, batch).moved, states(bench, batch)) == (2, "iww")
    assert parcels.land(held.parcel, packed(batch, 1), "worker-1", HOUR_MS) is None
    bench.store.finish(claim, SUCCEEDED)
    assert [list(one.next_lines) for one in bench.feed.hungry()] == [[1, 2]]
    assert begin(bench, batch, 1) == "stored"
    assert begin(bench, batch, 2) == "window_full"


def test_lines_at_openai_take_no_place_in_the_window(bench: Bench, parcels: ParcelStore) -> None:
    batch, held = shipped(bench, parcels, 5, window=1)
    assert parcels.give_back(held.parcel, {4: HELD}) == 1
    assert begin(bench, batch, 4) == "stored"


def test_what_was_not_executed_is_cancelled_with_its_batch(bench: Bench, parcels: ParcelStore) -> None:
    batch, held = shipped(bench, parcels, 2)
    bench.batches.steer(batch, "cancel")
    assert now(bench, batch).finished_at is None
    assert parcels.give_back(held.parcel, {0: HELD, 1: HELD}) == 2
    batch = now(bench, batch)
    assert (batch.state, batch.cancelled, batch.finished_at is None) == ("cancelled", 2, False)
    assert books(bench, batch) == (0, 0, 0)


@pytest.mark.parametrize("ends", [["landed", "landed"], ["landed", "back"], ["back", "back"]])
def test_a_keys_reservation_follows_the_lines(bench: Bench, parcels: ParcelStore, ends: Sequence[str]) -> None:
    batch, held = shipped(bench, parcels, 2, key_id="key_1")
    reserved, spending = (bench.keys.for_key("key_1")[name] for name in ("reserved", "spending"))
    assert bench.raw.hgetall(reserved) == {held.parcel.id: str(2 * HELD)}
    for number, end in enumerate(ends):
        if end == "back":
            parcels.give_back(held.parcel, {number: HELD})
            continue
        claim = landed(parcels, held, packed(batch, number))
        assert bench.raw.hget(reserved, claim.job.id) == str(HELD)
        bench.store.finish(claim, SUCCEEDED)
    assert bench.raw.hgetall(reserved) == {}
    assert bench.raw.hget(spending, "reserved") == "0"
    parcels.done(held)
    assert bench.raw.hget(spending, "reserved") == "0"


def test_a_parcel_that_is_forgotten_with_lines_leaves_no_reservation(bench: Bench, parcels: ParcelStore) -> None:
    _, held = shipped(bench, parcels, 2, key_id="key_1")
    parcels.done(held)
    parcels.done(held)
    keys = bench.keys.for_key("key_1")
    assert (bench.raw.hgetall(keys["reserved"]), bench.raw.hget(keys["spending"], "reserved")) == ({}, "0")


def test_an_unknown_outcome_is_not_called_again(bench: Bench, parcels: ParcelStore) -> None:
    batch, held = shipped(bench, parcels, 1)
    claim = landed(parcels, held, packed(batch, 0))
    unknown = Result(state=JobState.FAILED, outcome=AttemptOutcome.UNKNOWN)
    assert bench.store.finish(claim, unknown) == FINISHED
    batch = now(bench, batch)
    assert (batch.failed, batch.guessed) == (1, micro(HALF.estimate.expected_usd))


def test_a_parcel_is_held_by_one_worker_and_due_again_when_let_go(bench: Bench, parcels: ParcelStore) -> None:
    _, held = shipped(bench, parcels, 1)
    assert parcels.claim_due("worker-2", 10) == []
    parcels.note(held, {"tries": 2, "trouble": "busy"}, due_ms=HOUR_MS)
    parcels.note(held, {"tries": 2, "trouble": "busy"}, due_ms=HOUR_MS)
    assert parcels.claim_due("worker-2", 10) == []
    parcels.hurry(held.parcel.batch_id)
    (other,) = parcels.claim_due("worker-2", 10)
    assert (other.parcel.tries, other.parcel.trouble) == (2, "busy")
    with pytest.raises(ParcelLost):
        parcels.note(held, {})
    with pytest.raises(ParcelLost):
        parcels.done(held)
    assert parcels.note(other, {"trouble": None}).parcel.trouble is None


def test_a_parcel_of_a_worker_that_died_goes_to_the_next(bench: Bench) -> None:
    hasty = ParcelStore(bench.client, bench.keys, lease_ms=0)
    _, held = shipped(bench, hasty, 1)
    (other,) = hasty.claim_due("worker-2", 10)
    with pytest.raises(ParcelLost):
        hasty.renew(held)
    hasty.renew(other)


def test_hurry_takes_nothing_from_who_holds_it(bench: Bench, parcels: ParcelStore) -> None:
    _, held = shipped(bench, parcels, 1)
    parcels.hurry(held.parcel.batch_id)
    assert parcels.claim_due("worker-2", 10) == []
    parcels.renew(held)
    assert new_batch(1).economy is False
