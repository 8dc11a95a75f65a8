"""Reading batches wherever their records are: in Redis, or, once they have ended and some days are over, in S3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal, Protocol

from imagequeue.batches import LINE_BYTES, Batch, BatchNotFound, LineRecord, LineState, is_batch_id, line_records
from imagequeue.jobs import Frozen, JobError
from imagequeue.manifests.store import BATCH_PREFIX
from imagequeue.objects import ObjectStore
from imagequeue.record_objects import find_record, put_record
from imagequeue.store.batches import BatchStore


class BatchLines(Protocol):
    """How the lines of one batch stand; lines that have not begun are not in it."""

    def lines(self, first: int, count: int) -> list[LineRecord]:
        """Up to `count` lines from the number `first` on."""
        ...

    def ended(self, first: int, count: int) -> list[int]:
        """Up to `count` numbers of lines in the order in which they ended, from the place `first` on."""
        ...

    def lines_of(self, numbers: Sequence[int]) -> list[LineRecord]:
        """The lines of these numbers."""
        ...

    def faults(self, numbers: Sequence[int]) -> Mapping[int, JobError]:
        """Why no jobs could be made of lines."""
        ...

    def earlier_jobs(self) -> list[str]:
        """The jobs of lines that have another job now."""
        ...


class ArchivedBatch(Frozen):
    """What lies in S3: a BatchLines. The texts are as Redis had them."""

    version: Literal[1] = 1
    batch: Batch
    line_text: str
    ended_lines: tuple[int, ...]
    fault_errors: Mapping[int, JobError]
    earlier: tuple[str, ...]
    told: Mapping[str, str]  # what webhooks are told of, by number

    def lines(self, first: int, count: int) -> list[LineRecord]:
        """See BatchLines."""
        return line_records(self.line_text[first * LINE_BYTES : (first + count) * LINE_BYTES], first)

    def ended(self, first: int, count: int) -> list[int]:
        """See BatchLines."""
        return list(self.ended_lines[first : first + count])

    def lines_of(self, numbers: Sequence[int]) -> list[LineRecord]:
        """See BatchLines."""
        return [line for number in numbers for line in self.lines(number, 1)]

    def faults(self, numbers: Sequence[int]) -> Mapping[int, JobError]:
        """See BatchLines."""
        return {number: self.fault_errors[number] for number in numbers if number in self.fault_errors}

    def earlier_jobs(self) -> list[str]:
        """See BatchLines."""
        return list(self.earlier)


class _HotLines:
    """A BatchLines in Redis."""

    def __init__(self, store: BatchStore, batch_id: str) -> None:
        self.lines = partial(store.lines, batch_id)
        self.ended = partial(store.ended, batch_id)
        self.lines_of = partial(store.lines_of, batch_id)
        self.faults = partial(store.faults, batch_id)
        self.earlier_jobs = partial(store.earlier_jobs, batch_id)


class BatchRecords:
    """Batches by id. Every method raises StoreUnavailable, or ObjectsUnavailable where a record is in S3."""

    def __init__(self, store: BatchStore, objects: ObjectStore) -> None:
        self._store = store
        self._objects = objects

    def get(self, batch_id: str, owner: str) -> Batch:
        """Read a batch.

        Raises:
            BatchNotFound: there is none, or it belongs to somebody else.
        """
        return self.opened(batch_id, owner)[0]

    def opened(self, batch_id: str, owner: str) -> tuple[Batch, BatchLines]:
        """A batch, and how its lines stand.

        Raises:
            BatchNotFound: there is none, or it belongs to somebody else.
        """
        if not is_batch_id(batch_id):  # anything else could name another record's key
            raise BatchNotFound(batch_id)
        found = self._store.get_many([batch_id])
        if found and found[0].owner == owner:
            return found[0], _HotLines(self._store, batch_id)
        archived = None if found or not self._store.is_listed(owner, batch_id) else self.archived(batch_id)
        if archived is None or archived.batch.owner != owner:
            raise BatchNotFound(batch_id)
        return archived.batch, archived

    def listed(self, owner: str, after: str | None, limit: int) -> list[Batch]:
        """Up to `limit` of an owner's batches, newest first, older than the id `after`."""
        ids = self._store.list_ids(owner, after, limit)
        found = {batch.id: batch for batch in self._store.get_many(ids)}
        cold = {batch_id: self.archived(batch_id) for batch_id in ids if batch_id not in found}
        found |= {batch_id: record.batch for batch_id, record in cold.items() if record}
        return [found[batch_id] for batch_id in ids if batch_id in found]

    def told(self, batch_id: str, number: str) -> tuple[Batch, str] | None:
        """A batch, whosever it is, and the event of this number that webhooks are told of; None when it is gone."""
        found = self._store.get_many([batch_id])
        archived = None if found else self.archived(batch_id)
        batch = found[0] if found else archived.batch if archived else None
        told = archived.told if archived else self._store.told(batch_id)
        return (batch, told[number]) if batch and number in told else None

    def archived(self, batch_id: str) -> ArchivedBatch | None:
        """The record in S3, whosever it is; None when there is none.

        Raises:
            ObjectsUnavailable: a newer version of imagequeue wrote it, too.
        """
        return find_record(self._objects, batch_record_key(batch_id), ArchivedBatch, batch_id)

    def write(self, batch: Batch) -> None:
        """Put the record of a batch that has ended into S3, and read it back.

        Raises:
            ObjectsUnavailable: S3 does not answer, or gives something else back.
        """
        lines = range(batch.lines)
        record = ArchivedBatch(
            batch=batch,
            line_text=self._store.line_text(batch.id),
            ended_lines=tuple(self._store.ended(batch.id, 0, -1)),
            fault_errors=self._store.faults(batch.id, lines) if batch.failed else {},
            earlier=tuple(self._store.earlier_jobs(batch.id)),
            told=self._store.told(batch.id),
        )
        put_record(self._objects, batch_record_key(batch.id), record, batch.id)


def all_lines(batch: Batch, lines: BatchLines, first: int, count: int) -> list[LineRecord]:
    """Up to `count` lines from the number `first` on, those too that have not begun."""
    begun = lines.lines(first, count)
    rest = range(first + len(begun), min(first + count, batch.lines))
    return [*begun, *(LineRecord(number, _state_unbegun(batch, number)) for number in rest)]


def job_ids(lines: BatchLines, total: int) -> list[str]:
    """The jobs of all lines, those too that were made before the lines ran again."""
    found = [record.job_id for record in lines.lines(0, total) if record.job_id]
    return [*found, *lines.earlier_jobs()]


def batch_folder(batch_id: str) -> str:
    """Prefix of the keys of all that belongs to a batch: manifest and record."""
    return f"{BATCH_PREFIX}{batch_id}/"


def batch_record_key(batch_id: str) -> str:
    """Where the record is in S3: beside the manifest."""
    return f"{batch_folder(batch_id)}record.json"


def _state_unbegun(batch: Batch, number: int) -> LineState:
    return LineState.WAITING if number < batch.feed_until else LineState.CANCELLED
