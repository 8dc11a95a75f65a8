"""Finished jobs that have left Redis: their records are in S3, and what lists need of them is here.

An owner's archive is a list for each hour: that in which the jobs' ids were made, so that hours sort as ids do. An
entry of 36 bytes holds the id, the state and the type, and when the job expires.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Self, cast

from ulid import ULID

from imagequeue.jobs import Job, JobState, JobType
from imagequeue.store.connection import RedisClient, translated
from imagequeue.store.deliveries import call_fingerprint
from imagequeue.store.job_search import JobFilter
from imagequeue.store.keys import Keys
from imagequeue.store.scripts import Scripts

_ID_PREFIX: Final = "job_"
_ULID_LENGTH: Final = 26
_HOUR_MS: Final = 3_600_000
_STATES: Final = {state: state.value[0] for state in JobState if state.terminal}
_TYPES: Final[Mapping[JobType, str]] = {"generate": "g", "edit": "e", "turn": "t"}
_STATE_OF: Final = {letter: state for state, letter in _STATES.items()}
_TYPE_OF: Final[Mapping[str, JobType]] = {letter: job_type for job_type, letter in _TYPES.items()}


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """What is kept of an archived job. `expires_at`: milliseconds, rounded up to the second."""

    job_id: str
    state: JobState
    type: JobType
    expires_at: int

    @classmethod
    def of(cls, job: Job) -> Self:
        """The entry of a job that has ended."""
        return cls(job.id, job.state, job.type, -(-(job.expires_at or 0) // 1000) * 1000)

    @classmethod
    def read(cls, text: str) -> Self:
        """Read an entry back."""
        letters = text[_ULID_LENGTH : _ULID_LENGTH + 2]
        seconds = int(text[_ULID_LENGTH + 2 :], 16)
        return cls(_ID_PREFIX + text[:_ULID_LENGTH], _STATE_OF[letters[0]], _TYPE_OF[letters[1]], seconds * 1000)

    @property
    def text(self) -> str:
        """As the list holds it."""
        ulid = self.job_id.removeprefix(_ID_PREFIX)
        return f"{ulid}{_STATES[self.state]}{_TYPES[self.type]}{self.expires_at // 1000:x}"

    @property
    def hour(self) -> int:
        """Of the archive that it belongs to."""
        return hour_of(self.job_id)


@dataclass(frozen=True, slots=True)
class Bucket:
    """One owner's archive of one hour."""

    owner: str
    hour: int

    @classmethod
    def read(cls, member: str) -> Self:
        """From a member of the set of expiring archives."""
        hour, _, owner = member.partition(":")
        return cls(owner, int(hour))

    @property
    def member(self) -> str:
        """Its name in the set of expiring archives."""
        return f"{self.hour}:{self.owner}"


class ArchiveStore:
    """Archives jobs and finds archived ones. Every method raises StoreUnavailable when Redis does not answer."""

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)

    def finished(self, before: int, limit: int) -> list[str]:
        """Jobs that are in Redis and ended before a time (ms), the earliest first."""
        with translated():
            return self._client.zrangebyscore(self._keys.finished, "-inf", str(before), 0, limit)

    def look_later(self, job_id: str, at: int) -> None:
        """Take a finished job for one that ended at `at` (ms): it could not be archived now."""
        with translated():
            self._client.zadd(self._keys.finished, {job_id: at}, xx=True)

    def forget_finished(self, job_id: str) -> None:
        """Take a job that is not there out of the finished ones."""
        with translated():
            self._client.zrem(self._keys.finished, job_id)

    def archive(self, job: Job) -> Literal["archived", "awaited", "gone"]:
        """Let a finished job leave Redis; its record must be in S3. Repeating it changes nothing."""
        entry = ArchiveEntry.of(job)
        member = Bucket(job.owner, entry.hour).member
        arguments = [job.id, entry.text, entry.hour, member, entry.expires_at]
        answer = self._scripts.run("archive", archive_keys(self._keys, job), arguments)
        return cast("Literal['archived', 'awaited', 'gone']", answer)

    def may_hold(self, owner: str, job_id: str) -> bool:
        """Whether the owner may have an archived job of this id; False is certain."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.exists(self._keys.archive(owner, hour_of(job_id)))
        pipeline.zscore(self._keys.leaving, leaving_member(job_id, owner))
        with translated():
            exists, leaves = pipeline.execute()
        return bool(exists) and leaves is None

    def newest_ids(self, wanted: JobFilter, after: str | None, limit: int) -> list[str]:
        """Up to `limit` ids of archived jobs that match, newest first, older than the id `after`."""
        found: list[str] = []
        for hour in self._hours(wanted.owner, after):
            entries = self.entries(Bucket(wanted.owner, hour))
            ids = (entry.job_id for entry in entries if _matches(entry, wanted))
            found += sorted((job_id for job_id in ids if after is None or job_id < after), reverse=True)
            if len(found) >= limit:
                break
        return found[:limit]

    def expiring(self, before: int, limit: int) -> list[Bucket]:
        """Archives with a job whose retention ended before a time (ms)."""
        with translated():
            members = self._client.zrangebyscore(self._keys.expiring, "-inf", str(before), 0, limit)
        return [Bucket.read(member) for member in members]

    def entries(self, bucket: Bucket) -> list[ArchiveEntry]:
        """All that an archive holds, in no order."""
        with translated():
            texts = self._client.lrange(self._keys.archive(bucket.owner, bucket.hour), 0, -1)
        return [ArchiveEntry.read(text) for text in texts]

    def expires_next(self, bucket: Bucket, at: int) -> None:
        """Note when the next job of an archive expires (ms), if the archive is still there."""
        with translated():
            self._client.zadd(self._keys.expiring, {bucket.member: at}, xx=True)

    def _hours(self, owner: str, after: str | None) -> Iterator[int]:
        with translated():
            newest = str(hour_of(after)) if after else "+inf"
            hours = self._client.zrevrangebyscore(self._keys.archive_hours(owner), newest, "-inf")
        yield from map(int, hours)


def hour_of(job_id: str) -> int:
    """The hour since 1970 in which a job's id was made."""
    return ULID.from_str(job_id.removeprefix(_ID_PREFIX)).milliseconds // _HOUR_MS


def leaving_member(job_id: str, owner: str) -> str:
    """A job in the set of those that are being deleted."""
    return f"{job_id}:{owner}"


def archive_keys(keys: Keys, job: Job) -> Mapping[str, str]:
    """The keys that the scripts name which archive or remove a job."""
    return {
        **keys.for_job(job.id, job.owner, job.lane, job.session_id, job.key_id, job.batch_id),
        **keys.for_archive(job.owner, hour_of(job.id)),
        "index_final": keys.index(job.owner, job.state),
        "delivery": keys.delivery(job.owner, call_fingerprint(job)),
    }


def _matches(entry: ArchiveEntry, wanted: JobFilter) -> bool:
    return wanted.state in (None, entry.state) and wanted.type in (None, entry.type)
