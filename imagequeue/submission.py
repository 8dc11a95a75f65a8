"""How a new job comes into the queue: stored, then announced to the workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from imagequeue.api_keys import LOCAL_OWNER
from imagequeue.errors import ImageQueueError, Quota, Unavailable
from imagequeue.job_records import JobRecords
from imagequeue.jobs import Idempotency, Job, JobState, NewJob
from imagequeue.queue import Dispatcher
from imagequeue.reusing import Reusing
from imagequeue.sessions import SessionSubmit
from imagequeue.store.deliveries import DeliveryStore
from imagequeue.store.jobs import JobStore, Stored

Draft = tuple[NewJob, SessionSubmit | None]


@dataclass(frozen=True, slots=True)
class Terms:
    """Who submits, and what an equal submit before means.

    With `reattach`, an equal call of the same owner whose result nobody has got yet gives its job again.
    """

    owner: str = LOCAL_OWNER
    key_id: str | None = None
    idempotency: Idempotency | None = None
    reattach: bool = False


LOCAL_TERMS: Final = Terms()


@dataclass(frozen=True, slots=True)
class Submitted:
    """A submit's job. `reattached`, `replayed`: it was there, made by the same call, or under the same key.

    `quota`: what is left of the API key's jobs a minute, if those are limited and this was one.
    """

    job: Job
    reattached: bool = False
    replayed: bool = False
    quota: Quota | None = None


class Submission:
    """Stores jobs and tells the workers."""

    def __init__(
        self,
        jobs: JobStore,
        records: JobRecords,
        deliveries: DeliveryStore,
        reusing: Reusing,
        dispatcher: Dispatcher,
    ) -> None:
        self._jobs = jobs
        self._records = records
        self._deliveries = deliveries
        self._reusing = reusing
        self._dispatcher = dispatcher

    def submit(self, terms: Terms, draft: Callable[[], Draft]) -> Submitted:
        """Store a job, unless the terms lead to one that is there.

        Args:
            terms: who submits, and how.
            draft: makes the job; it may fetch images, so it is not called for what an idempotency key has made before.

        Raises:
            SessionNotFound, SessionClosed, SessionFull: the session takes no turn.
            IdempotencyKeyReused: the idempotency key came with another request.
            LimitReached: the API key may not have one more job now.
            JobNotFound: the job that the idempotency key has made was deleted.
        """
        if terms.idempotency:
            before = self._jobs.idempotent(terms.owner, terms.idempotency)
            if before:
                return Submitted(self._records.get(before, terms.owner), replayed=True)
        new, joins = draft()
        if terms.reattach:
            return self._submit_once(new, joins)
        stored = self._store(new, joins)
        return Submitted(stored.job, replayed=stored.job.id != new.id, quota=stored.quota)

    def handed_over(self, job: Job) -> None:
        """The job's result has reached whoever asked for it: the same call from now on is a new one."""
        self._deliveries.handed_over(job, job.id)

    def _submit_once(self, new: NewJob, joins: SessionSubmit | None) -> Submitted:
        """Store a job unless the same owner's equal call has one that was not handed over; then give that one.

        What was cancelled is not given again: somebody wanted it stopped.
        """
        while True:
            job_id = self._deliveries.claim(new)
            try:
                stored = self._store(new.model_copy(update={"id": job_id}), joins)
            except ImageQueueError as error:
                if not isinstance(error, Unavailable):  # a refusal; otherwise the job may be there
                    self._deliveries.handed_over(new, job_id)
                raise
            job = stored.job
            if job.id != job_id:  # by the idempotency key: no job will ever have that id
                self._deliveries.handed_over(new, job_id)
                return Submitted(job, replayed=True)
            if job_id == new.id or job.state is not JobState.CANCELLED:
                return Submitted(job, reattached=job_id != new.id, quota=stored.quota)
            self._deliveries.handed_over(new, job_id)

    def _store(self, new: NewJob, joins: SessionSubmit | None) -> Stored:
        if reused := self._reusing.store(new):
            if reused.announced:
                self._dispatcher.announce(reused.job.id)
            return reused
        stored = self._jobs.store(new, joins)
        if stored.waits:  # a session's turns behind the first are sent when it is their turn
            self._dispatcher.dispatch(stored.job.id, stored.job.lane)
        return stored
