"""Reading jobs wherever their records are: in Redis, or, once they have ended and some days are over, in S3.

A job's record moves once, from Redis to S3, and only after what was written there was read back: who does not find it
in Redis finds it in S3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Final, Literal

from imagequeue.errors import JobNotFound
from imagequeue.jobs import Frozen, Job, JobOutcome, is_job_id, outcome_of
from imagequeue.objects import ObjectStore, job_folder
from imagequeue.record_objects import find_record, put_record
from imagequeue.store.archive import ArchiveStore
from imagequeue.store.job_search import JobFilter, newest_job_ids
from imagequeue.store.jobs import JobStore

_LOOKED_AT: Final = 100
"""Of many jobs, such as a batch's, those read before it is known whether they fill the page."""
_READ_AT_ONCE: Final = 16
"""Records read from S3 at once by one process."""


class _JobRecord(Frozen):
    """What lies in S3."""

    version: Literal[1] = 1
    job: Job


class JobRecords:
    """Jobs by id and in lists. Every method raises StoreUnavailable, or ObjectsUnavailable where a record is in S3."""

    def __init__(self, jobs: JobStore, archive: ArchiveStore, objects: ObjectStore) -> None:
        self._jobs = jobs
        self._archive = archive
        self._objects = objects
        self._pool = ThreadPoolExecutor(_READ_AT_ONCE, thread_name_prefix="records")

    def get(self, job_id: str, owner: str) -> Job:
        """Read a job.

        Raises:
            JobNotFound: there is none, or it belongs to somebody else.
        """
        # Anything else could name another record's key.
        job = self._find(job_id, owner) if is_job_id(job_id) else None
        if job is None or job.owner != owner:
            raise JobNotFound(job_id)
        return job

    def get_many(self, job_ids: Sequence[str]) -> list[Job]:
        """Read the jobs that exist, in the order of the ids."""
        found = {job.id: job for job in self._jobs.get_many(job_ids)}
        missing = [job_id for job_id in job_ids if job_id not in found]
        found |= {job.id: job for job in self._pool.map(self.archived, missing) if job}
        return [found[job_id] for job_id in job_ids if job_id in found]

    def outcomes(self, job_ids: Sequence[str]) -> dict[str, JobOutcome]:
        """What a report tells of the jobs that exist, by id."""
        found = self._jobs.outcomes(job_ids)
        missing = [job_id for job_id in job_ids if job_id not in found]
        return found | {job.id: outcome_of(job) for job in self._pool.map(self.archived, missing) if job}

    def get_owned(self, job_ids: Sequence[str], owner: str) -> list[Job]:
        """Read those of the jobs that exist and are the owner's, in the order of the ids."""
        valid = [job_id for job_id in job_ids if is_job_id(job_id)]
        found = {job.id: job for job in self._jobs.get_many(valid)}
        missing = [job_id for job_id in valid if job_id not in found]
        found |= {job.id: job for job in self._pool.map(partial(self._find, owner=owner), missing) if job}
        return [found[job_id] for job_id in valid if job_id in found and found[job_id].owner == owner]

    def newest_ids(self, wanted: JobFilter, after: str | None, limit: int) -> list[str]:
        """Up to `limit` ids of jobs that match, newest first, older than the id `after`."""
        if wanted.among is not None:
            ids = [job_id for job_id in sorted(wanted.among, reverse=True) if after is None or job_id < after]
            return list(islice(self._matching(ids, wanted), limit))
        # First all of Redis: what is archived meanwhile is found afterwards, and what was found twice counts once.
        in_redis = list(islice(newest_job_ids(self._jobs, wanted, after, limit), limit))
        archived = self._archive.newest_ids(wanted, after, limit)
        return sorted({*in_redis, *archived}, reverse=True)[:limit]

    def _matching(self, ids: Sequence[str], wanted: JobFilter) -> Iterator[str]:
        for start in range(0, len(ids), _LOOKED_AT):
            yield from (job.id for job in self.get_many(ids[start : start + _LOOKED_AT]) if wanted.takes(job))

    def archived(self, job_id: str) -> Job | None:
        """The record in S3, whosever it is; None when there is none.

        Raises:
            ObjectsUnavailable: a newer version of imagequeue wrote it, too.
        """
        record = find_record(self._objects, record_key(job_id), _JobRecord, job_id)
        return record.job if record else None

    def write(self, job: Job) -> None:
        """Put the record of a job that has ended into S3, and read it back.

        Raises:
            ObjectsUnavailable: S3 does not answer, or gives something else back.
        """
        put_record(self._objects, record_key(job.id), _JobRecord(job=job), job.id)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def _find(self, job_id: str, owner: str) -> Job | None:
        try:
            return self._jobs.get(job_id)
        except JobNotFound:
            # Ids that were never given cost no request to S3, unless the owner has archived jobs of that very hour.
            return self.archived(job_id) if self._archive.may_hold(owner, job_id) else None


def record_key(job_id: str) -> str:
    """Where the record is in S3: beside the job's images."""
    return f"{job_folder(job_id)}record.json"
