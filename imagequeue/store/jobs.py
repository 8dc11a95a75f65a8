"""Jobs in Redis: every transition is one Lua script, every answer a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from imagequeue.errors import IdempotencyKeyReused, ImageQueueError, JobFinished, JobNotFound, Quota
from imagequeue.jobs import Idempotency, Job, JobError, JobOutcome, JobState, JobType, Lane, NewJob, outcome_of
from imagequeue.sessions import SessionSubmit
from imagequeue.store.connection import RedisClient, translated
from imagequeue.store.job_codec import (
    OUTCOME_FIELDS,
    job_from_answer,
    job_from_hash,
    new_job_fields,
    outcome_from_fields,
)
from imagequeue.store.keys import Keys
from imagequeue.store.limits import limit_reached, micro, quota
from imagequeue.store.scripts import Scripts

IDEMPOTENCY_MS: Final = 24 * 3_600_000
NO_IDEMPOTENCY_KEY: Final = "none"
CANCELLED: Final = JobError(code="cancelled", message="Cancelled by the client.")
WORKER_LOST: Final = JobError(
    code="worker_lost",
    message="Too many workers died or went silent while they ran this job.",
    retryable=True,
)
OUTCOME_UNKNOWN: Final = JobError(
    code="outcome_unknown",
    message="The call to OpenAI was sent and its answer never came: it may have been billed. "
    "Submit the job again if you accept paying once more.",
    retryable=True,
)
HALT_REASONS: Final = {
    "previous_turn_failed": JobError(
        code="previous_turn_failed",
        message="The turn before this one failed, and this one assumed its image: nothing was spent. "
        "Add the turn again to go on from the session's last good image.",
        retryable=True,
    ),
    "session_ended": JobError(
        code="session_ended", message="The session was ended while this turn waited: nothing was spent."
    ),
}


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of a finish or a cancel, the session's turn that runs next, and whether webhooks are to be told."""

    answer: Literal["finished", "refused", "cancelled", "requested", "missing"]
    next_job_id: str | None = None
    announced: bool = False


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a submit: its job, and what is left of the API key's jobs a minute, if those are limited.

    `waits`: it has joined the queue: its hint is to be sent. `announced`: it has ended, and webhooks are to be told.
    """

    job: Job
    quota: Quota | None = None
    waits: bool = False
    announced: bool = False


class JobStore:
    """The records of jobs.

    Every method raises StoreUnavailable when Redis does not answer; none leaves a half-done transition behind.
    """

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)

    def submit(self, new: NewJob, session: SessionSubmit | None = None) -> Job:
        """As `store`, for who wants the job alone."""
        return self.store(new, session).job

    def store(self, new: NewJob, session: SessionSubmit | None = None) -> Stored:
        """Store a new job, queued and in the outbox; or give the one that came with the same idempotency key before.

        Repeating it with the same id changes nothing.

        Raises:
            SessionNotFound, SessionClosed, SessionFull: the session takes no turn.
            IdempotencyKeyReused: the idempotency key came with another request before.
            LimitReached: the API key may not have one more job now.
        """
        joins = session or SessionSubmit.none()
        fields, session_fields = flat(new_job_fields(new)), flat(joins.fields)
        limits = [joins.mode, joins.idle_ms, joins.most_turns, len(session_fields) // 2]
        once = [new.idempotency.fingerprint if new.idempotency else "", IDEMPOTENCY_MS]
        pays = [new.key_id or "", micro(new.estimate.high_usd)]
        arguments = [new.id, new.session_id or "", *limits, *once, *pays, *session_fields, *fields]
        what, *details = cast("list[Any]", self._scripts.run("submit", self.keys_of_new(new), arguments))
        if what == "replayed":
            return Stored(self.get(details[0]))
        if what != "stored":
            raise _refusal(what, details, joins, new)
        record, waits, *left = details
        return Stored(job_from_answer(record), quota(left), waits=bool(waits))

    def idempotent(self, owner: str, idempotency: Idempotency) -> str | None:
        """The id of the job that came with this idempotency key before; None when it is new.

        Raises:
            IdempotencyKeyReused: it came with another request.
        """
        with translated():
            before = self._client.get(self._keys.idempotency(owner, idempotency.key))
        fingerprint, _, job_id = (before or "").partition(" ")
        if before and fingerprint != idempotency.fingerprint:
            raise IdempotencyKeyReused
        return job_id or None

    def sent(self, job_id: str) -> None:
        """Clear the outbox entry: the broker has the message."""
        with translated():
            self._client.zrem(self._keys.outbox, job_id)

    def give_back(self, job_id: str) -> None:
        """Have the next sweep send the job's hint again: the one who received it will not run it."""
        with translated():
            self._client.zadd(self._keys.outbox, {job_id: 0})

    def get(self, job_id: str) -> Job:
        """Read a job.

        Raises:
            JobNotFound: there is none.
        """
        with translated():
            fields = self._client.hgetall(self._keys.job(job_id))
        if not fields:
            raise JobNotFound(job_id)
        return job_from_hash(fields)

    def get_many(self, job_ids: Sequence[str]) -> list[Job]:
        """Read the jobs that exist, in the order of the ids."""
        if not job_ids:
            return []
        pipeline = self._client.pipeline(transaction=False)
        for job_id in job_ids:
            pipeline.hgetall(self._keys.job(job_id))
        with translated():
            answers = cast("list[dict[str, str]]", pipeline.execute())
        return [job_from_hash(fields) for fields in answers if fields]

    def outcomes(self, job_ids: Sequence[str]) -> dict[str, JobOutcome]:
        """What a report tells of the jobs that exist, by id."""
        pipeline = self._client.pipeline(transaction=False)
        for job_id in job_ids:
            pipeline.hmget(self._keys.job(job_id), [*OUTCOME_FIELDS])
        with translated():
            answers = cast("list[list[str | None]]", pipeline.execute())
        found = {outcome.id: outcome for outcome in map(outcome_from_fields, answers) if outcome}
        others = [job_id for job_id in job_ids if job_id not in found]
        return found | {job.id: outcome_of(job) for job in self.get_many(others)}

    def positions(self, jobs: Sequence[Job]) -> list[int | None]:
        """How many jobs are served before each of these, plus one; None when it does not wait."""
        if not any(job.state is JobState.QUEUED for job in jobs):
            return [None] * len(jobs)
        pipeline = self._client.pipeline(transaction=False)
        pipeline.zcard(self._keys.waiting("interactive"))
        for job in jobs:
            pipeline.zrank(self._keys.waiting(job.lane), job.id)
        with translated():
            interactive, *ranks = cast("list[int | None]", pipeline.execute())
        ahead = {"interactive": 0, "batch": interactive or 0}
        return [
            1 + rank + ahead[job.lane] if rank is not None and job.state is JobState.QUEUED else None
            for job, rank in zip(jobs, ranks, strict=True)
        ]

    def list_ids(self, owner: str, state: JobState | None, after: str | None, limit: int) -> list[str]:
        """Up to `limit` ids of an owner's jobs, newest first, older than the id `after`."""
        with translated():
            newest = f"({after}" if after else "+"
            return self._client.zrevrangebylex(self._keys.index(owner, state), newest, "-", 0, limit)

    def matching(self, job_ids: Sequence[str], state: JobState | None, job_type: JobType | None) -> list[str]:
        """Those of the jobs that have this state and this type, in the order given."""
        pipeline = self._client.pipeline(transaction=False)
        for job_id in job_ids:
            pipeline.hmget(self._keys.job(job_id), ["state", "type"])
        with translated():
            found = cast("list[tuple[str | None, str | None]]", pipeline.execute())
        asked = (state, job_type)
        return [
            job_id
            for job_id, have in zip(job_ids, found, strict=True)
            if all(wanted in (None, value) for wanted, value in zip(asked, have, strict=True))
        ]

    def count(self, owner: str, state: JobState) -> int:
        """How many jobs of an owner are in a state."""
        with translated():
            return self._client.zcard(self._keys.index(owner, state))

    def cancel(self, job: Job, error: JobError = CANCELLED) -> Ending:
        """Cancel a queued job at once, for the reason `error`, or ask a running one's worker to stop.

        Raises:
            JobFinished: it has ended already.
            JobNotFound: it is gone.
        """
        ending = ending_of(self._scripts.run("cancel", self._keys_of(job), [job.id, error.model_dump_json()]))
        if ending.answer == "missing":
            raise JobNotFound(job.id)
        if ending.answer == "finished":
            raise job_finished(self.get(job.id))
        return ending

    def cancel_halted(self, halted: str) -> None:
        """Cancel a turn that was taken out of its session; `halted` is `job_id:reason`."""
        job_id, _, reason = halted.partition(":")
        with suppress(JobNotFound, JobFinished):
            self.cancel(self.get(job_id), HALT_REASONS[reason])
        with translated():
            self._client.zrem(self._keys.halted, halted)

    def halted(self) -> list[str]:
        """`job_id:reason` of the turns that were taken out of their sessions and are not cancelled yet."""
        with translated():
            return self._client.zrange(self._keys.halted, 0, -1)

    def lane(self, job_id: str) -> Lane | None:
        """The job's lane; None when there is no such job."""
        with translated():
            (lane,) = self._client.hmget(self._keys.job(job_id), ["lane"])
        return cast("Lane | None", lane)

    def keys_of_new(self, new: NewJob) -> Mapping[str, str]:
        """The keys that the scripts name which store a job."""
        return {
            **self._keys.for_job(new.id, new.owner, new.lane, new.session_id, new.key_id, None),
            "idempotency": self._keys.idempotency(
                new.owner, new.idempotency.key if new.idempotency else NO_IDEMPOTENCY_KEY
            ),
        }

    def _keys_of(self, job: Job) -> Mapping[str, str]:
        return self._keys.for_job(job.id, job.owner, job.lane, job.session_id, job.key_id, job.batch_id)

    def _routing(self, job_id: str) -> tuple[Lane, Mapping[str, str]] | None:
        """Lane and keys of a job of which only the id is known; what they depend on never changes."""
        with translated():
            owner, lane_name, *belongs = self._client.hmget(
                self._keys.job(job_id), ["owner", "lane", "session_id", "key_id", "batch_id"]
            )
        lane = cast("Lane | None", lane_name)
        return (lane, self._keys.for_job(job_id, owner, lane, *belongs)) if owner and lane else None


def _refusal(what: str, figures: list[int], joins: SessionSubmit, new: NewJob) -> ImageQueueError:
    if what == "idempotency_key_reused":
        return IdempotencyKeyReused()
    if what.startswith("session_"):
        return joins.refusal(what, new.session_id or "")
    return limit_reached(what, figures, new.estimate.high_usd)


def job_finished(job: Job) -> JobFinished:
    """Why a job that has ended is not cancelled."""
    return JobFinished(f"Job {job.id} has ended already ({job.state}); there is nothing to cancel.")


def ending_of(answer: object) -> Ending:
    """What finish and cancel answer."""
    what, next_job_id, *announced = cast(
        "tuple[Literal['finished', 'refused', 'cancelled', 'requested', 'missing'], str, *tuple[int, ...]]", answer
    )
    return Ending(what, next_job_id or None, any(announced))


def flat(fields: Mapping[str, str]) -> list[str]:
    """Fields as scripts take them: name and value in turn."""
    return [part for field in fields.items() for part in field]
