"""The tasks extension: a client that speaks it gets a task at once and polls, whichever bridge answers.

A task is a job under the job's own id, so there is nothing here that a killed bridge could lose. Specified by SEP-2663,
https://modelcontextprotocol.io/seps/2663-tasks-extension.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NoReturn, cast

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.server import require_client_extension
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, CallToolRequestParams, CallToolResult, RequestParams, TextContent
from mcp_types import HEADER_MISMATCH, INTERNAL_ERROR
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import Field

from imagequeue.errors import ImageQueueError, NotFound
from imagequeue.jobs import JobState
from imagequeue.views import JobView
from mcp_bridge.bridge import TASKS, Bridge, Call, takes_tasks
from mcp_bridge.tools.delivery import finish
from mcp_bridge.waiting import describe

TTL_MS: Final = 24 * 3_600_000
"""Records are kept longer; a client may count on this."""
POLL_MS: Final = 2_000
_GONE: Final = frozenset({"job_finished"})
_MISSING: Final = frozenset({"job_not_found"})


class TaskParams(RequestParams):
    """Which task."""

    task_id: str = Field(alias="taskId", max_length=200)


class UpdateParams(TaskParams):
    """What a task asked for. The tasks here ask for nothing."""

    input_responses: dict[str, Any] = Field(alias="inputResponses")


class TasksExtension(Extension):
    """Turns calls that would hand back a running job into tasks, for clients that declared the extension."""

    identifier = TASKS

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def methods(self) -> Sequence[MethodBinding]:
        """See Extension."""
        versions = frozenset(MODERN_PROTOCOL_VERSIONS)
        return (
            MethodBinding("tasks/get", TaskParams, self._get, versions),
            MethodBinding("tasks/update", UpdateParams, self._update, versions),
            MethodBinding("tasks/cancel", TaskParams, self._cancel, versions),
        )

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """See Extension. The tool itself does not wait for a client that takes tasks."""
        result = await call_next(ctx)
        if not (isinstance(result, CallToolResult) and takes_tasks(ctx)) or result.is_error:
            return result
        content = cast("Mapping[str, Any]", result.structured_content or {})
        if content.get("status") != "running" or params.name == "cancel_job":
            return result
        try:
            job = await (await self._bridge.doors.door()).job(content["job_id"])
        except ImageQueueError:
            return result  # the handle says as much
        return {"resultType": "task", **_task(job)}

    async def _get(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        call, job = await self._find(ctx, params)
        task = _task(job)
        if job.state in (JobState.SUCCEEDED, JobState.FAILED):
            task["result"] = (await _result(call, job)).model_dump(by_alias=True, mode="json", exclude_none=True)
        return {"resultType": "complete", **task}

    async def _update(self, ctx: ServerRequestContext[Any, Any], params: UpdateParams) -> HandlerResult:
        await self._find(ctx, params)
        return {"resultType": "complete"}

    async def _cancel(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        call, job = await self._find(ctx, params)
        try:
            if not job.state.terminal:
                await call.door.cancel(job.id)
        except ImageQueueError as error:
            if error.code not in _GONE:
                _refuse(error)
        return {"resultType": "complete"}

    async def _find(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> tuple[Call, JobView]:
        """The task's job, if the client may ask for it.

        Raises:
            MCPError: the client did not declare the extension, names another task in its header, or there is none.
        """
        require_client_extension(ctx, TASKS)
        _check_name(ctx, params.task_id)
        try:
            door = await self._bridge.doors.door()
            call = Call(self._bridge, door, "tasks/get", None, time.monotonic())
            return call, await door.job(params.task_id)
        except ImageQueueError as error:
            _refuse(error)


async def _result(call: Call, job: JobView) -> CallToolResult:
    try:
        return await finish(call, job)
    except ToolError as error:  # the tool ran and failed: by the specification, that is a completed task
        return CallToolResult(content=[TextContent(text=str(error))], is_error=True)


def _task(job: JobView) -> dict[str, Any]:
    return {
        "taskId": job.id,
        "status": _status(job),
        "statusMessage": describe(job),
        "createdAt": _iso(job.created_at),
        "lastUpdatedAt": _iso(job.finished_at or job.started_at or job.created_at),
        "ttlMs": TTL_MS,
        "pollIntervalMs": POLL_MS,
    }


def _status(job: JobView) -> str:
    if not job.state.terminal:
        return "working"
    return "cancelled" if job.state is JobState.CANCELLED else "completed"


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _check_name(ctx: ServerRequestContext[Any, Any], task_id: str) -> None:
    """Over HTTP, the header that balancers route by must name the task: the SDK checks it for its own methods only."""
    headers = cast("Mapping[str, str] | None", getattr(ctx.request, "headers", None))
    if headers is not None and headers.get("mcp-name") != task_id:
        raise MCPError(HEADER_MISMATCH, "Header mismatch: Mcp-Name must be the taskId of the body.")


def _refuse(error: ImageQueueError) -> NoReturn:
    missing = isinstance(error, NotFound) or error.code in _MISSING
    message = f"No such task: {error}" if missing else f"{error.code}: {error}"
    raise MCPError(INVALID_PARAMS if missing else INTERNAL_ERROR, message) from error
