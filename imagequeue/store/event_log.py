"""What happened, as the streams have it: each job's own, and the fleet's with the same entries under the same ids."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Final, cast

from imagequeue.events import BEGINNING, Entry, EntryId
from imagequeue.jobs import Job, JobState
from imagequeue.store.connection import RedisClient, StreamEntry, translated
from imagequeue.store.job_codec import job_from_hash
from imagequeue.store.keys import Keys

_PAGE: Final = 1000
_PAGES: Final = 5
"""The most that is gone through for one client that comes back: about 0.1 s of one core."""


class EventsMissing(Exception):
    """The stream does not go back to where the client was, or it was away for too long."""


class EventLog:
    """Reads what Redis has kept. Every method raises StoreUnavailable when Redis does not answer."""

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def newest(self) -> EntryId:
        """The id of what happened last in the fleet."""
        with translated():
            return _newest(self._client.xrevrange(self._keys.changes, "+", "-", 1))

    def of_job(self, job_id: str, after: EntryId) -> Sequence[Entry]:
        """Everything that is kept of a job, which reaches back at least to the entry `after`.

        Raises:
            EventsMissing: it does not, or `after` lies in the future.
        """
        pipeline = self._client.pipeline()
        pipeline.xrange(self._keys.events(job_id), "-", "+")
        pipeline.xrevrange(self._keys.changes, "+", "-", 1)
        with translated():
            kept, newest = cast("list[list[StreamEntry]]", pipeline.execute())
        entries = [entry_of((entry_id, {**fields, "job": job_id})) for entry_id, fields in kept]
        if not entries or not entries[0].id <= after <= _newest(newest):
            raise EventsMissing
        return entries

    def of_fleet(self, field: str, value: str, after: EntryId) -> Generator[Sequence[Entry]]:
        """What happened after the entry `after` to jobs whose entries have this value in this field, page by page.

        Raises:
            EventsMissing: not all of it is kept, or the fleet has been too busy since, or `after` lies in the future.
        """
        for _ in range(_PAGES):
            pipeline = self._client.pipeline()
            pipeline.xrevrange(self._keys.changes, "+", "-", 1)
            pipeline.xrange(self._keys.changes, "-", "+", 1)
            pipeline.xrange(self._keys.changes, f"({after}", "+", _PAGE)
            with translated():
                newest, oldest, page = cast("list[list[StreamEntry]]", pipeline.execute())
            if not oldest or not entry_of(oldest[0]).id <= after <= _newest(newest):
                raise EventsMissing
            yield [entry_of(entry) for entry in page if entry[1].get(field) == value]
            if len(page) < _PAGE:
                return
            after = entry_of(page[-1]).id
        raise EventsMissing

    def records(self, job_ids: Sequence[str]) -> tuple[Sequence[Job], EntryId]:
        """The jobs that exist, all at one moment, and what had happened last in the fleet at that moment."""
        pipeline = self._client.pipeline()
        pipeline.xrevrange(self._keys.changes, "+", "-", 1)
        for job_id in job_ids:
            pipeline.hgetall(self._keys.job(job_id))
        with translated():
            newest, *hashes = pipeline.execute()
        found = [job_from_hash(fields) for fields in cast("list[dict[str, str]]", hashes) if fields]
        return found, _newest(cast("list[StreamEntry]", newest))

    def unfinished(self, owner: str, most: int) -> Sequence[str]:
        """The owner's jobs that run, then those that wait, oldest first in each."""
        pipeline = self._client.pipeline()
        for state in (JobState.RUNNING, JobState.QUEUED):
            pipeline.zrange(self._keys.index(owner, state), 0, most - 1)
        with translated():
            running, queued = cast("list[list[str]]", pipeline.execute())
        return [*running, *queued][:most]

    def unfinished_turns(self, session_id: str, most: int) -> Sequence[str]:
        """The session's turns that run or wait, next first."""
        with translated():
            return self._client.zrange(self._keys.turns(session_id), 0, most - 1)


def entry_of(entry: StreamEntry) -> Entry:
    """An entry of the fleet's stream."""
    entry_id, fields = entry
    return Entry(EntryId.parse(entry_id) or BEGINNING, fields["job"], fields["event"], fields.get("data", "{}"))


def _newest(entries: Sequence[StreamEntry]) -> EntryId:
    return entry_of(entries[0]).id if entries else BEGINNING
