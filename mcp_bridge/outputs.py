"""What the tools give back as structured content. There is no image data in it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from imagequeue.jobs import Applied, JobError, PriceEstimate, Usage

Status = Literal["running", "succeeded", "failed", "cancelled"]


class Output(BaseModel):
    """Immutable; says exactly what it holds."""

    model_config = ConfigDict(frozen=True)


class Requested(Output):
    """The settings that were asked for."""

    size: str
    quality: str
    background: str
    n: int
    output_format: str | None = Field(description="null: the session's format is kept.")
    output_compression: int | None = None
    moderation: str | None = None
    filename_prefix: str | None = None
    user: str | None = None


class OutputImage(Output):
    """One image."""

    index: int = Field(description="0-based.")
    file_path: str | None = Field(description="Where the original was saved on this machine; null when it was not.")
    resource: str = Field(description="Resource of the original, byte for byte.")
    source: str = Field(description="Name it so in `images` of edit_image or start_edit_session.")
    url: str = Field(description="Path, or address, of the original in the REST API.")
    filename: str
    mime_type: str
    size_bytes: int
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    sha256: str = Field(description="Of the original's bytes.")


class ImageResult(Output):
    """What became of a request for images."""

    job_id: str = Field(description="For wait_for_jobs and cancel_job.")
    status: Status = Field(
        description='"running": it has not ended; its images come with wait_for_jobs. Nothing is lost meanwhile.'
    )
    model: str
    prompt: str
    requested: Requested
    applied: Applied | None = Field(description="Settings that OpenAI says it used; null until it has answered.")
    images: tuple[OutputImage, ...]
    usage: Usage | None = Field(description="Tokens as OpenAI counted them; null when it did not say.")
    cost_usd_estimated: float | None = Field(description="From those tokens; null when it is not known, never 0.")
    estimate: PriceEstimate = Field(description="Price before the call.")
    possible_extra_cost_usd: float = Field(description="What attempts of unknown fate may have cost on top.")
    route: Literal["direct", "responses"] | None = Field(
        default=None,
        description='Which API route served the request (edit tools only): "direct" = /v1/images/edits, "responses" = '
        "Responses-API fallback (one image per call, undercounted cost).",
    )
    notes: tuple[str, ...] = Field(default=(), description="Caveats about how the request was served.")
    position: int | None = Field(default=None, description="Place in the queue; only while it waits there.")
    waiting_for: str | None = Field(default=None, description="What it waits for; only while it has not ended.")
    error: JobError | None = Field(default=None, description="Why it failed.")


class TurnResult(ImageResult):
    """What became of a turn."""

    session_id: str = Field(description="For continue_edit_session.")
    turn: int = Field(description="Number of the turn, from 1.")


class JobResult(ImageResult):
    """What became of a job of any kind."""

    session_id: str | None = Field(default=None, description="The session that it is a turn of.")
    turn: int | None = Field(default=None, description="Number of the turn, from 1.")


class WaitResult(Output):
    """What became of the jobs that were waited for."""

    jobs: tuple[JobResult, ...] = Field(description="In the order asked for.")
    running: tuple[str, ...] = Field(description="The job_id of those that have not ended: call wait_for_jobs again.")


class CancelResult(Output):
    """What a cancel led to."""

    job_id: str
    status: Status
    message: str


class CostEstimate(Output):
    """Dollars before the call."""

    low_usd: float
    expected_usd: float
    high_usd: float
    price_table: str = Field(description="Version of the prices.")
    basis: str = Field(description="What the figures assume.")


class SessionInfo(Output):
    """A session."""

    session_id: str
    state: Literal["active", "ended", "expired"] = Field(description="Only an active session takes turns.")
    created_at: str = Field(description="UTC, ISO 8601.")
    updated_at: str = Field(description="UTC, ISO 8601; its idle time counts from here.")
    turns: int = Field(description="Turns added, whatever became of them.")
    turn: int = Field(description="The last turn that succeeded; 0 before the first.")
    turns_waiting: int = Field(description="Turns that wait or run.")
    last_prompt: str | None
    last_image_path: str | None = Field(description="Where this machine has the current image; null when it has not.")
    last_image: str | None = Field(description="Resource of the current image; null before the first.")
    output_format: str = Field(description="Kept by turns that name none.")
    forked_from: str | None = Field(description="`session_id/turn` that its first image came from.")
    cost_usd_estimated: float = Field(description="Of all turns together, as far as it is known.")
    possible_extra_cost_usd: float = Field(description="What attempts of unknown fate may have cost on top.")


class SessionList(Output):
    """The sessions, newest first."""

    sessions: tuple[SessionInfo, ...]
    more: bool = Field(description="There are older ones that are not listed.")


class SessionDetail(SessionInfo):
    """A session with its turns."""

    history: tuple[TurnResult, ...] = Field(description="The turns by number.")


class EndResult(Output):
    """A session that takes no more turns."""

    ended: bool
    session_id: str
