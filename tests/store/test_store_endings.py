"""How a job leaves a worker: finish, release and cancel, and what a stale holder may not do."""

from __future__ import annotations

import pytest
from store_kit import (
    BUSY,
    FAILED,
    FINISHED,
    GIVEN_UP,
    HOUR_MS,
    IMAGE,
    REFUSED,
    RESULTS,
    SUCCEEDED,
    TOO_LATE,
    Bench,
    new_job,
)

from imagequeue.errors import JobFinished, JobNotFound
from imagequeue.jobs import AttemptOutcome, Claim, Job, JobState, Result, Usage
from imagequeue.requests import GenerateRequest
from imagequeue.store.jobs import CANCELLED, Ending


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: result.state)
def test_the_holder_ends_the_job(bench: Bench, result: Result) -> None:
    claim = bench.claimed()
    assert bench.store.finish(claim, result) == FINISHED
    job = bench.store.get(claim.job.id)
    assert (job.state, job.images, job.error) == (result.state, result.images, result.error)
    assert job.cost_usd_estimated == result.cost_usd_estimated
    (attempt,) = job.attempts
    assert (attempt.outcome, attempt.request_id) == (result.outcome, result.request_id)
    assert attempt.error == (result.error.message if result.error else None)
    assert attempt.ended == job.finished_at
    assert bench.indexed_as(job.id) == [result.state]
    assert bench.members(bench.keys.leases) == {}
    assert bench.events(job.id) == ["queued", "running", result.state]
    assert bench.changes()[-1] == (job.id, result.state)


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: result.state)
def test_a_finish_repeated_by_its_holder_is_confirmed_and_changes_nothing(bench: Bench, result: Result) -> None:
    claim = bench.claimed()
    assert bench.store.finish(claim, result) == FINISHED
    before = bench.contents()
    assert bench.store.finish(claim, result) == FINISHED
    assert bench.contents() == before


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: result.state)
def test_a_finish_by_another_holder_is_refused_and_changes_nothing(bench: Bench, result: Result) -> None:
    claim = bench.claimed(holder="holder-1")
    before = bench.contents()
    assert bench.store.finish(Claim(job=claim.job, holder="holder-2"), result) == TOO_LATE
    assert bench.contents() == before


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: result.state)
def test_a_finish_of_an_older_attempt_is_refused_and_changes_nothing(bench: Bench, result: Result) -> None:
    stale = bench.claimed(holder="holder-1")
    bench.taken_back(stale)
    before = bench.contents()
    assert bench.store.finish(stale, result) == TOO_LATE
    assert bench.contents() == before
    bench.claimed(stale.job, "holder-1")  # even by a process that calls itself the same
    before = bench.contents()
    assert bench.store.finish(stale, result) == TOO_LATE
    assert bench.contents() == before


def test_the_notes_of_submit_stay_beside_those_of_the_result(bench: Bench) -> None:
    request = GenerateRequest(prompt="a", output_format="png", output_compression=50)
    claim = bench.claimed(bench.submit(request=request))
    (caveat,) = claim.job.notes
    bench.store.finish(claim, SUCCEEDED.model_copy(update={"notes": ("painted twice", caveat)}))
    assert bench.store.get(claim.job.id).notes == (caveat, "painted twice")


def test_a_result_without_figures_leaves_them_unknown(bench: Bench) -> None:
    claim = bench.claimed()
    bench.store.finish(claim, SUCCEEDED.model_copy(update={"cost_usd_estimated": None, "usage": Usage()}))
    job = bench.store.get(claim.job.id)
    assert (job.cost_usd_estimated, job.usage, job.applied, job.error) == (None, None, None, None)
    assert job.images == (IMAGE,)


def test_a_cost_of_zero_is_not_unknown(bench: Bench) -> None:
    claim = bench.claimed()
    bench.store.finish(claim, SUCCEEDED.model_copy(update={"cost_usd_estimated": 0.0}))
    assert bench.store.get(claim.job.id).cost_usd_estimated == 0.0


