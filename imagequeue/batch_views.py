"""What a client sees of a batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from pydantic import Field

from imagequeue.batch_events import CountsView, counts_view
from imagequeue.batch_requests import BatchOptions
from imagequeue.batches import Batch, BatchState, LineRecord, LineState, WaitReason
from imagequeue.estimate_views import ManifestBody
from imagequeue.jobs import Job, JobError, PriceEstimate, Usage
from imagequeue.manifests.views import LineViolation
from imagequeue.rate_limits import LimiterState
from imagequeue.views import ImageView, Timestamp, View, image_view, utc, utc_or_none

_MICRO: Final = 1_000_000
_WAITS: Final[Mapping[WaitReason, str]] = {
    "max_cost_usd": "lines in flight to settle: with what those may cost, the next one could exceed max_cost_usd",
    "budget_exceeded": "jobs in flight to settle: together with what they may cost, the next line could exceed the API "
    "key's budget",
    "too_many_jobs": "jobs of the API key to end: it has as many in flight as it may",
    "too_fast": "the API key's next minute: it has submitted as many jobs as it may",
}


class PauseView(View):
    """Why a batch is paused."""

    code: str = Field(description="`asked`, `max_cost_usd` or `budget_exceeded`.", examples=["max_cost_usd"])
    message: str
    resumes_at: Timestamp | None = Field(description="When it goes on by itself; null: when it is resumed.")


class BatchBody(ManifestBody, BatchOptions):
    """A new batch: its lines, and how they are to be run."""


class BatchView(View):
    """A batch as clients see it."""

    id: str = Field(examples=["batch_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"])
    state: BatchState
    name: str | None
    pause: PauseView | None = Field(description="Why it is paused; null while it is not.")
    waiting_for: str | None = Field(description="Why no line begins although it runs; null when lines begin.")
    lines: int
    images: int = Field(description="That its lines ask for.")
    images_made: int = Field(description="That are stored so far.")
    counts: CountsView
    window: int = Field(description="Lines in flight at most.")
    priority: int
    max_cost_usd: float | None
    economy: bool = Field(description="Lines that have not begun go through OpenAI's Batch API, at half the price.")
    deadline: Timestamp | None = Field(description="By then all lines are to have ended; null: as soon as possible.")
    at_openai: int = Field(description="Lines in flight that are in OpenAI's Batch API, or on their way there.")
    moved_to_real_time: int = Field(description="Lines that OpenAI's Batch API has not done in time; at full price.")
    estimate: PriceEstimate = Field(description="Price of all lines, before the calls.")
    cost_usd_estimated: float = Field(description="Of the lines that have ended, as far as it is known.")
    possible_extra_cost_usd: float = Field(
        description="What calls of unknown fate or unknown price may have cost on top; max_cost_usd holds for both."
    )
    reserved_usd: float = Field(description="What the lines in flight may cost at most.")
    eta_seconds: int | None = Field(
        default=None, description="Seconds until it has probably ended; null once it has, and where nobody can tell."
    )
    webhook: str | None
    created_at: Timestamp
    started_at: Timestamp | None = Field(description="When its first line began.")
    finished_at: Timestamp | None = Field(description="When its last line ended.")
    expires_at: Timestamp | None = Field(description="When it is deleted with its manifest; null until it has ended.")
    results_url: str = Field(description="Path of its results, as JSONL.")
    skipped_lines: int = Field(description="Bad lines that were left out, as `skip_invalid` asked.")
    skipped: tuple[LineViolation, ...] = Field(
        default=(), description="What is wrong with the first of them; only in the answer that made the batch."
    )


class BatchPage(View):
    """Batches, newest first."""

    batches: tuple[BatchView, ...]
    next_cursor: str | None = Field(description="Pass as `cursor` for the next page; null on the last.")


class BatchProgress(View):
    """Data of the event `progress` of a batch: what changes with its lines."""

    id: str
    state: BatchState
    counts: CountsView
    images_made: int
    cost_usd_estimated: float
    possible_extra_cost_usd: float
    reserved_usd: float
    waiting_for: str | None
    eta_seconds: int | None


class ResultLine(View):
    """How a line ended."""

    line: int = Field(description="Number in the manifest, from 0.")
    position: int | None = Field(description="Place in the order in which lines ended, from 0; null in manifest order.")
    custom_id: str
    state: LineState
    job_id: str | None = Field(description="Null when no job could be made of the line.")
    images: tuple[ImageView, ...] = ()
    error: JobError | None = None
    usage: Usage | None = None
    cost_usd_estimated: float | None = Field(description="Null when it is not known.")
    possible_extra_cost_usd: float = 0
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None
    attempts: int = Field(default=0, description="Calls and other tries.")


def batch_view(batch: Batch, limiter: LimiterState, skipped: tuple[LineViolation, ...] = ()) -> BatchView:
    """Show a batch; `limiter` is what holds the fleet back."""
    return BatchView(
        **batch.model_dump(
            include={"id", "state", "name", "lines", "images", "images_made", "window", "priority", "webhook"}
        ),
        estimate=batch.estimate,
        economy=batch.economy,
        deadline=utc_or_none(batch.deadline),
        at_openai=batch.at_openai,
        moved_to_real_time=batch.moved,
        pause=_pause(batch),
        waiting_for=_waiting_for(batch, limiter),
        counts=counts_view(batch.counts),
        max_cost_usd=None if batch.max_cost is None else batch.max_cost / _MICRO,
        **_money(batch),
        eta_seconds=eta_seconds(batch, limiter),
        created_at=utc(batch.created_at),
        started_at=utc_or_none(batch.started_at),
        finished_at=utc_or_none(batch.finished_at),
        expires_at=utc_or_none(batch.expires_at),
        results_url=f"/v1/batches/{batch.id}/results",
        skipped_lines=batch.skipped,
        skipped=skipped,
    )


def batch_progress(batch: Batch, limiter: LimiterState) -> BatchProgress:
    """How far a batch is."""
    return BatchProgress(
        id=batch.id,
        state=batch.state,
        counts=counts_view(batch.counts),
        images_made=batch.images_made,
        **_money(batch),
        waiting_for=_waiting_for(batch, limiter),
        eta_seconds=eta_seconds(batch, limiter),
    )


def eta_seconds(batch: Batch, limiter: LimiterState) -> int | None:
    """Whole seconds until a batch has probably ended, by the pace of its lines lately, or by the limiter's rate."""
    left = batch.counts.waiting + batch.in_flight
    if batch.ended or batch.state is BatchState.PAUSED or not left or batch.economy or batch.at_openai:
        return None  # nobody can tell when OpenAI comes to a batch of its Batch API
    if batch.pace is not None:
        return max(1, math.ceil(left * batch.pace / 1000))
    if limiter.images_per_minute:
        return max(1, math.ceil(60 * batch.images / batch.lines * left / limiter.images_per_minute))
    return None


