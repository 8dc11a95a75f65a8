"""From submit to the call: joining the queue, the one winner of a claim, marks and leases."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from store_kit import HOUR_MS, LONG_AGO_MS, OWNER, Bench, new_job

from imagequeue.errors import JobNotFound
from imagequeue.jobs import Claim, JobState
from imagequeue.store.attempts import job_id_of, lease_of


def test_submit_stores_queues_indexes_and_announces_the_job(bench: Bench) -> None:
    new = new_job()
    job = bench.store.submit(new)
    assert (job.id, job.state, job.attempt, job.attempts) == (new.id, JobState.QUEUED, 0, ())
    assert (job.request, job.fingerprint, job.estimate) == (new.request, new.fingerprint, new.estimate)
    assert bench.store.get(job.id) == job
    assert bench.store.positions([job])[0] == 1
    assert list(bench.members(bench.keys.outbox)) == [job.id]
    assert bench.store.list_ids(OWNER, None, None, 10) == [job.id]
    assert bench.indexed_as(job.id) == [JobState.QUEUED]
    assert bench.events(job.id) == ["queued"]
    assert bench.changes() == [(job.id, "queued")]


def test_created_at_is_the_time_of_redis(bench: Bench) -> None:
    before, _ = bench.client.time()
    job = bench.submit()
    after, _ = bench.client.time()
    assert before * 1000 <= job.created_at <= (after + 1) * 1000


def test_a_repeated_submit_changes_nothing(bench: Bench) -> None:
    new = new_job()
    first = bench.store.submit(new)
    before = bench.contents()
    assert bench.store.submit(new) == first
    assert bench.contents() == before


def test_a_repeated_submit_of_a_running_job_changes_nothing(bench: Bench) -> None:
    new = new_job()
    running = bench.claimed(bench.store.submit(new)).job
    before = bench.contents()
    assert bench.store.submit(new) == running
    assert bench.contents() == before


def test_sent_clears_the_outbox_only(bench: Bench) -> None:
    job = bench.submit()
    before = bench.contents()
    bench.store.sent(job.id)
    assert bench.contents() == {key: value for key, value in before.items() if key != "outbox"}


def test_a_missing_job_is_not_found(bench: Bench) -> None:
    with pytest.raises(JobNotFound, match="job_unknown"):
        bench.store.get("job_unknown")
    assert bench.claim("job_unknown") is None
    assert bench.store.lane("job_unknown") is None


def test_an_id_that_spells_another_key_of_a_job_is_not_found(bench: Bench) -> None:
    job = bench.submit()
    with pytest.raises(JobNotFound):
        bench.store.get(f"{job.id}:events")
    assert bench.claim(f"{job.id}:events") is None


def test_a_claim_takes_the_job_out_of_the_queue_and_gives_a_lease(bench: Bench) -> None:
    job = bench.submit()
    claim = bench.claimed(job)
    assert (claim.job.id, claim.attempt, claim.job.state) == (job.id, 1, JobState.RUNNING)
    assert bench.store.positions([claim.job])[0] is None
    assert bench.members(bench.keys.outbox) == bench.members(bench.keys.waiting("interactive")) == {}
    assert bench.indexed_as(job.id) == [JobState.RUNNING]
    (attempt,) = claim.job.attempts
    assert (attempt.number, attempt.worker, attempt.call_started, attempt.outcome) == (1, "worker-1", None, None)
    assert attempt.started == claim.job.started_at
    assert bench.members(bench.keys.leases) == {lease_of(claim): attempt.started + HOUR_MS}
    assert bench.events(job.id) == ["queued", "running"]
    assert bench.last_event_data(job.id) == {"state": "running", "attempt": 1, "at": attempt.started}


def test_a_lease_names_its_job(bench: Bench) -> None:
    claim = bench.claimed()
    assert job_id_of(lease_of(claim)) == claim.job.id


def test_attempts_count_from_one_and_the_first_start_stays(bench: Bench) -> None:
    job = bench.submit()
    first = bench.claimed(job, "holder-1")
    for number in (2, 3, 4):
        bench.released(bench.claimed(job, f"holder-{number}") if number > 2 else first)
        assert bench.store.get(job.id).state is JobState.QUEUED
    last = bench.claimed(job, "holder-5")
    assert last.attempt == 4
    assert [attempt.number for attempt in last.job.attempts] == [1, 2, 3, 4]
    assert last.job.started_at == first.job.started_at


def test_of_many_simultaneous_claims_one_wins(bench: Bench) -> None:
    job = bench.submit()
    together = threading.Barrier(8)

    def claim(number: int) -> Claim | None:
        together.wait()
        return bench.claim(job.id, f"holder-{number}")

    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(claim, range(8)))
    (winner,) = [claim for claim in claims if claim]
    assert winner.attempt == 1
    assert list(bench.members(bench.keys.leases)) == [lease_of(winner)]


def test_a_claim_repeated_by_its_holder_gives_the_same_attempt_and_changes_nothing(bench: Bench) -> None:
    claim = bench.claimed(holder="holder-1")
    before = bench.contents()
    assert bench.claim(claim.job.id, "holder-1") == claim
    assert bench.contents() == before


def test_a_claim_of_a_running_job_by_another_holder_is_refused(bench: Bench) -> None:
    claim = bench.claimed(holder="holder-1")
    before = bench.contents()
    assert bench.claim(claim.job.id, "holder-2") is None
    assert bench.contents() == before


def test_a_job_whose_retry_is_not_due_cannot_be_claimed(bench: Bench) -> None:
    claim = bench.claimed()
    bench.released(claim, delay_ms=HOUR_MS)
    before = bench.contents()
    assert bench.claim(claim.job.id, "holder-2") is None
    assert bench.contents() == before
    bench.end_delay(claim.job.id)
    again = bench.claimed(claim.job, "holder-2")
    assert (again.attempt, again.job.not_before) == (2, None)
    assert bench.members(bench.keys.delayed) == {}


def test_start_call_marks_the_attempt_and_may_be_repeated(bench: Bench) -> None:
    claim = bench.claimed()
    assert bench.store.start_call(claim, "direct") == "started"
    (attempt,) = bench.store.get(claim.job.id).attempts
    assert attempt.call_started is not None
    assert attempt.call_started >= attempt.started
    assert attempt.route == "direct"
    assert bench.store.start_call(claim, "direct") == "started"


def test_start_call_is_refused_to_a_holder_whose_job_was_taken_back(bench: Bench) -> None:
    stale = bench.claimed(holder="holder-1")
    assert bench.taken_back(stale) == "queued"
    before = bench.contents()
    assert bench.store.start_call(stale, "direct") == "refused"
    assert bench.contents() == before
    bench.claimed(stale.job, "holder-2")
    before = bench.contents()
    assert bench.store.start_call(stale, "direct") == "refused"
    assert bench.contents() == before


def test_start_call_is_refused_to_another_holder_of_the_same_attempt(bench: Bench) -> None:
    claim = bench.claimed(holder="holder-1")
    assert bench.store.start_call(Claim(job=claim.job, holder="holder-2"), "direct") == "refused"
    assert bench.store.get(claim.job.id).attempts[0].call_started is None


def test_start_call_stops_a_call_that_was_cancelled_before_it_left(bench: Bench) -> None:
    claim = bench.claimed()
    bench.store.cancel(claim.job)
    before = bench.contents()
    assert bench.store.start_call(claim, "direct") == "cancelled"
    assert bench.contents() == before


def test_renew_prolongs_the_leases_that_are_held(bench: Bench) -> None:
    claim = bench.claimed()
    bench.lapse(claim)
    assert bench.store.renew("worker-1", [lease_of(claim)], HOUR_MS) == []
    assert bench.members(bench.keys.leases)[lease_of(claim)] > LONG_AGO_MS + HOUR_MS
    assert bench.due().lapsed == ()


def test_renew_reports_lost_leases_and_does_not_revive_them(bench: Bench) -> None:
    kept, lost = bench.claimed(), bench.claimed()
    bench.taken_back(lost)
    assert bench.store.renew("worker-1", [lease_of(lost), lease_of(kept)], HOUR_MS) == [lease_of(lost)]
    assert list(bench.members(bench.keys.leases)) == [lease_of(kept)]


def test_renew_shows_that_the_worker_lives_until_it_leaves(bench: Bench) -> None:
    assert bench.fleet.live_workers(HOUR_MS) == []
    assert bench.store.renew("worker-1", [], HOUR_MS) == []
    bench.raw.zadd(bench.keys.workers, {"worker-silent": LONG_AGO_MS})
    assert bench.fleet.live_workers(HOUR_MS) == ["worker-1"]
    bench.store.renew("worker-2", [], HOUR_MS)
    assert set(bench.members(bench.keys.workers)) == {"worker-1", "worker-2"}, "a worker silent for a day is forgotten"
    bench.fleet.worker_left("worker-1")
    assert bench.fleet.live_workers(HOUR_MS) == ["worker-2"]


def test_the_responses_route_is_remembered_for_a_time(bench: Bench) -> None:
    assert bench.fleet.edit_route() == "direct"
    bench.fleet.remember_responses_route(HOUR_MS)
    assert bench.fleet.edit_route() == "responses"
    assert 0 < bench.raw.pttl(bench.keys.edit_route) <= HOUR_MS


def test_one_process_sweeps_at_a_time(bench: Bench) -> None:
    assert bench.fleet.may_sweep("worker-1", HOUR_MS)
    assert not bench.fleet.may_sweep("worker-2", HOUR_MS)
    assert 0 < bench.raw.pttl(bench.keys.sweeper) <= HOUR_MS


def test_a_probe_is_answered_by_name_and_forgotten_in_time(bench: Bench) -> None:
    assert bench.fleet.probe_answer("nonce") is None
    bench.fleet.answer_probe("nonce", "worker-1")
    assert bench.fleet.probe_answer("nonce") == "worker-1"
    assert bench.raw.pttl(bench.keys.probe("nonce")) > 0