def test_a_release_delays_the_job_and_keeps_its_place(bench: Bench) -> None:
    first, second = bench.submit(), bench.submit()
    claim = bench.claimed(first)
    assert bench.store.release(claim, AttemptOutcome.BUSY, BUSY, HOUR_MS, "req_9") == "released"
    job = bench.store.get(first.id)
    assert job.state is JobState.QUEUED
    assert [bench.store.positions([bench.store.get(job.id)])[0] for job in (first, second)] == [1, 2]
    (attempt,) = job.attempts
    assert (attempt.outcome, attempt.error, attempt.request_id) == (AttemptOutcome.BUSY, BUSY.message, "req_9")
    assert attempt.ended is not None
    assert job.not_before == attempt.ended + HOUR_MS
    assert bench.members(bench.keys.delayed) == {job.id: job.not_before}
    assert bench.changes()[-1] == (job.id, "queued")
    data = {"state": "queued", "attempt": 1, "at": attempt.ended, "not_before": job.not_before}
    assert bench.last_event_data(job.id) == data
    assert job.id not in bench.members(bench.keys.outbox)
    assert bench.members(bench.keys.leases) == {}
    assert bench.indexed_as(job.id) == [JobState.QUEUED]


def test_a_release_repeated_by_its_holder_is_confirmed_and_changes_nothing(bench: Bench) -> None:
    claim = bench.claimed()
    assert bench.released(claim, HOUR_MS) == "released"
    before = bench.contents()
    assert bench.released(claim, HOUR_MS) == "released"
    assert bench.contents() == before


def test_a_release_by_a_stale_holder_is_refused_and_changes_nothing(bench: Bench) -> None:
    stale = bench.claimed(holder="holder-1")
    bench.taken_back(stale)
    before = bench.contents()
    assert bench.released(stale) == "refused"
    assert bench.contents() == before
    bench.claimed(stale.job, "holder-1")  # even by a process that calls itself the same
    before = bench.contents()
    assert bench.released(stale) == "refused"
    assert bench.contents() == before


def test_a_release_by_another_holder_is_refused_and_changes_nothing(bench: Bench) -> None:
    claim = bench.claimed(holder="holder-1")
    before = bench.contents()
    assert bench.released(Claim(job=claim.job, holder="holder-2")) == "refused"
    assert bench.contents() == before


def test_released_unknown_outcomes_are_counted_with_the_swept_ones(bench: Bench) -> None:
    claim = bench.claimed()
    bench.store.start_call(claim, "direct")
    assert bench.released(claim, outcome=AttemptOutcome.UNKNOWN) == "released"
    again = bench.claimed(claim.job, "holder-2")
    bench.store.start_call(again, "direct")
    assert bench.taken_back(again) == "failed", "it was called again once already"
    job = bench.store.get(claim.job.id)
    assert job.error is not None
    assert job.error.code == "outcome_unknown"
    assert job.possible_extra_cost_usd == round(2 * job.estimate.expected_usd, 6)


def test_a_busy_release_is_not_counted_as_unknown(bench: Bench) -> None:
    claim = bench.claimed()
    bench.store.start_call(claim, "direct")
    bench.released(claim)
    assert bench.store.get(claim.job.id).possible_extra_cost_usd == 0
    again = bench.claimed(claim.job, "holder-2")
    bench.store.start_call(again, "direct")
    assert bench.taken_back(again) == "queued"


def test_a_release_gives_way_to_a_cancel(bench: Bench) -> None:
    claim = bench.claimed()
    bench.store.cancel(claim.job)
    before = bench.contents()
    assert bench.released(claim) == "cancelled"
    assert bench.contents() == before
    assert bench.store.finish(claim, GIVEN_UP) == FINISHED