def result_line(
    record: LineRecord, custom_id: str, job: Job | None, position: int | None, error: JobError | None
) -> ResultLine:
    """Show how a line ended; `job` is None when there is none, or it was deleted, `error` says why there is none."""
    if job is None:
        return ResultLine(
            line=record.number,
            position=position,
            custom_id=custom_id,
            state=record.state,
            job_id=record.job_id,
            error=error,
            cost_usd_estimated=None if record.job_id else 0.0,
        )
    return ResultLine(
        line=record.number,
        position=position,
        custom_id=custom_id,
        state=record.state,
        job_id=job.id,
        images=tuple(image_view(job, image) for image in job.images),
        error=job.error,
        usage=job.usage,
        cost_usd_estimated=job.cost_usd_estimated,
        possible_extra_cost_usd=job.possible_extra_cost_usd,
        started_at=utc_or_none(job.started_at),
        finished_at=utc_or_none(job.finished_at),
        attempts=len(job.attempts),
    )


def _money(batch: Batch) -> dict[str, Any]:
    return {
        "cost_usd_estimated": (batch.spent - batch.guessed) / _MICRO,
        "possible_extra_cost_usd": batch.guessed / _MICRO,
        "reserved_usd": batch.reserved / _MICRO,
    }


def _pause(batch: Batch) -> PauseView | None:
    if batch.state is not BatchState.PAUSED or batch.reason is None:
        return None
    resumes_at = utc_or_none(batch.resumes_at)
    return PauseView(code=batch.reason, message=_pause_message(batch, resumes_at), resumes_at=resumes_at)


def _pause_message(batch: Batch, resumes_at: datetime | None) -> str:
    resume = f"POST /v1/batches/{batch.id}/resume"
    if batch.reason == "max_cost_usd":
        cap = (batch.max_cost or 0) / _MICRO
        return (
            f"${batch.spent / _MICRO:.4f} of max_cost_usd, ${cap:.4f}, are spent, and the next line could exceed it. "
            f"Raise it (PATCH /v1/batches/{batch.id}): the batch goes on then."
        )
    if batch.reason == "budget_exceeded":
        goes_on = (
            f"It goes on by itself at {resumes_at:%Y-%m-%dT%H:%M:%SZ}" if resumes_at else "The line alone exceeds it"
        )
        return f"The API key's budget has no room for the next line. {goes_on}; have the budget raised and {resume}."
    return f"You asked for it. {resume} goes on."


def _waiting_for(batch: Batch, limiter: LimiterState) -> str | None:
    if batch.ended or batch.state is not BatchState.RUNNING:
        return None
    return limiter.reason or (_WAITS[batch.waits_for] if batch.waits_for else None)
