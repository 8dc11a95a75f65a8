"""What the sweeper sees as due, and what it does with workers that went silent and with delays that are over."""

from __future__ import annotations

from dataclasses import replace

import pytest
from store_kit import FINISHED, HOUR_MS, LONG_AGO_MS, NOTHING_DUE, SUCCEEDED, Bench, new_job

from imagequeue.jobs import AttemptOutcome, JobState
from imagequeue.store.attempts import RetryLimits, job_id_of, lease_of
from imagequeue.store.jobs import CANCELLED, OUTCOME_UNKNOWN, WORKER_LOST


def test_what_is_new_held_or_waiting_for_its_time_is_not_due(bench: Bench) -> None:
    bench.submit()
    bench.claimed()
    bench.released(bench.claimed(), HOUR_MS)
    assert bench.due(HOUR_MS) == NOTHING_DUE


def test_due_lists_the_unsent_the_lapsed_and_the_delayed(bench: Bench) -> None:
    unsent = bench.submit()
    lapsed = bench.claimed()
    bench.lapse(lapsed)
    delayed = bench.claimed()
    bench.released(delayed, HOUR_MS)
    bench.end_delay(delayed.job.id)
    assert bench.due() == replace(
        NOTHING_DUE, unsent=(unsent.id,), lapsed=(lease_of(lapsed),), delayed=(delayed.job.id,)
    )


def test_due_gives_the_oldest_first_up_to_its_limit(bench: Bench) -> None:
    ids = [f"job_{number}" for number in range(5)]
    for age, job_id in enumerate(reversed(ids)):
        bench.store.submit(new_job(id=job_id))
        bench.raw.zadd(bench.keys.outbox, {job_id: LONG_AGO_MS + 10 - age})
    assert bench.due(limit=3).unsent == tuple(ids[:3])


def test_a_sweep_of_a_held_lease_changes_nothing(bench: Bench) -> None:
    claim = bench.claimed()
    before = bench.contents()
    assert bench.store.sweep(claim.job.id, lease_of(claim)) == "nothing"
    assert bench.contents() == before


def test_a_job_lost_before_its_call_returns_to_its_place_in_the_queue(bench: Bench) -> None:
    first, second = bench.submit(), bench.submit()
    claim = bench.claimed(first)
    assert bench.taken_back(claim) == "queued"
    job = bench.store.get(first.id)
    (attempt,) = job.attempts
    assert (job.state, attempt.outcome) == (JobState.QUEUED, AttemptOutcome.LOST)
    assert attempt.ended is not None
    assert job.possible_extra_cost_usd == 0
    assert [bench.store.positions([bench.store.get(other.id)])[0] for other in (first, second)] == [1, 2]
    assert bench.indexed_as(first.id) == [JobState.QUEUED]
    assert first.id in bench.due().unsent, "it needs a new message"
    assert bench.members(bench.keys.leases) == {}
    assert bench.events(first.id) == ["queued", "running", "queued"]
    assert bench.claimed(job, "holder-2").attempt == 2


def test_a_job_lost_after_its_call_is_called_once_more_then_fails(bench: Bench) -> None:
    first = bench.claimed()
    bench.store.start_call(first, "direct")
    assert bench.taken_back(first) == "queued"
    second = bench.claimed(first.job, "holder-2")
    bench.store.start_call(second, "direct")
    assert bench.taken_back(second) == "failed"
    job = bench.store.get(first.job.id)
    assert (job.state, job.error) == (JobState.FAILED, OUTCOME_UNKNOWN)
    assert [attempt.outcome for attempt in job.attempts] == [AttemptOutcome.UNKNOWN] * 2
    assert job.possible_extra_cost_usd == round(2 * job.estimate.expected_usd, 6)
    assert bench.indexed_as(job.id) == [JobState.FAILED]
    assert bench.events(job.id)[-1] == "failed"
    assert job.finished_at is not None


def test_with_the_policy_fail_an_unknown_outcome_fails_at_once(bench: Bench) -> None:
    claim = bench.claimed(bench.submit(on_unknown_outcome="fail"))
    bench.store.start_call(claim, "direct")
    assert bench.taken_back(claim) == "failed"
    assert bench.store.get(claim.job.id).error == OUTCOME_UNKNOWN


