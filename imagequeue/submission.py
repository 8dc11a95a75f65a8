"""How a new job comes into the queue: stored, then announced to the workers."""

from __future__ import annotations

from dataclasses import dataclass

from imagequeue.errors import ImageQueueError, Unavailable
from imagequeue.jobs import Job, JobState, NewJob
from imagequeue.queue import Dispatcher
from imagequeue.sessions import SessionSubmit
from imagequeue.store.deliveries import DeliveryStore
from imagequeue.store.jobs import JobStore


@dataclass(frozen=True, slots=True)
class Submitted:
    """A call's job. `reattached`: it was there, made by the same call, whose result nobody has got yet."""

    job: Job
    reattached: bool


class Submission:
    """Stores jobs and tells the workers."""

    def __init__(self, jobs: JobStore, deliveries: DeliveryStore, dispatcher: Dispatcher) -> None:
        self._jobs = jobs
        self._deliveries = deliveries
        self._dispatcher = dispatcher

    def submit(self, new: NewJob, joins: SessionSubmit | None = None) -> Job:
        """Store a job; repeating it with the same id changes nothing.

        Raises:
            SessionNotFound, SessionClosed, SessionFull: the session takes no turn.
        """
        job = self._jobs.submit(new, joins)
        if self._jobs.position(job) is not None:  # a session's turns behind the first are sent when it is their turn
            self._dispatcher.dispatch(job.id, job.lane)
        return job

    def submit_once(self, new: NewJob, joins: SessionSubmit | None = None) -> Submitted:
        """Store a job unless the same owner's equal call has one that was not handed over; then give that one.

        What was cancelled is not given again: somebody wanted it stopped.

        Raises:
            SessionNotFound, SessionClosed, SessionFull: the session takes no turn.
        """
        while True:
            job_id = self._deliveries.claim(new)
            try:
                job = self.submit(new.model_copy(update={"id": job_id}), joins)
            except ImageQueueError as error:
                if not isinstance(error, Unavailable):  # a refusal; otherwise the job may be there
                    self._deliveries.handed_over(new, job_id)
                raise
            if job_id == new.id or job.state is not JobState.CANCELLED:
                return Submitted(job, reattached=job_id != new.id)
            self._deliveries.handed_over(new, job_id)

    def handed_over(self, job: Job) -> None:
        """The job's result has reached whoever asked for it: the same call from now on is a new one."""
        self._deliveries.handed_over(job, job.id)
