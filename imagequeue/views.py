"""What a client sees of a record: the one shape behind REST, MCP and the command line."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from imagequeue.durations import expected_seconds
from imagequeue.jobs import (
    Applied,
    Attempt,
    AttemptOutcome,
    Image,
    Job,
    JobError,
    JobInput,
    JobState,
    JobType,
    Lane,
    PartialImage,
    PriceEstimate,
    Route,
    Usage,
)
from imagequeue.rate_limits import LimiterState
from imagequeue.requests import AnyRequest
from imagequeue.sizes import parse_size

_SLOTS: Final = 128
"""Calls that one worker holds by default."""

Timestamp = Annotated[datetime, Field(description="UTC, ISO 8601.", examples=["2026-08-01T12:00:00.000Z"])]


class View(BaseModel):
    """Immutable and closed: what is not declared is not shown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ImageView(View):
    """One finished image."""

    index: int = Field(description="0-based.")
    key: str = Field(description="Key in the bucket.")
    url: str = Field(description="Stable path of the image; redirects to a fresh presigned URL.")
    preview_url: str = Field(
        description="The same for the preview: JPEG (WebP if transparent), longest edge 768 pixels."
    )
    filename: str
    mime_type: str
    size_bytes: int
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    sha256: str = Field(description="Of the original's bytes, hexadecimal.")


class PartialImageView(View):
    """A preview of the unfinished image."""

    partial_index: int = Field(description="0-based; each is finer than the one before.")
    url: str = Field(description="Stable path; redirects to a fresh presigned URL.")
    mime_type: str
    size: str = Field(description="WIDTHxHEIGHT in pixels.")
    size_bytes: int


class AttemptView(View):
    """One try. `outcome` is null while it runs; `unknown` means that it may be billed."""

    number: int
    worker: str
    started_at: Timestamp
    call_started_at: Timestamp | None = Field(description="When the request left for OpenAI.")
    answered_at: Timestamp | None = Field(description="When the whole answer was on the worker's disk.")
    ended_at: Timestamp | None
    outcome: AttemptOutcome | None
    request_id: str | None = Field(description="OpenAI's id of the call.")
    route: Route | None = Field(description="`batch`: in a batch of OpenAI's, at half the price.")
    code: str | None = Field(description="Of the error that ended it.")
    error: str | None
    cost_usd_estimated: float | None = Field(description="What it cost; null when that is not known.")
    possible_extra_cost_usd: float = Field(description="What it may have cost without an image to show for it.")


class JobView(View):
    """A job as clients see it."""

    id: str = Field(examples=["job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"])
    type: JobType
    state: JobState
    lane: Lane
    model: str
    request: AnyRequest
    session_id: str | None = Field(description="The edit session that the job is a turn of.")
    turn: int | None = Field(description="Number of the turn, from 1.")
    batch_id: str | None = Field(default=None, description="The batch that the job is a line of.")
    custom_id: str | None = Field(default=None, description="What the batch's manifest calls the line.")
    webhook: str | None = Field(default=None, description="URL that is told when the job has ended.")
    reused_from: str | None = Field(
        default=None, description="The job whose images these are copies of, as `reuse` asked; null for all others."
    )
    position: int | None = Field(description="Jobs to be served up to and including this one; null when not queued.")
    waiting_for: str | None = Field(description="What the job waits for; null once it has ended.")
    eta_seconds: int | None = Field(
        default=None, description="Seconds until it has probably ended; null once it has, and where nobody can tell."
    )
    created_at: Timestamp
    started_at: Timestamp | None
    finished_at: Timestamp | None
    expires_at: Timestamp | None = Field(
        default=None, description="When the job and its images are deleted; null until it has ended."
    )
    attempts: tuple[AttemptView, ...]
    inputs: tuple[JobInput, ...] = Field(description="The images that were sent to OpenAI, then the mask.")
    partial_images: tuple[PartialImageView, ...] = Field(
        default=(), description="Previews of the unfinished image that have come so far, if the request asks for any."
    )
    images: tuple[ImageView, ...]
    applied: Applied | None = Field(description="Settings that OpenAI says it used.")
    usage: Usage | None
    cost_usd_estimated: float | None = Field(description="From OpenAI's usage figures; null when it gave none.")
    estimate: PriceEstimate = Field(description="Price before the call.")
    possible_extra_cost_usd: float = Field(description="What attempts of unknown fate may have cost on top.")
    error: JobError | None
    notes: tuple[str, ...] = Field(description="Caveats about how the request was served.")


class JobPage(View):
    """Jobs, newest first."""

    jobs: tuple[JobView, ...]
    next_cursor: str | None = Field(description="Pass as `cursor` for the next page; null on the last.")
    missing: tuple[str, ...] | None = Field(
        default=None,
        exclude_if=lambda missing: missing is None,
        description="Those of `ids` that are no jobs of yours; only where `ids` were asked for.",
    )


