"""What every tool that makes images does once its job is accepted: wait, save, show, or hand the job's id over."""

from __future__ import annotations

from pathlib import Path

import structlog
from mcp.types import CallToolResult, TextContent

from imagequeue.errors import ImageQueueError
from imagequeue.jobs import JobState
from imagequeue.views import JobView
from mcp_bridge.bridge import Call
from mcp_bridge.door import Accepted
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
    (job,) = await call.wait([accepted.job.id])
    if job.state is not JobState.SUCCEEDED and job.state.terminal and job.error:
        await hand_over(call, job)
        raise of_job(job.id, job.error)
    saved, failures = await save_images(call, job, folder)
    result = structured(call, job, saved, (*notes, *failures))
    text = summary(result, job)
    if not job.state.terminal:
        return answer(narrowed(result), TextContent(text=f"{text}\n{next_step(result, call.tool)}"))
    remember(call, job, saved)
    blocks = await pictures(call, job, share_of((job,)))
    if not failures:
        await hand_over(call, job)
    return answer(narrowed(result), TextContent(text=text), *blocks)


async def hand_over(call: Call, job: JobView) -> None:
    """Note that the result reaches the client; without Redis now, the same call gets it once more."""
    try:
        await call.door.handed_over(job.id)
    except ImageQueueError as error:
        _log.warning("hand_over_not_noted", job=job.id, error=str(error))


def remember(call: Call, job: JobView, saved: dict[int, Path]) -> None:
    """Note where a turn's image lies on this machine."""
    if call.bridge.local and job.session_id and saved:
        call.bridge.local.memory.remember(job.session_id, job.id, saved[min(saved)])