def test_with_the_policy_fail_a_job_lost_before_its_call_is_queued_again(bench: Bench) -> None:
    claim = bench.claimed(bench.submit(on_unknown_outcome="fail"))
    assert bench.taken_back(claim) == "queued"


def test_a_job_that_lost_too_many_workers_fails_as_their_likely_killer(bench: Bench) -> None:
    job = bench.submit()
    answers = [bench.taken_back(bench.claimed(job, f"holder-{number}")) for number in range(RetryLimits().losses)]
    assert answers == ["queued"] * (RetryLimits().losses - 1) + ["failed"]
    job = bench.store.get(job.id)
    assert (job.state, job.error) == (JobState.FAILED, WORKER_LOST)
    assert bench.indexed_as(job.id) == [JobState.FAILED]


def test_releases_do_not_count_as_losses(bench: Bench) -> None:
    job = bench.submit()
    for number in range(2 * RetryLimits().losses):
        bench.released(bench.claimed(job, f"holder-{number}"))
    assert bench.taken_back(bench.claimed(job)) == "queued"


@pytest.mark.parametrize("called", [False, True], ids=["before its call", "after its call"])
def test_a_lost_job_whose_cancel_was_asked_for_is_cancelled(bench: Bench, called: bool) -> None:
    claim = bench.claimed(bench.submit(on_unknown_outcome="fail"))
    if called:
        bench.store.start_call(claim, "direct")
    bench.store.cancel(claim.job)
    assert bench.taken_back(claim) == "cancelled"
    job = bench.store.get(claim.job.id)
    assert (job.state, job.error) == (JobState.CANCELLED, CANCELLED)
    assert job.possible_extra_cost_usd == (job.estimate.expected_usd if called else 0)
    assert bench.indexed_as(job.id) == [JobState.CANCELLED]


def test_a_repeated_sweep_changes_nothing(bench: Bench) -> None:
    claim = bench.claimed()
    bench.taken_back(claim)
    before = bench.contents()
    assert bench.store.sweep(claim.job.id, lease_of(claim)) == "nothing"
    assert bench.contents() == before


def test_a_stale_lease_of_an_older_attempt_is_dropped_and_the_current_one_stays(bench: Bench) -> None:
    stale = bench.claimed(holder="holder-1")
    bench.taken_back(stale)
    current = bench.claimed(stale.job, "holder-2")
    before = bench.contents()
    bench.raw.zadd(bench.keys.leases, {lease_of(stale): LONG_AGO_MS})
    assert bench.store.sweep(stale.job.id, lease_of(stale)) == "nothing"
    assert bench.contents() == before
    assert bench.store.finish(current, SUCCEEDED) == FINISHED


def test_a_delay_that_is_over_puts_the_job_into_the_outbox_once(bench: Bench) -> None:
    claim = bench.claimed()
    bench.released(claim, HOUR_MS)
    before = bench.contents()
    assert bench.store.sweep(claim.job.id) == "nothing"
    assert bench.contents() == before
    bench.end_delay(claim.job.id)
    assert bench.store.sweep(claim.job.id) == "queued"
    assert bench.due() == replace(NOTHING_DUE, unsent=(claim.job.id,))
    assert bench.store.sweep(claim.job.id) == "nothing"
    assert bench.store.get(claim.job.id).state is JobState.QUEUED


def test_traces_of_a_job_that_is_gone_are_cleared(bench: Bench) -> None:
    claim, delayed = bench.claimed(), bench.claimed()
    bench.lapse(claim)
    bench.released(delayed, HOUR_MS)
    bench.end_delay(delayed.job.id)
    bench.raw.delete(bench.keys.job(claim.job.id), bench.keys.job(delayed.job.id))
    for lease in bench.due().lapsed:
        assert bench.store.sweep(job_id_of(lease), lease) == "nothing"
    for job_id in bench.due().delayed:
        assert bench.store.sweep(job_id) == "nothing"
    assert bench.due() == NOTHING_DUE
