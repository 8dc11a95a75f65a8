"""Terminal states never change: every script against every way to have ended."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from batch_store_kit import new_batch
from store_kit import (
    FAILED,
    FINISHED,
    GIVEN_UP,
    HOUR_MS,
    LONG_AGO_MS,
    NOTHING_DUE,
    OWNER,
    RESULTS,
    SUCCEEDED,
    Bench,
    new_job,
)

import imagequeue.store
from imagequeue.batches import Batch
from imagequeue.errors import JobFinished
from imagequeue.jobs import AttemptOutcome, Claim, Job, JobState, PartialImage
from imagequeue.parcels import PackedLine, Parcel
from imagequeue.store.attempts import lease_of
from imagequeue.store.parcels import ParcelStore
from imagequeue.store.reuse import Reused, ReuseStore
from imagequeue.store.scripts import source

Ending = Callable[[Bench], Claim]
Action = Callable[[Bench, Claim], object]


def _finished(index: int) -> Ending:
    def end(bench: Bench) -> Claim:
        claim = bench.claimed(bench.store.submit(new_job(id="job_ended")))
        assert bench.store.finish(claim, RESULTS[index]) == FINISHED
        return claim

    return end


def _cancelled_unclaimed(bench: Bench) -> Claim:
    job = bench.store.submit(new_job(id="job_ended"))
    bench.store.cancel(job)
    return Claim(job=job, holder="holder-1")


def _cancelled_while_delayed(bench: Bench) -> Claim:
    claim = bench.claimed(bench.store.submit(new_job(id="job_ended")))
    bench.released(claim, HOUR_MS)
    bench.store.cancel(claim.job)
    return claim


def _cancelled_and_lost(bench: Bench) -> Claim:
    claim = bench.claimed(bench.store.submit(new_job(id="job_ended")))
    bench.store.cancel(claim.job)
    assert bench.taken_back(claim) == "cancelled"
    return claim


def _failed_of_unknown_outcome(bench: Bench) -> Claim:
    claim = bench.claimed(bench.store.submit(new_job(id="job_ended", on_unknown_outcome="fail")))
    bench.store.start_call(claim, "direct")
    assert bench.taken_back(claim) == "failed"
    return claim


def _failed_of_lost_workers(bench: Bench) -> Claim:
    job = bench.store.submit(new_job(id="job_ended"))
    while True:
        claim = bench.claimed(job)
        if bench.taken_back(claim) == "failed":
            return claim


ENDINGS: dict[str, Ending] = {
    "succeeded": _finished(0),
    "failed": _finished(1),
    "cancelled by its worker": _finished(2),
    "cancelled unclaimed": _cancelled_unclaimed,
    "cancelled while delayed": _cancelled_while_delayed,
    "cancelled and lost": _cancelled_and_lost,
    "failed of unknown outcome": _failed_of_unknown_outcome,
    "failed of lost workers": _failed_of_lost_workers,
}


def _claim(bench: Bench, claim: Claim) -> object:
    return [bench.claim(claim.job.id, holder) for holder in (claim.holder, "holder-new")]


def _finish(bench: Bench, claim: Claim) -> object:
    others = [claim, Claim(job=claim.job, holder="holder-new")]
    return [bench.store.finish(holder, result) for holder in others for result in (SUCCEEDED, FAILED, GIVEN_UP)]


def _release(bench: Bench, claim: Claim) -> object:
    return [bench.released(claim, delay_ms, outcome) for delay_ms in (0, HOUR_MS) for outcome in AttemptOutcome]


def _cancel(bench: Bench, claim: Claim) -> None:
    with suppress(JobFinished):
        bench.store.cancel(claim.job)


def _sweep(bench: Bench, claim: Claim) -> None:
    """Even with a lease, a delay and an outbox entry that should not be there."""
    bench.store.sweep(claim.job.id)
    bench.store.sweep(claim.job.id, lease_of(claim))
    bench.raw.zadd(bench.keys.leases, {lease_of(claim): LONG_AGO_MS})
    bench.raw.zadd(bench.keys.delayed, {claim.job.id: LONG_AGO_MS})
    assert bench.store.sweep(claim.job.id) == "nothing"
    assert bench.store.sweep(claim.job.id, lease_of(claim)) == "nothing"


def _submit_line(bench: Bench, claim: Claim) -> None:
    batch = Batch.model_validate({**new_batch(1).model_dump(), "state": "running", "created_at": 1, "updated_at": 1})
    assert bench.feed.begin([(batch, 0, new_job(id=claim.job.id, lane="batch"))]) == ["stored"]


def _land_line(bench: Bench, claim: Claim) -> None:
    parcel = Parcel(batch_id="b", owner=OWNER, endpoint="/v1/images/generations", first=0, end=1, lines=1, reserved=1)
    line = PackedLine(number=0, job=new_job(id=claim.job.id, lane="batch"))
    landed = ParcelStore(bench.client, bench.keys).land(parcel, line, "worker-2", HOUR_MS)
    assert isinstance(landed, Job)


def _reused(claim: Claim) -> Reused:
    return Reused(new_job(id=claim.job.id), claim.job, images=(), folder="copies/1", notes=())


def _reuse(bench: Bench, claim: Claim) -> None:
    assert ReuseStore(bench.client, bench.keys, bench.store).store(_reused(claim))


def _reuse_line(bench: Bench, claim: Claim) -> None:
    batch = Batch.model_validate({**new_batch(1).model_dump(), "state": "running", "created_at": 1, "updated_at": 1})
    assert bench.feed.begin([(batch, 0, _reused(claim))]) == ["reused"]


PREVIEW = PartialImage(partial_index=0, key="images/job/1/p.png", mime_type="image/png", size="1x1", size_bytes=1)
ACTIONS: dict[str, Action] = {
    "submit": lambda bench, claim: bench.store.submit(new_job(id=claim.job.id)),
    "claim": _claim,
    "start_call": lambda bench, claim: bench.store.start_call(claim, "direct"),
    "renew": lambda bench, claim: bench.store.renew("worker-1", [lease_of(claim)], HOUR_MS),
    "answered": lambda bench, claim: bench.store.answered(claim),
    "leave_spooled": lambda bench, claim: bench.store.leave_spooled(claim),
    "adopt": lambda bench, claim: bench.store.adopt(claim.job, claim.attempt, "worker-2", "worker-2/h", HOUR_MS),
    "finish": _finish,
    "release": _release,
    "cancel": _cancel,
    "sweep": _sweep,
    "due": lambda bench, _claim: bench.due(),
    "submit_line": _submit_line,
    "land_line": _land_line,
    "reuse": _reuse,
    "reuse_line": _reuse_line,
    "partial_image": lambda bench, claim: bench.store.partial_image(claim, PREVIEW),
}


def test_every_script_is_tried() -> None:
    folder = Path(imagequeue.store.__path__[0], "scripts")
    names = {path.stem for path in folder.glob("[!_]*.lua")}
    without_jobs = {"fork", "close_session", "grant", "slow_down", "open_breaker", "unhinted", "handed_over"}
    without_jobs |= {name for name in names if name.startswith("webhook_")}
    without_jobs |= {"archive_session", "remove_session", "use_input", "drop_input", "rotate_api_key", "spending"}
    without_jobs |= {
        "attend_call",
        "take_call",
        "create_batch",
        "steer_batch",
        "again_batch",
        "fail_line",
        "archive_batch",
    }
    without_jobs |= {"ship", "give_back", "parcel_claim", "parcel_note", "parcel_done"}
    take_the_whole_record_away = {"archive", "leave", "remove"}
    assert names - without_jobs - take_the_whole_record_away == set(ACTIONS)
    assert all("job" not in source(name).key_names for name in without_jobs)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_changes_a_job_that_has_ended(bench: Bench, ending: str, action: str) -> None:
    claim = ENDINGS[ending](bench)
    assert JobState(bench.fields("job_ended")["state"]).terminal
    before = bench.contents()
    ACTIONS[action](bench, claim)
    after = bench.contents()
    after.pop("workers", None)  # renew shows that the worker lives, whatever it asks for
    after.pop("sweeps", None)  # due notes that somebody sweeps
    assert after == before
    assert bench.due() == NOTHING_DUE
