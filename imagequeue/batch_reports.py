"""What a batch came to: the figures that a person wants to see before paying for the next one."""

from __future__ import annotations

import heapq
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, Self

from pydantic import Field

from imagequeue.batch_lines import LineOutcome
from imagequeue.batch_views import BatchView
from imagequeue.batches import LineState
from imagequeue.jobs import JobError
from imagequeue.views import View

_SLOWEST: Final = 10
_EXAMPLES: Final = 5
_NO_REASON: Final = JobError(code="unknown", message="The line's record is gone.")


class LineSeconds(View):
    """How long lines took, from the first start of their jobs to their ends: waits for another try are in it."""

    lines: int = Field(description="Lines that succeeded by calls of their own.")
    p50: float
    p95: float
    longest: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Self | None:
        """Of lines that took so long; None without any."""
        if not seconds:
            return None
        ordered = sorted(seconds)
        return cls(lines=len(ordered), p50=_rank(ordered, 0.5), p95=_rank(ordered, 0.95), longest=ordered[-1])


class EndedBecause(View):
    """Lines that ended for the same reason."""

    reason: str = Field(description="Of refusals what OpenAI's safety system names, if it does; else the error's code.")
    lines: int
    message: str = Field(description="Of the first of them.")
    custom_ids: tuple[str, ...] = Field(description="The first of them.")


class SlowLine(View):
    """A line that took long."""

    line: int
    custom_id: str
    job_id: str
    seconds: float
    attempts: int = Field(description="Calls and other tries.")
    state: LineState


class BatchReport(View):
    """A batch as it is by now, in figures."""

    batch: BatchView
    seconds: float | None = Field(description="Since its first line began, until its last one ended, or until now.")
    images_per_minute: float | None = Field(description="In that time.")
    cost_usd_per_image: float | None = Field(description="Of the images that were made and whose cost is known.")
    line_seconds: LineSeconds | None = Field(description="Null while no line has succeeded.")
    reused_lines: int = Field(description="Lines that took the images of earlier jobs, at no cost.")
    repeated_lines: int = Field(description="Lines whose job took more than one try.")
    refusals: tuple[EndedBecause, ...] = Field(description="By reason, the most frequent first.")
    failures: tuple[EndedBecause, ...] = Field(description="By the error's code, the most frequent first.")
    slowest: tuple[SlowLine, ...]
    page_url: str = Field(description="Path of the report as a page, with contact sheets.")
    archive_url: str = Field(description="Path of all images as a ZIP.")


def make_report(batch: BatchView, lines: Iterable[LineOutcome]) -> BatchReport:
    """Look through a batch's lines that have ended; of each, some bytes are kept."""
    seconds: list[float] = []
    slow: list[tuple[float, int, SlowLine]] = []
    refusals, failures = _Reasons(), _Reasons()
    reused = repeated = 0
    for line in lines:
        state, job = line.record.state, line.job
        if state is LineState.REFUSED:
            refusals.add(line, ", ".join((line.error or _NO_REASON).categories))
        elif state is LineState.FAILED:
            failures.add(line)
        if job is None:
            continue
        reused += job.reused_from is not None
        repeated += job.tries > 1
        if job.started_at is None or job.finished_at is None:
            continue
        took = (job.finished_at - job.started_at) / 1000
        if state is LineState.SUCCEEDED:
            seconds.append(took)
        one = SlowLine(
            line=line.record.number,
            custom_id=line.custom_id,
            job_id=job.id,
            seconds=took,
            attempts=job.tries,
            state=state,
        )
        (heapq.heappush if len(slow) < _SLOWEST else heapq.heappushpop)(slow, (took, -one.line, one))
    whole = _whole_seconds(batch)
    return BatchReport(
        batch=batch,
        seconds=whole,
        images_per_minute=round(60 * batch.images_made / whole, 2) if whole else None,
        cost_usd_per_image=round(batch.cost_usd_estimated / batch.images_made, 6) if batch.images_made else None,
        line_seconds=LineSeconds.of(seconds),
        reused_lines=reused,
        repeated_lines=repeated,
        refusals=refusals.counted,
        failures=failures.counted,
        slowest=tuple(one for *_, one in sorted(slow, reverse=True)),
        page_url=f"/v1/batches/{batch.id}/report.html",
        archive_url=f"/v1/batches/{batch.id}/images.zip",
    )


class _Reasons:
    """Counts lines by why they ended."""

    def __init__(self) -> None:
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._messages: dict[str, str] = {}
        self._examples: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, line: LineOutcome, reason: str = "") -> None:
        error = line.error or _NO_REASON
        reason = reason or error.code
        self._counts[reason] += 1
        self._messages.setdefault(reason, error.message)
        if len(self._examples[reason]) < _EXAMPLES:
            self._examples[reason].append(line.custom_id)

    @property
    def counted(self) -> tuple[EndedBecause, ...]:
        ordered = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        return tuple(
            EndedBecause(
                reason=reason,
                lines=count,
                message=self._messages[reason],
                custom_ids=tuple(self._examples[reason]),
            )
            for reason, count in ordered
        )


def _rank(ordered: Sequence[float], share: float) -> float:
    """The nearest rank: a value that a line really took."""
    return ordered[math.ceil(share * len(ordered)) - 1]


def _whole_seconds(batch: BatchView) -> float | None:
    if batch.started_at is None:
        return None
    end = batch.finished_at.timestamp() if batch.finished_at else time.time()
    return round(max(end - batch.started_at.timestamp(), 0.0), 3)
