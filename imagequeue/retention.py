"""Retention: what has ended leaves Redis after some days, and is deleted when it has been kept for long enough.

Each round does a bounded part of what is due, and may be cut off anywhere: the next one goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self, TypeVar

import structlog

from imagequeue.batch_records import BatchRecords
from imagequeue.batch_retention import BatchRetention
from imagequeue.errors import ImageInUse, JobNotFound, SessionNotFound, Unavailable
from imagequeue.input_retention import InputRetention
from imagequeue.job_records import JobRecords
from imagequeue.jobs import Job
from imagequeue.objects import ObjectStore
from imagequeue.removal import Removal
from imagequeue.session_records import SessionRecords
from imagequeue.sessions import SessionState
from imagequeue.settings import Settings
from imagequeue.store.archive import ArchiveEntry, ArchiveStore, Bucket
from imagequeue.store.batches import BatchStore
from imagequeue.store.connection import RedisClient
from imagequeue.store.fleet import FleetStore
from imagequeue.store.input_uses import InputUses
from imagequeue.store.jobs import JobStore
from imagequeue.store.keys import Keys
from imagequeue.store.removals import RemovalStore
from imagequeue.store.reuse import ReuseStore
from imagequeue.store.sessions import SessionStore

_AT_ONCE: Final = 8
"""Records moved or deleted at once."""
_LIMIT: Final = 200
"""Records of each kind in one round."""
_ARCHIVES: Final = 3
"""Archives looked through in one round: one may hold some ten thousand jobs."""
_COARSE_MS: Final = 60_000
"""How much later than due an expired job may go, so that an archive is not looked through for each of its jobs."""
_log = structlog.stdlib.get_logger(__name__)
Item = TypeVar("Item")


class Retention:
    """Archives and deletes, round by round; close it when done."""

    def __init__(
        self,
        settings: Settings,
        *,
        fleet: FleetStore,
        jobs: JobStore,
        sessions: SessionStore,
        archive: ArchiveStore,
        removals: RemovalStore,
        reuse: ReuseStore,
        objects: ObjectStore,
        job_records: JobRecords,
        session_records: SessionRecords,
        removal: Removal,
        inputs: InputRetention,
        batches: BatchRetention,
    ) -> None:
        self._hot_ms = settings.hot_ms
        # What cannot go now is looked at again after this: hours by default.
        self._later_ms = max(1, settings.hot_ms // 20)
        self._coarse_ms = min(_COARSE_MS, settings.retention_ms // 1000)
        self._fleet = fleet
        self._jobs = jobs
        self._sessions = sessions
        self._archive = archive
        self._removals = removals
        self._reuse = reuse
        self._objects = objects
        self._job_records = job_records
        self._session_records = session_records
        self._removal = removal
        self._inputs = inputs
        self._batches = batches
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="retention")

    @classmethod
    def on(cls, client: RedisClient, settings: Settings, objects: ObjectStore, records: JobRecords) -> Self:
        """Retention of what is on one Redis and in one bucket; `records` reads jobs there."""
        keys = Keys(settings.key_prefix)
        jobs, sessions, removals = JobStore(client, keys), SessionStore(client, keys), RemovalStore(client, keys)
        session_records, batches = SessionRecords(sessions, objects), BatchStore(client, keys)
        return cls(
            settings,
            fleet=FleetStore(client, keys),
            jobs=jobs,
            sessions=sessions,
            archive=ArchiveStore(client, keys),
            removals=removals,
            reuse=ReuseStore(client, keys, jobs),
            objects=objects,
            job_records=records,
            session_records=session_records,
            removal=Removal(removals, jobs, records, session_records, objects),
            inputs=InputRetention(objects, InputUses(client, keys), settings.retention_ms),
            batches=BatchRetention(batches, BatchRecords(batches, objects), objects, hot_ms=settings.hot_ms),
        )

    def round(self) -> None:
        """Do what is due now, or a part of it.

        Raises:
            StoreUnavailable, ObjectsUnavailable: Redis or S3 does not answer; the next round goes on.
        """
        now = self._fleet.now()
        self._each(self._removal.go_on, self._removals.leaving(now, _LIMIT))
        self._each(self._delete_copies, self._reuse.abandoned_copies(now, _LIMIT))
        self._each(self._archive_job, self._archive.finished(now - self._hot_ms, _LIMIT))
        for bucket in self._archive.expiring(now, _ARCHIVES):
            self._expire(bucket, now)
        self._each(lambda session_id: self._session(session_id, now), self._removals.closed_sessions(now, _LIMIT))
        self._each(lambda step: step(), self._batches.steps(now, _LIMIT))
        self._inputs.round(now)

    def close(self) -> None:
        """End the threads, once what they do is done."""
        self._pool.shutdown(cancel_futures=True)

    def _each(self, step: Callable[[Item], None], items: Sequence[Item]) -> None:
        """Take the step for all; one that fails for a reason of its own must not keep the others waiting.

        Raises:
            StoreUnavailable, ObjectsUnavailable: as soon as it is noticed.
        """

        def take(item: Item) -> None:
            try:
                step(item)
            except Unavailable:
                raise
            except Exception:
                _log.exception("retention_failed", item=str(item))

        for _ in self._pool.map(take, items):
            pass

    def _delete_copies(self, folder: str) -> None:
        """Delete what was copied for a job that was never stored."""
        self._objects.delete_all(folder)
        self._reuse.forget_copies(folder)

    def _archive_job(self, job_id: str) -> None:
        try:
            job = self._jobs.get(job_id)
            self._job_records.write(job)
            self._archive.archive(job)
        except JobNotFound:
            self._archive.forget_finished(job_id)
        except Unavailable:
            raise
        except Exception:  # it must not stand before the others for ever
            self._archive.look_later(job_id, self._fleet.now())
            raise

    def _expire(self, bucket: Bucket, now: int) -> None:
        entries = self._archive.entries(bucket)
        due = [entry for entry in entries if entry.expires_at <= now]
        due_ids = {entry.job_id for entry in due}
        later = [entry.expires_at for entry in entries if entry.job_id not in due_ids]
        again = [max(min(later), now + self._coarse_ms)] if later else []
        if len(due) > _LIMIT:
            again.append(now)
        kept: list[str] = []
        self._each(lambda entry: kept.extend(self._expire_job(bucket, entry)), due[:_LIMIT])
        if kept:
            again.append(now + self._later_ms)
        if again:
            self._archive.expires_next(bucket, min(again))

    def _expire_job(self, bucket: Bucket, entry: ArchiveEntry) -> Sequence[str]:
        """Delete a job whose time is over; its id, if a session still goes on from its image."""
        job = self._job_records.archived(entry.job_id)
        if job is None:
            self._removals.remove_entry(bucket.owner, entry)
            return ()
        try:
            self._removal.remove_job(job)
        except ImageInUse:
            return (job.id,)
        return ()

    def _session(self, session_id: str, now: int) -> None:
        try:
            session = self._sessions.get(session_id)
        except SessionNotFound:
            self._archived_session(session_id, now)
            return
        if session.state is SessionState.ACTIVE:
            self._removals.look_at_session(session_id, None)
            return
        turns = self._sessions.turn_job_ids(session_id)
        due = session.updated_at + self._hot_ms
        if due > now or self._jobs.get_many(turns):
            self._removals.look_at_session(session_id, max(due, now + self._later_ms))
            return
        self._session_records.write(session, turns)
        self._removals.archive_session(session, session.expires_at or now)

    def _archived_session(self, session_id: str, now: int) -> None:
        """Delete it, unless a turn is still kept."""
        archived = self._session_records.archived(session_id)
        if archived is None:
            self._removals.look_at_session(session_id, None)
            return
        if turns := self._job_records.get_many(archived.turns):
            self._removals.look_at_session(session_id, max(now + self._later_ms, _last_expiry(turns)))
            return
        self._removal.remove_session_record(archived.session)


def _last_expiry(turns: Sequence[Job]) -> int:
    return max(turn.expires_at or 0 for turn in turns)
