"""What a batch is: an immutable record of it, and of how its lines stand. docs/adr/0015-batches.md has the reasons.

A batch's lines wait in S3; one that enters the batch's window becomes a job. Times are milliseconds of Redis's clock.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from pydantic import Field
from ulid import ULID

from imagequeue.errors import ImageQueueError, NotFound
from imagequeue.jobs import DEFAULT_RETENTION_MS, Frozen, Idempotency, PriceEstimate

_BATCH_ID: Final = re.compile(r"batch_[0-7][0-9A-HJKMNP-TV-Z]{25}")
LINE_BYTES: Final = 27
"""Of each line that has begun; scripts/_batches.lua says what they are."""
_ULID_BYTES: Final = 26
PauseReason = Literal["asked", "max_cost_usd", "budget_exceeded"]
WaitReason = Literal["max_cost_usd", "budget_exceeded", "too_many_jobs", "too_fast"]


class BatchNotFound(NotFound):
    """No such batch, or one that belongs to somebody else."""

    code = "batch_not_found"

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"There is no batch {batch_id!r}.")


class BatchOver(ImageQueueError):
    """A batch that has ended, or was cancelled, is not paused, resumed or changed any more."""

    code = "batch_over"


class BatchRunning(ImageQueueError):
    """A batch that has not ended is not deleted."""

    code = "batch_running"

    def __init__(self, batch_id: str, why: str = "has not ended") -> None:
        super().__init__(f"Batch {batch_id} {why}, so it cannot be deleted: cancel it or wait, and delete it then.")


class BatchState(StrEnum):
    """Only a running batch begins lines. A cancelled one begins no more; it has ended with its last job."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    COMPLETED = "completed"


class LineState(StrEnum):
    """How one line of a batch stands."""

    WAITING = "waiting"  # it has not begun, or is to run again
    IN_FLIGHT = "in_flight"  # it has a job that has not ended
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"  # by OpenAI's safety system: the same request would be refused again
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether it has ended, unless it is run again."""
        return self not in (LineState.WAITING, LineState.IN_FLIGHT)


LETTERS: Final = {
    "w": LineState.WAITING,
    "q": LineState.IN_FLIGHT,
    "s": LineState.SUCCEEDED,
    "f": LineState.FAILED,
    "r": LineState.REFUSED,
    "c": LineState.CANCELLED,
}
LETTER_OF: Final = {state: letter for letter, state in LETTERS.items()}


class LineCounts(Frozen):
    """How many lines of a batch stand how."""

    waiting: int
    in_flight: int
    succeeded: int
    failed: int
    refused: int
    cancelled: int


class Batch(Frozen):
    """A batch as the store holds it. Money is in millionths of a dollar but for the estimate."""

    id: str
    owner: str
    state: BatchState
    name: str | None = None
    key_id: str | None = None  # the API key that pays
    reason: PauseReason | None = None  # why it is paused
    resumes_at: int | None = None  # it goes on by itself then
    waits_for: WaitReason | None = None  # why no line begins although it runs
    lines: int
    images: int
    skipped: int = 0  # bad lines that were left out
    estimate: PriceEstimate
    window: int  # lines in flight at most
    priority: int = 0  # higher first
    max_cost: int | None = None
    webhook: str | None = None
    created_at: int
    updated_at: int
    started_at: int | None = None  # the first line began
    finished_at: int | None = None  # the last line ended
    retention_ms: int = DEFAULT_RETENTION_MS  # how long it is kept after its end
    next_line: int = 0  # the first that has never begun
    feed_until: int = 0  # lines from this one on will not begin: all, or those before a cancel
    in_flight: int = 0
    succeeded: int = 0
    failed: int = 0
    refused: int = 0
    cancelled: int = 0
    images_made: int = 0
    spent: int = 0  # by the jobs that have ended; what is not known counts at the expected price
    guessed: int = 0  # the part of it that is not known
    reserved: int = 0  # what those in flight may cost
    pace: float | None = None  # milliseconds from the end of one line to that of the next, lately
    economy: bool = False  # its lines go through OpenAI's Batch API, as long as the deadline allows
    deadline: int | None = None  # all lines are to have ended by then
    at_openai: int = 0  # lines in flight that are there, or on their way
    moved: int = 0  # lines that came back from there unexecuted, to be run in real time

    @property
    def ended(self) -> bool:
        """Whether all lines have ended."""
        return self.finished_at is not None

    @property
    def counts(self) -> LineCounts:
        """How its lines stand."""
        ended = self.succeeded + self.failed + self.refused + self.cancelled
        return LineCounts(
            waiting=self.lines - self.in_flight - ended,
            in_flight=self.in_flight,
            succeeded=self.succeeded,
            failed=self.failed,
            refused=self.refused,
            cancelled=self.cancelled,
        )

    @property
    def expires_at(self) -> int | None:
        """When its record and manifest are deleted; None until it has ended."""
        return None if self.finished_at is None else self.finished_at + self.retention_ms


class NewBatch(Frozen):
    """A batch that is not stored yet; its manifest is in S3."""

    id: str
    owner: str
    key_id: str | None = None
    name: str | None = None
    lines: int
    images: int
    skipped: int = 0
    estimate: PriceEstimate
    window: int
    priority: int = 0
    max_cost: int | None = None
    webhook: str | None = None
    retention_ms: int = DEFAULT_RETENTION_MS
    economy: bool = False
    deadline: int | None = None
    idempotency: Idempotency | None = Field(default=None, exclude=True)


@dataclass(frozen=True, slots=True)
class LineRecord:
    """How a line stands, and its job, if one was made."""

    number: int
    state: LineState
    job_id: str | None = None


def new_batch_id() -> str:
    """`batch_` and 26 ULID characters."""
    return f"batch_{ULID()}"


def is_batch_id(text: str) -> bool:
    """Whether `text` has the form of a batch's id."""
    return _BATCH_ID.fullmatch(text) is not None


def job_id_of_ulid(ulid: str) -> str:
    """The id of the job of this ULID."""
    return f"job_{ulid}"


def line_records(text: str, first: int) -> list[LineRecord]:
    """Lines from the number `first` on, as Redis keeps those that have begun."""
    pieces = (text[start : start + LINE_BYTES] for start in range(0, len(text) - LINE_BYTES + 1, LINE_BYTES))
    return [_line_record(first + index, piece) for index, piece in enumerate(pieces)]


def _line_record(number: int, piece: str) -> LineRecord:
    ulid = piece[:_ULID_BYTES].strip(" \0")
    return LineRecord(number, LETTERS[piece[_ULID_BYTES]], job_id_of_ulid(ulid) if ulid else None)
