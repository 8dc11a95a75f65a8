"""Landing a parcel: what OpenAI's batch gave becomes jobs with stored images, line by line while it is downloaded.

Each paid image goes to the spool, with its note, before anything else is done with it; from there on it takes the way
of every other answer. All of it may be done again, by whomever: a job of a line is made once.
"""

from __future__ import annotations

import asyncio
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from imagequeue.errors import OutcomeUnknown, ProviderError, Unavailable
from imagequeue.inputs import CHECK_PREFIX
from imagequeue.jobs import Claim, Job
from imagequeue.parcels import PackedLine, Parcel
from imagequeue.store.attempts import AttemptStore, new_holder
from imagequeue.store.parcels import ParcelStore
from worker.economy.input_lines import number_of
from worker.economy.output_lines import NotRun, OutputLine, OutputReader, meaning_of_line
from worker.economy.remote_batches import RemoteBatch, RemoteBatches
from worker.endings import ClaimLost
from worker.image_answers import SANDBOX_HEADER, SANDBOX_NOTE
from worker.loop import LoopThread
from worker.policy import Action, action_of
from worker.runner import Runner
from worker.spool import AnswerNote, Painted

FIRST_ATTEMPT: Final = 1
_AT_ONCE: Final = 8
_NOT_SERVED: Final = (Action.RETRY, Action.PAUSE, Action.BREAK)
_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LineJobs:
    """Makes jobs of lines that OpenAI has answered, and takes over those of a lander that died."""

    store: ParcelStore
    attempts: AttemptStore
    worker: str
    lease_ms: int

    def land(self, parcel: Parcel, line: PackedLine) -> Claim | None:
        """A claim of the line's job, whose call is over; None when the line has ended or somebody else works on it.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        landed = self.store.land(parcel, line, self.worker, self.lease_ms)
        if not isinstance(landed, Job):
            return landed
        holder = new_holder(self.worker)
        adopted = self.attempts.adopt(landed, FIRST_ATTEMPT, self.worker, holder, self.lease_ms) == "adopted"
        return Claim(job=landed, holder=holder) if adopted else None


@dataclass(slots=True)
class Landed:
    """Lines of which OpenAI's files spoke, and those of them that it did not execute."""

    seen: set[int] = field(default_factory=set[int])
    not_run: set[int] = field(default_factory=set[int])


@dataclass(frozen=True, slots=True)
class Lander:
    """Lands parcels; some lines at once, so that neither disk nor memory fills."""

    remote: RemoteBatches
    loop: LoopThread
    jobs: LineJobs
    runner: Runner

    def land(self, parcel: Parcel, batch: RemoteBatch, lines: dict[int, PackedLine]) -> Landed:
        """Read the batch's files to their ends, and end the jobs of `lines`, which are the unfinished ones by number.

        Raises:
            ProviderError: a file could not be read to its end.
            StoreUnavailable, OSError: as it says; doing it again goes on.
        """
        landed = Landed()
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="landing") as pool:
            for file_id in (batch.output_file_id, batch.error_file_id):
                if file_id is not None:
                    self.loop.submit(self._read(parcel, file_id, lines, landed, pool)).result()
        return landed

    def unknown(self, parcel: Parcel, line: PackedLine) -> None:
        """End a line of a completed batch of which neither file speaks."""
        text = "OpenAI's batch was completed, and neither its output nor its errors have this request."
        self._failed(parcel, line, OutcomeUnknown(text))

    async def _read(
        self, parcel: Parcel, file_id: str, lines: dict[int, PackedLine], landed: Landed, pool: ThreadPoolExecutor
    ) -> None:
        root = self.runner.spool.root / f"{CHECK_PREFIX}{parcel.id}-{file_id}"
        shutil.rmtree(root, ignore_errors=True)
        room, tasks = asyncio.Semaphore(_AT_ONCE), set[asyncio.Future[None]]()
        loop = asyncio.get_running_loop()

        async def take(line: OutputLine, notes: tuple[str, ...]) -> None:
            await room.acquire()
            if self.runner.stopping.is_set():
                raise Unavailable("the worker was told to stop: another one lands the rest")
            task = loop.run_in_executor(pool, self._take, parcel, line, notes, lines, landed)
            task.add_done_callback(lambda _: room.release())
            tasks.add(task)

        try:
            async with self.remote.reading(file_id) as (chunks, headers):
                notes = (SANDBOX_NOTE,) if SANDBOX_HEADER in headers else ()
                with closing(OutputReader(root)) as reader:
                    async for chunk in chunks:
                        for line in reader.feed(chunk):
                            await take(line, notes)
                    for line in reader.finish():
                        await take(line, notes)
        finally:
            results = await asyncio.gather(*tasks, return_exceptions=True)
            shutil.rmtree(root, ignore_errors=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _take(
        self,
        parcel: Parcel,
        line: OutputLine,
        notes: tuple[str, ...],
        lines: dict[int, PackedLine],
        landed: Landed,
    ) -> None:
        """End one line's job."""
        number = number_of(line.custom_id)
        packed = lines.get(number) if number is not None else None
        if packed is None:
            shutil.rmtree(line.folder, ignore_errors=True)  # it has ended, or is none of ours
            return
        meaning = meaning_of_line(line, notes)
        if isinstance(meaning, NotRun) or (isinstance(meaning, ProviderError) and action_of(meaning) in _NOT_SERVED):
            _log.info("line_not_run", parcel=parcel.id, line=number, why=str(meaning))
            landed.not_run.add(packed.number)
        elif isinstance(meaning, ProviderError):
            self._failed(parcel, packed, meaning)
        else:
            self._painted(parcel, packed, meaning)
        landed.seen.add(packed.number)

    def _painted(self, parcel: Parcel, line: PackedLine, painted: Painted) -> None:
        job = line.job
        folder = self.runner.spool.folder(job.id, FIRST_ATTEMPT)
        files = tuple(_moved(file, folder.path) for file in painted.files)
        note = AnswerNote(
            job_id=job.id,
            attempt=FIRST_ATTEMPT,
            files=files,
            usage=painted.usage,
            applied=painted.applied,
            request_id=painted.request_id,
            notes=painted.notes,
            output_format=job.request.output_format or "png",
            inputs=line.inputs,
        )
        folder.keep(note)
        claim = self.runner.endings.persist(lambda: self.jobs.land(parcel, line))
        if claim is not None:
            self.runner.resume(claim, note, folder)

    def _failed(self, parcel: Parcel, line: PackedLine, error: ProviderError) -> None:
        claim = self.runner.endings.persist(lambda: self.jobs.land(parcel, line))
        if claim is None:
            return
        with self.runner.heartbeat.holding(claim):
            try:
                self.runner.endings.failed(claim, error)
            except ClaimLost:
                _log.warning("claim_lost", job=claim.job.id, attempt=claim.attempt)


def _moved(file: Path, folder: Path) -> Path:
    """The file in another folder; one that a full disk has sent to memory is moved from there."""
    target = folder / file.name
    shutil.move(file, target)
    return target
