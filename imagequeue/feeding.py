"""The fair scheduler of batches: which line begins next, and how it becomes a job.

Each free place goes to the batch with the highest priority, then to the owner with the fewest lines in flight, then to
the batch with the fewest. Places are few, so that whoever comes later has a turn at once: see `places`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

import structlog

from imagequeue.batches import Batch, BatchNotFound
from imagequeue.drafts import Drafts
from imagequeue.errors import ImageNotFound, ImageQueueError, Unavailable
from imagequeue.estimates import BATCH_SHARE
from imagequeue.jobs import JobError, NewJob
from imagequeue.manifests.lines import ManifestLine
from imagequeue.manifests.store import ManifestStore
from imagequeue.queue import Dispatcher
from imagequeue.reusing import Reusing
from imagequeue.store.batches import BatchStore
from imagequeue.store.feeding import FeedStore, Fleet, Hungry, Outcome
from imagequeue.submission import Terms

MOST_QUEUED: Final = 20
"""Lines' jobs that wait for a worker or for the limiter: a batch that comes later has its turn behind so few."""
_RESOLVED_AT_ONCE: Final = 8
_RESUMED_AT_ONCE: Final = 100
_log = structlog.stdlib.get_logger(__name__)
Pick = tuple[Batch, int]


def places(fleet: Fleet) -> int:
    """How many lines may begin now."""
    if fleet.broken or not fleet.slots:
        return 0
    most_flying = max(1, int(fleet.slots * BATCH_SHARE))
    return max(0, min(most_flying - sum(fleet.flying.values()), MOST_QUEUED - fleet.queued))


def shares(hungry: Sequence[Hungry], flying: Mapping[str, int], free: int) -> Iterator[Pick]:
    """Batch and line for each of `free` places, in order; fewer when windows are full or lines run out."""
    flying = Counter(flying)
    taken = Counter[str]()
    left = {one.batch.id: one for one in hungry if one.next_lines}
    for _ in range(free):
        open_ones = [
            one
            for one in left.values()
            if taken[one.batch.id] < len(one.next_lines) and _flying(one.batch) + taken[one.batch.id] < one.batch.window
        ]
        if not open_ones:
            return
        batch = min(open_ones, key=lambda one: _rank(one.batch, flying, taken)).batch
        yield batch, left[batch.id].next_lines[taken[batch.id]]
        taken[batch.id] += 1
        flying[batch.owner] += 1


def _rank(batch: Batch, flying: Mapping[str, int], taken: Mapping[str, int]) -> tuple[int, int, int, str]:
    return -batch.priority, flying[batch.owner], _flying(batch) + taken[batch.id], batch.id


def _flying(batch: Batch) -> int:
    """Lines in flight that take a place here."""
    return batch.in_flight - batch.at_openai


class Feed:
    """Begins lines, round by round; close it when done."""

    def __init__(
        self,
        store: FeedStore,
        batches: BatchStore,
        manifests: ManifestStore,
        drafts: Drafts,
        reusing: Reusing,
        dispatcher: Dispatcher,
        *,
        lease_ms: int,
    ) -> None:
        self._store = store
        self._batches = batches
        self._manifests = manifests
        self._drafts = drafts
        self._reusing = reusing
        self._dispatcher = dispatcher
        self._lease_ms = lease_ms
        self._pool = ThreadPoolExecutor(_RESOLVED_AT_ONCE, thread_name_prefix="feed")

    def round(self) -> int:
        """Begin as many lines as there are places; how many became jobs, or ended because they could not.

        Raises:
            StoreUnavailable, ObjectsUnavailable: Redis or S3 does not answer; the next round goes on.
        """
        fleet = self._store.fleet(self._lease_ms)
        for batch_id in self._store.resuming(fleet.now, _RESUMED_AT_ONCE):
            with suppress(BatchNotFound):
                self._batches.resume_due(batch_id, self._store.owner(batch_id))
        free = places(fleet)
        picks = list(shares(self._store.hungry(), fleet.flying, free)) if free else []
        if not picks:
            return 0
        lines = list(zip(picks, self._pool.map(self._outcome, picks), strict=True))
        begun = self._store.begin([(batch, number, outcome) for (batch, number), outcome in lines])
        for ((batch, number), outcome), answer in zip(lines, begun, strict=True):
            if answer == "stored" and isinstance(outcome, NewJob):
                self._dispatcher.dispatch(outcome.id, outcome.lane)
            elif answer == "failed":
                _log.warning("line_failed", batch=batch.id, line=number, outcome=outcome)
            elif answer == "paused":
                _log.warning("batch_paused", batch=batch.id, line=number)
        return sum(answer in ("stored", "failed", "reused") for answer in begun)

    def close(self) -> None:
        """End the threads, once what they do is done."""
        self._pool.shutdown(cancel_futures=True)

    def _outcome(self, pick: Pick) -> Outcome:
        """The job of a line, or why there cannot be one: then nothing is spent."""
        batch, number = pick
        try:
            (line,) = self._manifests.lines(batch.id, number, 1)
            draft = draft_of(self._drafts, batch, line)
            return self._reusing.copied(draft) or draft
        except Unavailable:
            raise
        except ImageQueueError as error:
            return JobError(code=error.code, message=str(error), retryable=error.retryable)
        except ValueError:  # no such line
            return JobError(code=ImageNotFound.code, message="The line is not in the batch's manifest any more.")


def draft_of(drafts: Drafts, batch: Batch, line: ManifestLine) -> NewJob:
    """The job of a batch's line, which is not stored yet; raises as `Drafts.draft`."""
    terms = Terms(owner=batch.owner, key_id=batch.key_id)
    draft = drafts.draft(line.request, terms, "batch", line.custom_id)
    return draft.model_copy(update={"retention_ms": batch.retention_ms})
