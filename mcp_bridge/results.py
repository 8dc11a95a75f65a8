"""From a job to what a tool answers: text that a person can read, images, links, and structured content."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import structlog
from mcp.types import CallToolResult, ContentBlock, ResourceLink, TextContent

from imagequeue.errors import ImageQueueError
from imagequeue.jobs import JobState
from imagequeue.views import ImageView, JobView
from mcp_bridge.bridge import Call
from mcp_bridge.output_folders import save
from mcp_bridge.outputs import ImageResult, JobResult, Output, OutputImage, Requested, Status, TurnResult
from mcp_bridge.previews import inline, share
from mcp_bridge.waiting import describe, dollars

REATTACHED: Final = (
    "Re-attached: the same call was made before and its result never handed over, so this is that job; nothing was "
    "bought again. The same call from now on makes new images."
)
_log = structlog.stdlib.get_logger(__name__)


def status(job: JobView) -> Status:
    """A job's state as the tools tell it: what has not ended is running."""
    ended: Mapping[JobState, Status] = {
        JobState.SUCCEEDED: "succeeded",
        JobState.FAILED: "failed",
        JobState.CANCELLED: "cancelled",
    }
    return ended.get(job.state, "running")


async def save_images(call: Call, job: JobView, folder: Path | None) -> tuple[dict[int, Path], list[str]]:
    """Save a job's images in `folder`; gives their paths by index, and notes on those that could not be saved."""
    saved: dict[int, Path] = {}
    notes: list[str] = []
    for image in job.images if folder else ():
        try:
            saved[image.index] = await save(call.door, job.id, image, folder or Path())
        except (OSError, ImageQueueError) as error:
            _log.warning("image_not_saved", job=job.id, folder=str(folder), error=str(error))
            notes.append(
                f"Image {image.index} is stored but was not saved in {folder}: {error}. "
                f'Call wait_for_jobs with job_ids ["{job.id}"] to save it again.'
            )
    return saved, notes


async def pictures(call: Call, job: JobView, limit: int, saved: Mapping[int, Path]) -> list[ContentBlock]:
    """Each image of at most `limit` bytes, or a preview of it, with a link to the original."""
    blocks: list[ContentBlock] = []
    for image in job.images:
        try:
            blocks.append(await inline(call.door, job.id, image, limit, saved.get(image.index)))
        except (OSError, ImageQueueError) as error:  # the link is still good
            blocks.append(TextContent(text=f"The preview of image {image.index} cannot be had now: {error}"))
        blocks.append(
            ResourceLink(
                name=image.filename,
                title=f"Image {image.index}, original",
                uri=resource_of(job.id, image.index),
                mime_type=image.mime_type,
                size=image.size_bytes,
            )
        )
    return blocks


def resource_of(job_id: str, index: int) -> str:
    """The URI of an original."""
    return f"image://{job_id}/{index}"


def structured(call: Call, job: JobView, saved: Mapping[int, Path], notes: tuple[str, ...]) -> JobResult:
    """All that there is to know of a job, without image data."""
    request = job.request
    return JobResult(
        job_id=job.id,
        status=status(job),
        model=job.model,
        prompt=request.prompt,
        requested=Requested.model_validate(
            {"n": request.n, **request.model_dump(include=set(Requested.model_fields) - {"n"})}
        ),
        applied=job.applied,
        images=tuple(_image(call, job.id, image, saved.get(image.index)) for image in job.images),
        usage=job.usage,
        cost_usd_estimated=job.cost_usd_estimated,
        estimate=job.estimate,
        possible_extra_cost_usd=job.possible_extra_cost_usd,
        route=_route(job),
        notes=(*notes, *job.notes),
        position=job.position,
        waiting_for=job.waiting_for,
        error=job.error,
        session_id=job.session_id,
        turn=job.turn,
    )


def answer(output: Output, *blocks: ContentBlock) -> CallToolResult:
    """A successful answer."""
    return CallToolResult(content=list(blocks), structured_content=output.model_dump(mode="json"))


def narrowed(result: JobResult) -> ImageResult | TurnResult:
    """The result as the tools of its kind promise it."""
    return (TurnResult if result.session_id else ImageResult).model_validate(result.model_dump())


def summary(result: JobResult, job: JobView) -> str:
    """What a person wants to know of a job, in a few lines."""
    lines = [*_headline(result, job), *(_image_line(image) for image in result.images)]
    if result.status == "succeeded":
        lines += [_settings_line(result), _cost_line(result)]
    elif result.error:
        lines.append(f"{result.error.code}: {result.error.message}")
    if result.possible_extra_cost_usd:
        lines.append(f"Calls of unknown fate may have cost {dollars(result.possible_extra_cost_usd)} more.")
    return "\n".join([*lines, *(f"Note: {note}" for note in result.notes)])


def next_step(result: JobResult, tool: str) -> str:
    """What to do while a job has not ended."""
    again = "" if tool == "wait_for_jobs" else f" Calling {tool} again with the same arguments re-attaches to it, too."
    return (
        f'Not finished: call wait_for_jobs with job_ids ["{result.job_id}"] to get the result. The job goes on '
        f"whatever you do, and is paid for once.{again}"
    )


def share_of(jobs: tuple[JobView, ...]) -> int:
    """The bytes that each image of these jobs may take in one answer."""
    return share(sum(len(job.images) for job in jobs))


def _headline(result: JobResult, job: JobView) -> list[str]:
    turn = f", turn {result.turn} of session {result.session_id}" if result.session_id else ""
    made = f"{len(result.images)} image{'s' * (len(result.images) != 1)} made"
    what = made if result.status == "succeeded" else describe(job)
    return [f"{what} (job {result.job_id}{turn})"]


def _image_line(image: OutputImage) -> str:
    kind = image.mime_type.removeprefix("image/").upper()
    where = f"saved as {image.file_path}" if image.file_path else f"kept as {image.resource}"
    return f"Image {image.index}: {image.width}×{image.height} {kind}, {image.size_bytes / 1e6:.2f} MB, {where}"


def _settings_line(result: JobResult) -> str:
    asked, applied = result.requested, result.applied
    names = ("size", "quality", "background", "output_format")
    told = [(name, getattr(applied, name, None) or getattr(asked, name)) for name in names]
    return "Settings applied: " + ", ".join(f"{name} {value}" for name, value in told if value)


def _cost_line(result: JobResult) -> str:
    usage = result.usage
    tokens = f"{usage.input_tokens} in, {usage.output_tokens} out" if usage else "not told"
    cost = "not known" if result.cost_usd_estimated is None else f"about {dollars(result.cost_usd_estimated)}"
    return f"Tokens: {tokens}. Cost: {cost}."


def _image(call: Call, job_id: str, image: ImageView, path: Path | None) -> OutputImage:
    return OutputImage(
        **image.model_dump(include=set(OutputImage.model_fields) - {"url"}),
        url=call.door.url(image.url),
        file_path=str(path) if path else None,
        resource=resource_of(job_id, image.index),
        source=f"job:{job_id}/{image.index}",
    )


def _route(job: JobView) -> Literal["direct", "responses"] | None:
    """The way of an edit that was called for by itself."""
    route = job.attempts[-1].route if job.attempts and job.type != "generate" else None
    return None if route == "batch" else route
