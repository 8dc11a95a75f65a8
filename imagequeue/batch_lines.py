"""Lines of a batch with all that became of them: their jobs, wherever those are, or why there are none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from imagequeue.batch_records import BatchLines, all_lines
from imagequeue.batches import Batch, LineRecord
from imagequeue.job_records import JobRecords
from imagequeue.jobs import Job, JobError
from imagequeue.manifests.store import ManifestStore
from imagequeue.requests import AnyRequest

PAGE: Final = 200
"""Lines read at once."""


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


class LineReader:
    """Reads lines. Every method raises StoreUnavailable or ObjectsUnavailable."""

    def __init__(self, job_records: JobRecords, manifests: ManifestStore) -> None:
        self._job_records = job_records
        self._manifests = manifests

    def read(self, batch: Batch, lines: BatchLines, records: Sequence[LineRecord]) -> list[ReadLine]:
        """The lines of these records, in their order."""
        jobs = {job.id: job for job in self._job_records.get_many([one.job_id for one in records if one.job_id])}
        faults = lines.faults([one.number for one in records if one.job_id is None])
        found: list[ReadLine] = []
        for record in records:
            job = jobs.get(record.job_id or "")
            custom_id = job.custom_id if job else None
            if custom_id is None:
                custom_id = self._manifests.lines(batch.id, record.number, 1)[0].custom_id
            found.append(ReadLine(record, custom_id, job, faults.get(record.number)))
        return found

    def ended(self, batch: Batch, lines: BatchLines, first: int = 0, stop: int | None = None) -> Iterator[ReadLine]:
        """The lines that have ended, in manifest order, from the number `first` on and before `stop`."""
        stop = batch.lines if stop is None else min(stop, batch.lines)
        while first < stop and (page := all_lines(batch, lines, first, min(PAGE, stop - first))):
            yield from self.read(batch, lines, [record for record in page if record.state.ended])
            first += len(page)

    def request(self, batch: Batch, line: ReadLine) -> AnyRequest:
        """What the line asked for."""
        return line.job.request if line.job else self._manifests.lines(batch.id, line.record.number, 1)[0].request
