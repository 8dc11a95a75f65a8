"""Lines of a batch with all that became of them: their jobs, wherever those are, or why there are none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from imagequeue.batch_records import BatchLines, all_lines
from imagequeue.batches import Batch, LineRecord
from imagequeue.job_records import JobRecords
from imagequeue.jobs import Job, JobError, JobOutcome
from imagequeue.manifests.store import ManifestStore
from imagequeue.requests import AnyRequest

PAGE: Final = 200
"""Lines read at once."""
_OUTCOMES: Final = 1000
"""Of those of which little is read."""


@dataclass(frozen=True, slots=True)
class ReadLine:
    """A line, its job, if it has one that was not deleted, and why it has none, if none could be made."""

    record: LineRecord
    custom_id: str
    job: Job | None
    fault: JobError | None

    @property
    def error(self) -> JobError | None:
        """What it ended with, if that was not well."""
        return self.job.error if self.job else self.fault


@dataclass(frozen=True, slots=True)
class LineOutcome:
    """A line that has ended, and what a report tells of it and its job; `job` and `fault` as a ReadLine has them."""

    record: LineRecord
    custom_id: str
    job: JobOutcome | None
    fault: JobError | None

    @property
    def error(self) -> JobError | None:
        """What it ended with, if that was not well."""
        return self.job.error if self.job else self.fault


class LineReader:
    """Reads lines. Every method raises StoreUnavailable or ObjectsUnavailable."""

    def __init__(self, job_records: JobRecords, manifests: ManifestStore) -> None:
        self._job_records = job_records
        self._manifests = manifests

    def read(self, batch: Batch, lines: BatchLines, records: Sequence[LineRecord]) -> list[ReadLine]:
        """The lines of these records, in their order."""
        jobs = {job.id: job for job in self._job_records.get_many([one.job_id for one in records if one.job_id])}
        faults = lines.faults([one.number for one in records if one.job_id is None])
        return [
            ReadLine(record, self._custom_id(batch, record, job), job, faults.get(record.number))
            for record in records
            for job in [jobs.get(record.job_id or "")]
        ]

    def ended(self, batch: Batch, lines: BatchLines, first: int = 0, stop: int | None = None) -> Iterator[ReadLine]:
        """The lines that have ended, in manifest order, from the number `first` on and before `stop`."""
        stop = batch.lines if stop is None else min(stop, batch.lines)
        for records in _ended(batch, lines, first, stop, PAGE):
            yield from self.read(batch, lines, records)

    def outcomes(self, batch: Batch, lines: BatchLines) -> Iterator[LineOutcome]:
        """The lines that have ended, in manifest order, as far as a report tells of them."""
        for records in _ended(batch, lines, 0, batch.lines, _OUTCOMES):
            jobs = self._job_records.outcomes([one.job_id for one in records if one.job_id])
            faults = lines.faults([one.number for one in records if one.job_id is None])
            for record in records:
                job = jobs.get(record.job_id or "")
                yield LineOutcome(record, self._custom_id(batch, record, job), job, faults.get(record.number))

    def request(self, batch: Batch, line: ReadLine) -> AnyRequest:
        """What the line asked for."""
        return line.job.request if line.job else self._manifests.lines(batch.id, line.record.number, 1)[0].request

    def _custom_id(self, batch: Batch, record: LineRecord, job: Job | JobOutcome | None) -> str:
        if job and job.custom_id is not None:
            return job.custom_id
        return self._manifests.lines(batch.id, record.number, 1)[0].custom_id


def _ended(batch: Batch, lines: BatchLines, first: int, stop: int, count: int) -> Iterator[list[LineRecord]]:
    """Those of the lines that have ended, of so many lines at once."""
    while first < stop and (page := all_lines(batch, lines, first, min(count, stop - first))):
        yield [record for record in page if record.state.ended]
        first += len(page)
