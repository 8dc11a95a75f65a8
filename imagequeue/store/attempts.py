"""What only workers do with jobs: claim, call, spool, finish, release, and take back what a dead worker left."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from imagequeue.durations import call_class
from imagequeue.jobs import LANES, AttemptOutcome, Claim, Job, JobError, Lane, PartialImage, Result
from imagequeue.rate_limits import RateLimits
from imagequeue.sessions import SessionImage
from imagequeue.settings import Settings
from imagequeue.sizes import parse_size
from imagequeue.store.connection import RedisClient, translated
from imagequeue.store.job_codec import job_from_answer, result_fields, to_json
from imagequeue.store.jobs import CANCELLED, OUTCOME_UNKNOWN, WORKER_LOST, Ending, JobStore, ending_of, flat
from imagequeue.store.keys import Keys
from imagequeue.store.reuse import reuse_field
from imagequeue.views import partial_image_path

_PAGE: Final = 1000
"""Queued jobs looked at in one script call."""
_CALLS_REMEMBERED: Final = 20
"""So many calls of a class make the average of how long they take."""


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """How often a job is taken back from silent workers, and repeated after calls of unknown fate.

    A job that lost `suspect_from` workers is a suspect: a worker runs one of them at a time, so that the next loss
    tells whose fault it is. `spool_ms`: how long nobody calls again for a job whose answer lies on the disk of a
    worker that is gone.
    """

    losses: int = 3
    suspect_from: int = 2
    unknowns: int = 1
    spool_ms: int = 600_000

    @classmethod
    def of(cls, settings: Settings) -> RetryLimits:
        """The limits that the settings name."""
        return cls(
            losses=settings.max_worker_losses,
            suspect_from=max(1, settings.max_worker_losses - 1),
            unknowns=settings.unknown_retries,
            spool_ms=int(settings.spool_hold_seconds * 1000),
        )


@dataclass(frozen=True, slots=True)
class Due:
    """What a sweep has to look at: job ids, and members of the leases set."""

    unsent: tuple[str, ...]
    lapsed: tuple[str, ...]
    delayed: tuple[str, ...]
    halted: tuple[str, ...]  # job_id:reason
    idle_sessions: tuple[str, ...]
    spared_ms: int = 0  # for so long, lapsed leases are left to those who may renew them after an outage


Swept = Literal["queued", "spooled", "failed", "cancelled", "nothing"]


class AttemptStore(JobStore):
    """The records of jobs, for who works on them. Every method raises StoreUnavailable when Redis does not answer."""

    def __init__(
        self, client: RedisClient, keys: Keys, limits: RetryLimits | None = None, rates: RateLimits | None = None
    ) -> None:
        super().__init__(client, keys)
        self._limits = limits or RetryLimits()
        self._rates = rates or RateLimits()

    def claim(self, job_id: str, worker: str, holder: str, lease_ms: int) -> Claim | None:
        """Take a queued job for the worker process `worker`; None when it is not there to be taken, or not now.

        `holder` is unique for this call, see `new_holder`: a repetition by the same holder gives the same claim.
        """
        routing = self._routing(job_id)
        if routing is None:
            return None
        lane, keys = routing
        keys = {**keys, "suspect": self._keys.suspect(_worker_of(holder))}
        who = [job_id, worker, holder, lease_ms, lane, self._limits.suspect_from]
        answer, *record = cast("list[Any]", self._scripts.run("claim", keys, [*who, *self._rates.arguments]))
        if not record:
            return None
        return Claim(job=job_from_answer(record[0]), holder=holder, probe=answer == "probe")

    def start_call(self, claim: Claim, route: str) -> Literal["started", "cancelled", "refused"]:
        """Note, before the request leaves, that money may be spent."""
        keys = self._keys_of(claim.job)
        answer = self._scripts.run("start_call", keys, [claim.attempt, claim.holder, route])
        return cast("Literal['started', 'cancelled', 'refused']", answer)

    def answered(self, claim: Claim) -> Literal["noted", "refused"]:
        """Note that the whole answer is on this worker's disk: if the worker dies now, nobody may call again for it."""
        job = claim.job
        call = call_class(job.model, parse_size(job.request.size), job.request.quality)
        arguments = [claim.attempt, claim.holder, call, _CALLS_REMEMBERED]
        answer = self._scripts.run("answered", self._keys_of(job), arguments)
        return cast("Literal['noted', 'refused']", answer)

    def partial_image(self, claim: Claim, partial: PartialImage) -> Literal["noted", "refused"]:
        """Note that a preview of the unfinished image is in S3, and tell of it."""
        url = partial_image_path(claim.job.id, partial.partial_index)
        arguments = [claim.job.id, claim.attempt, claim.holder, partial.model_dump_json(), url]
        answer = self._scripts.run("partial_image", self._keys_of(claim.job), arguments)
        return cast("Literal['noted', 'refused']", answer)

    def leave_spooled(self, claim: Claim) -> Literal["left", "refused"]:
        """Leave a job whose answer is on this disk to the worker that works on the disk next."""
        arguments = [claim.job.id, claim.attempt, claim.holder, self._limits.spool_ms]
        return cast(
            "Literal['left', 'refused']", self._scripts.run("leave_spooled", self._keys_of(claim.job), arguments)
        )

    def adopt(
        self, job: Job, attempt: int, worker: str, holder: str, lease_ms: int
    ) -> Literal["adopted", "held", "over"]:
        """Take a running job that nobody holds any more and whose answer was found on this disk."""
        arguments = [job.id, attempt, worker, holder, lease_ms, self._limits.suspect_from]
        keys = {**self._keys_of(job), "suspect": self._keys.suspect(_worker_of(holder))}
        return cast("Literal['adopted', 'held', 'over']", self._scripts.run("adopt", keys, arguments))

    def renew(self, worker: str, leases: Sequence[str], lease_ms: int) -> list[str]:
        """Renew a process's leases and show that it lives; gives back the leases that were lost meanwhile."""
        answer = self._scripts.run("renew", self._keys.for_fleet(), [worker, lease_ms, *leases])
        return cast("list[str]", answer)

    def finish(self, claim: Claim, result: Result, session_image: SessionImage | None = None) -> Ending:
        """End a job; a turn hands `session_image` to its session. `refused`: the claim is not valid any more."""
        image = session_image.model_dump_json() if session_image else ""
        image_format = session_image.output_format if session_image else ""
        patch = _attempt_patch(result.outcome, result.request_id, result.error, result.cost_usd_estimated)
        notes = tuple(dict.fromkeys((*claim.job.notes, *result.notes)))  # those of submit stay
        written = result_fields(result.model_copy(update={"notes": notes}))
        keys = {
            **self._keys_of(claim.job),
            "index_final": self._keys.index(claim.job.owner, result.state),
            "suspect": self._keys.suspect(_worker_of(claim.holder)),
        }
        holder = [claim.job.id, claim.attempt, claim.holder]
        again = reuse_field(claim.job.model_copy(update={"inputs": result.inputs, "images": result.images}))
        arguments = [*holder, result.state.value, patch, image, image_format, again, *flat(written)]
        return ending_of(self._scripts.run("finish", keys, arguments))

    def release(
        self, claim: Claim, outcome: AttemptOutcome, error: JobError, delay_ms: int, request_id: str | None
    ) -> Literal["released", "cancelled", "unaffordable", "refused"]:
        """Put a claimed job back into the queue, to be tried again after `delay_ms`."""
        cost = 0.0 if outcome in (AttemptOutcome.BUSY, AttemptOutcome.LOST) else None
        patch = _attempt_patch(outcome, request_id, error, cost)
        arguments = [claim.job.id, claim.attempt, claim.holder, delay_ms, patch]
        keys = {**self._keys_of(claim.job), "suspect": self._keys.suspect(_worker_of(claim.holder))}
        answer = self._scripts.run("release", keys, arguments)
        return cast("Literal['released', 'cancelled', 'unaffordable', 'refused']", answer)

    def due(self, outbox_age_ms: int, idle_ms: int, lease_ms: int, limit: int) -> Due:
        """What a sweep has to look at now; outbox entries and idle sessions count from the given ages on."""
        answer = self._scripts.run("due", self._keys.for_fleet(), [outbox_age_ms, idle_ms, lease_ms, limit])
        *lists, spared_ms = cast("tuple[*tuple[list[str], ...], int]", answer)
        unsent, lapsed, delayed, halted, idle = map(tuple, lists)
        return Due(unsent, lapsed, delayed, halted, idle, spared_ms)

    def sweep(self, job_id: str, lease: str = "", lease_ms: int = 15_000) -> Swept:
        """Take a job back from a lapsed lease, or put one whose delay is over into the outbox."""
        routing = self._routing(job_id)
        if routing is None:
            with translated():
                self._client.zrem(self._keys.delayed, job_id)
                self._client.zrem(self._keys.leases, lease)
            return "nothing"
        keys = {**routing[1], "suspect": self._keys.suspect(_worker_of(lease))}
        errors = [error.model_dump_json() for error in (WORKER_LOST, OUTCOME_UNKNOWN, CANCELLED)]
        limits = [self._limits.losses, self._limits.unknowns, self._limits.spool_ms, lease_ms]
        return cast("Swept", self._scripts.run("sweep", keys, [job_id, lease, *limits, *errors]))

    def hintless(self) -> bool:
        """Whether any queued job should have a hint in the broker: it neither waits for a time nor for the limiter."""
        pipeline = self._client.pipeline(transaction=False)
        for lane in LANES:
            pipeline.zcard(self._keys.waiting(lane))
        for lane in LANES:
            pipeline.zcard(self._keys.parked(lane))
        pipeline.zcard(self._keys.delayed)
        with translated():
            *waiting, interactive_parked, batch_parked, delayed = cast("list[int]", pipeline.execute())
        return sum(waiting) > interactive_parked + batch_parked + delayed

    def unhinted(self, lane: Lane) -> Iterator[str]:
        """Ids of the queued jobs of a lane that should have a hint in the broker, next first."""
        keys = {
            "waiting": self._keys.waiting(lane),
            "delayed": self._keys.delayed,
            "parked": self._keys.parked(lane),
        }
        seen = 0
        while True:
            answer = self._scripts.run("unhinted", keys, [seen, _PAGE])
            looked_at, *ids = cast("tuple[int, *tuple[str, ...]]", answer)
            yield from ids
            seen += looked_at
            if looked_at < _PAGE:
                return


def new_holder(worker: str) -> str:
    """A name for one claim by this worker process."""
    return f"{worker}/{secrets.token_hex(6)}"


def lease_of(claim: Claim) -> str:
    """The member of the leases set that stands for a claim."""
    return f"{claim.job.id}:{claim.attempt}:{claim.holder}"


def job_id_of(lease: str) -> str:
    """The job behind a member of the leases set."""
    return lease.partition(":")[0]


def _worker_of(lease_or_holder: str) -> str:
    """The worker process behind a member of the leases set, or behind a holder."""
    return lease_or_holder.rpartition(":")[2].partition("/")[0]


def _attempt_patch(outcome: AttemptOutcome, request_id: str | None, error: JobError | None, cost: float | None) -> str:
    patch = {
        "outcome": outcome.value,
        "request_id": request_id,
        "code": error.code if error else None,
        "error": error.message if error else None,
        "cost_usd_estimated": cost,
    }
    return to_json({name: value for name, value in patch.items() if value is not None})