def job_view(job: Job, position: int | None, limiter: LimiterState) -> JobView:
    """Show a job; `position` is its place in the queue while it waits, `limiter` what holds the fleet back."""
    return JobView(
        **job.model_dump(
            include={"id", "type", "state", "lane", "model", "cost_usd_estimated", "notes", "session_id", "turn"}
            | {"reused_from"}
        ),
        batch_id=job.batch_id,
        custom_id=job.custom_id,
        webhook=job.webhook,
        request=job.request,
        applied=job.applied,
        usage=job.usage,
        inputs=job.inputs,
        estimate=job.estimate,
        error=job.error,
        position=position,
        waiting_for=waiting_for(job, position, limiter),
        eta_seconds=eta_seconds(job, position, limiter),
        created_at=utc(job.created_at),
        started_at=utc_or_none(job.started_at),
        finished_at=utc_or_none(job.finished_at),
        expires_at=utc_or_none(job.expires_at),
        attempts=tuple(_attempt_view(job, attempt) for attempt in job.attempts),
        partial_images=tuple(partial_image_view(job.id, partial) for partial in job.partial_images),
        images=tuple(image_view(job, image) for image in job.images),
        possible_extra_cost_usd=job.possible_extra_cost_usd,
    )


def image_path(job_id: str, index: int) -> str:
    """The stable path of an image."""
    return f"/v1/jobs/{job_id}/images/{index}"


def waiting_for(job: Job, position: int | None, limiter: LimiterState) -> str | None:
    """What a job waits for, in words; None once it has ended."""
    if job.state.terminal:
        return None
    if job.cancel_requested:
        return "the worker to stop"
    if job.state is JobState.RUNNING:
        spooled = job.attempts and job.attempts[-1].answered
        return "its images, which OpenAI has made, to be stored" if spooled else "OpenAI's answer"
    if limiter.reason:
        return limiter.reason
    if job.not_before is not None:
        return f"a retry not before {utc(job.not_before).isoformat(timespec='seconds')}: {job.attempts[-1].error}"
    if position is None:
        return "the session's turns before it"
    ahead = position - 1
    behind = f", behind {ahead:,} other jobs" if ahead else ""
    if limiter.parked:
        return f"room within OpenAI's rate limits{limiter.pace(position)}{behind}"
    return f"a free worker slot{behind}"


def eta_seconds(job: Job, position: int | None, limiter: LimiterState) -> int | None:
    """Whole seconds until a job has probably ended, 1 at least.

    No worker slot is counted on but those of one worker with the default number.
    """
    if job.state.terminal:
        return None
    call = expected_seconds(job.model, parse_size(job.request.size), job.request.quality, limiter.measured)
    if job.state is JobState.RUNNING:
        begun = job.attempts[-1].call_started or job.attempts[-1].started
        return max(1, round(call - (time.time() - begun / 1000)))
    if position is None or limiter.reason or job.not_before is not None:
        return None
    return max(1, round(limiter.seconds_until(position) + call * (1 + (position - 1) // _SLOTS)))


def _attempt_view(job: Job, attempt: Attempt) -> AttemptView:
    return AttemptView(
        **attempt.model_dump(exclude={"started", "call_started", "partial_images", "answered", "ended"}),
        started_at=utc(attempt.started),
        call_started_at=utc_or_none(attempt.call_started),
        answered_at=utc_or_none(attempt.answered),
        ended_at=utc_or_none(attempt.ended),
        possible_extra_cost_usd=job.estimate.expected_usd if attempt.maybe_billed_for_nothing else 0.0,
    )


def image_view(job: Job, image: Image) -> ImageView:
    """Show one image of a job."""
    path = image_path(job.id, image.index)
    return ImageView(**image.model_dump(exclude={"preview_key"}), url=path, preview_url=f"{path}?variant=preview")


def partial_image_path(job_id: str, partial_index: int) -> str:
    """The stable path of a preview of the unfinished image."""
    return f"/v1/jobs/{job_id}/partials/{partial_index}"


def partial_image_view(job_id: str, partial: PartialImage) -> PartialImageView:
    """Show a preview of a job's unfinished image."""
    url = partial_image_path(job_id, partial.partial_index)
    return PartialImageView(**partial.model_dump(exclude={"key"}), url=url)


def utc(milliseconds: int) -> datetime:
    """Redis's milliseconds as a point in time."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def utc_or_none(milliseconds: int | None) -> datetime | None:
    """The same for what may not have happened yet."""
    return None if milliseconds is None else utc(milliseconds)
