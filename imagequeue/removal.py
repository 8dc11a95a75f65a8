"""Deleting jobs and sessions with all that belongs to them, because somebody asks for it or their retention has ended.

The order lets whoever comes next go on: a mark, the images in S3, the record in Redis, the record in S3, the mark.
"""

from __future__ import annotations

from typing import Final

from imagequeue.errors import ImageInUse, JobRunning, SessionActive
from imagequeue.job_records import JobRecords, record_key
from imagequeue.jobs import Job
from imagequeue.objects import ObjectStore, job_folder
from imagequeue.session_records import SessionRecords, session_record_key
from imagequeue.sessions import Session, SessionState
from imagequeue.store.jobs import JobStore
from imagequeue.store.removals import Leaving, RemovalStore

_STALE_WORKER_MS: Final = 3_600_000
"""A worker that lost a job may still be storing its answer when the job has ended: what it left goes after that."""


class Removal:
    """Deletes. Every method may be repeated, and raises StoreUnavailable or ObjectsUnavailable: then repeat it."""

    def __init__(
        self,
        store: RemovalStore,
        jobs: JobStore,
        job_records: JobRecords,
        sessions: SessionRecords,
        objects: ObjectStore,
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._job_records = job_records
        self._sessions = sessions
        self._objects = objects

    def remove_job(self, job: Job) -> None:
        """Delete a job that has ended: images, previews, records, places in lists.

        Raises:
            JobRunning: it has not ended.
            ImageInUse: an active session goes on from its image.
        """
        self._refuse(job)
        if self._store.leave(job) == "unfinished":
            raise JobRunning(job.id)
        try:
            self._refuse(job)  # a session may have been forked from it just before the mark
        except ImageInUse:
            self._store.stay(job)
            raise
        self._objects.delete_all(job_folder(job.id), keep=record_key(job.id))
        self._store.remove(job)
        self._objects.delete(record_key(job.id))
        last_look_at = (job.finished_at or 0) + _STALE_WORKER_MS
        self._store.left(Leaving(job.id, job.owner), last_look_at)

    def go_on(self, leaving: Leaving) -> None:
        """Finish a removal that somebody began, or look a last time for what a stale worker stored."""
        job = next(iter(self._jobs.get_many([leaving.job_id])), None) or self._job_records.archived(leaving.job_id)
        if job is None:
            self._objects.delete_all(job_folder(leaving.job_id))
        elif job.state.terminal and job.owner == leaving.owner:
            self.remove_job(job)
            return
        self._store.left(leaving)

    def remove_session(self, session: Session) -> None:
        """Delete a session that is over, with all its turns.

        Raises:
            SessionActive: it is not over.
            JobRunning: a turn still runs.
            ImageInUse: an active session that was forked from a turn goes on from its image.
        """
        if session.state is SessionState.ACTIVE:
            raise SessionActive(session.id)
        turns = self._job_records.get_many(self._sessions.turn_job_ids(session))
        for job in turns:  # all or nothing, as far as it is known
            self._refuse(job)
        for job in turns:
            self.remove_job(job)
        self.remove_session_record(session)

    def remove_session_record(self, session: Session) -> None:
        """Delete a session that has no turns any more.

        Raises:
            SessionActive: it is not over.
        """
        if self._store.remove_session(session) == "active":
            raise SessionActive(session.id)
        self._objects.delete(session_record_key(session.id))
        self._store.look_at_session(session.id, None)

    def _refuse(self, job: Job) -> None:
        if not job.state.terminal:
            raise JobRunning(job.id)
        if sessions := self._store.needed_by(job):
            raise ImageInUse(job.id, sessions)