@pytest.mark.parametrize("delay_ms", [None, HOUR_MS], ids=["never claimed", "waiting for its retry"])
def test_a_queued_job_is_cancelled_at_once(bench: Bench, delay_ms: int | None) -> None:
    job = bench.submit()
    if delay_ms:
        bench.released(bench.claimed(job), delay_ms)
    assert bench.store.cancel(job) == Ending("cancelled")
    cancelled = bench.store.get(job.id)
    assert (cancelled.state, cancelled.error, cancelled.not_before) == (JobState.CANCELLED, CANCELLED, None)
    assert cancelled.finished_at is not None
    assert bench.indexed_as(job.id) == [JobState.CANCELLED]
    for key in (bench.keys.outbox, bench.keys.delayed, bench.keys.waiting("interactive"), bench.keys.leases):
        assert bench.members(key) == {}
    assert bench.events(job.id)[-1] == "cancelled"
    before = bench.contents()
    assert bench.store.cancel(job) == Ending("cancelled"), "a repetition is confirmed"
    assert bench.contents() == before


def test_the_last_holder_of_a_job_cancelled_while_queued_has_no_say_in_it(bench: Bench) -> None:
    claim = bench.claimed()
    bench.released(claim, HOUR_MS)
    bench.store.cancel(claim.job)
    before = bench.contents()
    assert [bench.store.finish(claim, result) for result in RESULTS] == [TOO_LATE] * 3
    assert bench.released(claim) == "refused"
    assert bench.contents() == before


def test_a_running_job_is_asked_to_stop_once(bench: Bench) -> None:
    claim = bench.claimed()
    assert bench.store.cancel(claim.job) == Ending("requested")
    job = bench.store.get(claim.job.id)
    assert (job.state, job.cancel_requested) == (JobState.RUNNING, True)
    assert bench.events(job.id)[-1] == "cancel_requested"
    before = bench.contents()
    assert bench.store.cancel(claim.job) == Ending("requested")
    assert bench.contents() == before


@pytest.mark.parametrize("result", [SUCCEEDED, FAILED], ids=lambda result: result.state)
def test_a_job_that_ended_before_its_cancel_arrived_keeps_its_result(bench: Bench, result: Result) -> None:
    claim = bench.claimed()
    bench.store.cancel(claim.job)
    assert bench.store.finish(claim, result) == FINISHED
    with pytest.raises(JobFinished, match=result.state):
        bench.store.cancel(claim.job)
    job = bench.store.get(claim.job.id)
    assert (job.state, job.images, job.error) == (result.state, result.images, result.error)


def test_a_missing_job_cannot_be_cancelled(bench: Bench) -> None:
    never_stored = new_job()
    job = Job.model_validate(bench.submit().model_dump() | {"id": never_stored.id})
    before = bench.contents()
    with pytest.raises(JobNotFound):
        bench.store.cancel(job)
    assert bench.contents() == before


def test_errors_and_ids_of_any_text_come_back_unchanged(bench: Bench) -> None:
    text = 'naïve “quote” / \\ "x" \n\t\x07\x7f\x00 😀 \u2028 é'
    claim = bench.claimed()
    error = REFUSED.model_copy(update={"message": text})
    bench.store.finish(claim, FAILED.model_copy(update={"error": error, "request_id": text, "notes": (text,)}))
    job = bench.store.get(claim.job.id)
    assert job.error == error
    assert job.notes == (text,)
    assert (job.attempts[0].error, job.attempts[0].request_id) == (text, text)


def test_half_an_emoji_in_a_provider_s_text_does_not_keep_a_job_from_ending(bench: Bench) -> None:
    text = "Your prompt \ud83d was refused"
    claim = bench.claimed()
    error = REFUSED.model_copy(update={"message": text})
    assert bench.released(claim) == "released"
    claim = bench.claimed(claim.job)
    assert (
        bench.store.finish(claim, FAILED.model_copy(update={"error": error, "request_id": text, "notes": (text,)}))
        == FINISHED
    )
    job = bench.store.get(claim.job.id)
    shown = "Your prompt ? was refused"
    assert job.error is not None
    assert (job.error.message, job.notes, job.attempts[1].error, job.attempts[1].request_id) == (
        shown,
        (shown,),
        shown,
        shown,
    )
    assert shown in job.model_dump_json()
