"""What the tests of batches in the store share: a batch, its lines as jobs, and books that have to balance."""

from __future__ import annotations

from typing import Final

from store_kit import OWNER, Bench, new_job

from imagequeue.batches import Batch, NewBatch, new_batch_id
from imagequeue.jobs import Claim, Job, JobError, NewJob, PriceEstimate
from imagequeue.store.feeding import Begun
from imagequeue.store.limits import micro

HIGH: Final = micro(new_job().estimate.high_usd)
EXPECTED: Final = micro(new_job().estimate.expected_usd)
GONE: Final = JobError(code="input_missing", message="there is no such upload")


def new_batch(lines: int, **changes: object) -> NewBatch:
    """A batch that is not stored."""
    defaults: dict[str, object] = {
        "id": new_batch_id(),
        "owner": OWNER,
        "lines": lines,
        "images": lines,
        "estimate": PriceEstimate(low_usd=0, expected_usd=lines, high_usd=lines),
        "window": 100,
    }
    return NewBatch.model_validate(defaults | changes)


def store_batch(bench: Bench, lines: int, **changes: object) -> Batch:
    """A batch that runs."""
    new = new_batch(lines, **changes)
    bench.batches.begin_draft(new.id)
    stored = bench.batches.create(new)
    assert stored
    return bench.batches.get(stored)


def begin(bench: Bench, batch: Batch, line: int, outcome: NewJob | JobError | None = None) -> Begun:
    """Try to begin a line, by default as a job."""
    if outcome is None:
        outcome = new_job(owner=batch.owner, key_id=batch.key_id, lane="batch", custom_id=f"line-{line}")
    (answer,) = bench.feed.begin([(batch, line, outcome)])
    return answer


def begun(bench: Bench, batch: Batch, line: int) -> Job:
    """The job of a line that has to begin."""
    assert begin(bench, batch, line) == "stored"
    (record,) = bench.batches.lines(batch.id, line, 1)
    assert record.job_id
    return bench.store.get(record.job_id)


def called(bench: Bench, batch: Batch, line: int) -> Claim:
    """A claim of a line's job whose call has left."""
    claim = bench.claimed(begun(bench, batch, line), holder=f"holder-{line}")
    assert bench.store.start_call(claim, "direct") == "started"
    return claim


def states(bench: Bench, batch: Batch) -> str:
    """How the lines that have begun stand, a letter each."""
    return "".join(line.state[0] for line in bench.batches.lines(batch.id, 0, batch.lines))


def now(bench: Bench, batch: Batch) -> Batch:
    """The batch as it is."""
    return bench.batches.get(batch.id)
