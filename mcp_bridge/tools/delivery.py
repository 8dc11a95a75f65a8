"""What every tool that makes images does once its job is accepted: wait, save, show, or hand the job's id over."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog
from mcp.types import CallToolResult, ContentBlock, TextContent

from imagequeue.errors import ImageQueueError
from imagequeue.jobs import JobState
from imagequeue.views import JobView
from mcp_bridge.bridge import Call
from mcp_bridge.door import Accepted
from mcp_bridge.output_folders import OutputDirRefused
from mcp_bridge.outputs import JobResult
from mcp_bridge.problems import of_job
from mcp_bridge.results import (
    REATTACHED,
    answer,
    narrowed,
    next_step,
    pictures,
    save_images,
    share_of,
    structured,
    summary,
)

_log = structlog.stdlib.get_logger(__name__)


async def deliver(call: Call, accepted: Accepted, folder: Path | None) -> CallToolResult:
    """The job's images once it has ended, or what to call next when the client will not wait longer.

    Raises:
        ToolError: it made no images.
    """
    notes = (REATTACHED,) if accepted.reattached else ()
    job = accepted.job
    if call.bridge.local and folder:
        call.bridge.local.memory.choose(job.id, folder)  # whoever hands the result over saves it there
        if job.session_id and job.turn == 1:
            call.bridge.local.memory.choose(job.session_id, folder)
    if call.waits:
        (job,) = await call.wait([job.id])
    if job.state.terminal:
        return await finish(call, job, notes)
    result = structured(call, job, {}, notes)
    return answer(narrowed(result), TextContent(text=f"{summary(result, job)}\n{next_step(result, call.tool)}"))


async def finish(call: Call, job: JobView, notes: tuple[str, ...] = ()) -> CallToolResult:
    """The images of a job that has ended, saved and shown; it counts as handed over then.

    Raises:
        ToolError: it made no images.
    """
    if job.state is not JobState.SUCCEEDED and job.error:
        await hand_over(call, job)
        raise of_job(job.id, job.error)
    result, blocks = await collect(call, job, share_of((job,)), notes)
    return answer(narrowed(result), *blocks)


async def collect(
    call: Call, job: JobView, limit: int, notes: tuple[str, ...] = ()
) -> tuple[JobResult, list[ContentBlock]]:
    """What a job that has ended made: saved, and shown with at most `limit` bytes an image; it is handed over then."""
    saved, failures = await save_images(call, job, folder_of(call, job))
    remember(call, job, saved)
    result = structured(call, job, saved, (*notes, *failures))
    if failures:
        shown = await pictures(call, job, limit, saved)
    else:
        shown, _ = await asyncio.gather(pictures(call, job, limit, saved), hand_over(call, job))
    return result, [TextContent(text=summary(result, job)), *shown]


def folder_of(call: Call, job: JobView) -> Path | None:
    """Where the call that the job comes from wanted its images, else the session's folder, else the default."""
    local = call.bridge.local
    if local is None or not job.images:
        return None
    asked = local.memory.folder(job.id) or (local.memory.folder(job.session_id) if job.session_id else None)
    try:
        return call.bridge.folder(asked)
    except OutputDirRefused:  # it was fine when it was chosen
        return call.bridge.folder(None)


async def hand_over(call: Call, job: JobView) -> None:
    """Note that the result reaches the client; without Redis now, the same call gets it once more."""
    try:
        await call.door.handed_over(job.id)
    except ImageQueueError as error:
        _log.warning("hand_over_not_noted", job=job.id, error=str(error))


def remember(call: Call, job: JobView, saved: dict[int, Path]) -> None:
    """Note where a turn's image lies on this machine."""
    if call.bridge.local and job.session_id and saved:
        call.bridge.local.memory.saved(job.session_id, job.id, saved[min(saved)])
