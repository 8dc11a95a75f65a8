"""Cancelling jobs: a queued one at once; a running one's worker is asked."""

from __future__ import annotations

from imagequeue.job_records import JobRecords
from imagequeue.jobs import Job, JobState
from imagequeue.queue import Dispatcher
from imagequeue.store.jobs import JobStore, job_finished


class Cancelling:
    """Cancels."""

    def __init__(self, store: JobStore, records: JobRecords, dispatcher: Dispatcher) -> None:
        self._store = store
        self._records = records
        self._dispatcher = dispatcher

    def cancel(self, job_id: str, owner: str) -> Job:
        """Cancel a queued job at once, or ask for a running one; the answer's state tells which.

        Raises:
            JobNotFound: there is none, or it belongs to somebody else.
            JobFinished: it has ended already.
        """
        job = self._records.get(job_id, owner)
        if job.state is JobState.CANCELLED:
            return job
        if job.state.terminal:  # perhaps archived: the store does not know it then
            raise job_finished(job)
        ending = self._store.cancel(job)
        if ending.next_job_id:
            self._dispatcher.dispatch(ending.next_job_id, "interactive")
        if ending.announced:
            self._dispatcher.announce(job_id)
        return self._store.get(job_id)
