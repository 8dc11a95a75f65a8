"""Tools whose calls become tasks: jobs of the real queue, under the bridge's own tasks extension.

A job of the bridge asks for nothing, and when it fails its task is completed with an error in it. What the suite wants
to see of tasks that ask, and of those that fail below the tool, is laid over the extension's answers by TaskScript.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from conformance_questions import form, wanted
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver.server import require_client_extension
from mcp.types import CallToolResult, InputRequiredResult
from mcp_types import INTERNAL_ERROR
from pydantic import Field

from imagequeue.requests import GenerateRequest, parse_as
from mcp_bridge.bridge import TASKS, Call
from mcp_bridge.outputs import ImageResult
from mcp_bridge.schemas import Input
from mcp_bridge.tool import AnyTool, ToolSpec
from mcp_bridge.tools.annotations import PAID
from mcp_bridge.tools.delivery import deliver

REFUSED: Final = "FORBIDDEN"
"""The sandbox refuses prompts with this word."""
CONFIRM: Final = form("Sure?", "confirm", confirm={"type": "boolean"})
ASKED: Final[Mapping[str, tuple[str, ...]]] = {"confirm_delete": ("sure",), "multi_input": ("first", "second")}
"""What the tasks of a tool ask for."""


class Nothing(Input):
    """No arguments."""


class Computation(Input):
    """How long a job takes."""

    seconds: Annotated[int, Field(ge=0)] = 0
    label: str = ""


class Deletion(Input):
    """What to delete."""

    filename: str


async def job(call: Call, prompt: str) -> CallToolResult:
    """Enqueue a job as generate_image does, and deliver it as it does."""
    request = parse_as(GenerateRequest, {"prompt": prompt, "quality": "low"})
    return await deliver(call, await call.door.submit(request), None)


async def slow_compute(call: Call, arguments: Computation) -> CallToolResult:
    """Take as long as told: the sandbox knows the prompt."""
    return await job(call, prompt_of(arguments.seconds, arguments.label))


def prompt_of(seconds: int, label: str = "") -> str:
    """A prompt that names its time."""
    return f"Takes {seconds} seconds. {label}"


async def failing_job(call: Call, arguments: Nothing) -> CallToolResult:
    """Be refused, as a task only."""
    if call.context:
        require_client_extension(call.context.request_context, TASKS)
    return await job(call, f"{REFUSED} as a tool's error")


async def protocol_error_job(call: Call, arguments: Nothing) -> CallToolResult:
    """Be refused; TaskScript makes a failed task of it."""
    return await job(call, f"{REFUSED} as an error below the tool")


async def confirm_delete(call: Call, arguments: Deletion) -> CallToolResult:
    """Ask once, as a task."""
    return await job(call, f"Deletes {arguments.filename}")


async def multi_input(call: Call, arguments: Nothing) -> CallToolResult:
    """Ask for two things, as a task."""
    return await job(call, "Takes two answers")


async def test_tool_with_task(call: Call, arguments: Nothing) -> CallToolResult | InputRequiredResult:
    """Ask first, and be a task then."""
    assert call.context
    name = (call.context.input_responses or {}).get("user_name")
    if name is None:
        question = {"user_name": form("What is your name?", "name", name={"type": "string"})}
        return InputRequiredResult(input_requests=wanted(question, call.context))
    return await job(call, f"For {name.model_dump_json()}")


def spec(name: str, inputs: type[Input], handle: Any) -> AnyTool:
    """A tool beside the bridge's own."""
    return ToolSpec(name, name, lambda _facts: "For the conformance suite.", inputs, ImageResult, PAID, handle)


TASK_TOOLS: Final[tuple[AnyTool, ...]] = (
    spec("slow_compute", Computation, slow_compute),
    spec("failing_job", Nothing, failing_job),
    spec("protocol_error_job", Nothing, protocol_error_job),
    spec("confirm_delete", Deletion, confirm_delete),
    spec("multi_input", Nothing, multi_input),
    spec("test_tool_with_task", Nothing, test_tool_with_task),
)


class TaskScript:
    """Middleware that lets the tasks of some tools ask, fail below the tool, or repeat what they were told."""

    def __init__(self) -> None:
        self._tools: dict[str, str] = {}
        self._open: dict[str, set[str]] = {}

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """See ServerMiddleware. The bridge has answered, and refused what it refuses, before anything is laid over."""
        answer = await call_next(ctx)
        params = ctx.params or {}
        if not isinstance(answer, dict):
            return answer
        if ctx.method == "tools/call" and answer.get("resultType") == "task":
            self._tools[answer["taskId"]] = params["name"]
            self._open[answer["taskId"]] = set(ASKED.get(params["name"], ()))
        if ctx.method == "tasks/update":
            self._open[params["taskId"]] -= set(params["inputResponses"])
        return self._laid_over(answer) if ctx.method == "tasks/get" else answer

    def _laid_over(self, task: dict[str, Any]) -> dict[str, Any]:
        tool, still = self._tools[task["taskId"]], self._open[task["taskId"]]
        bare = {key: value for key, value in task.items() if key != "result"}
        if still and task["status"] != "cancelled":
            questions = {key: CONFIRM.model_dump(by_alias=True, mode="json", exclude_none=True) for key in still}
            return {**bare, "status": "input_required", "inputRequests": questions}
        if tool == "protocol_error_job" and task["status"] == "completed":
            return {**bare, "status": "failed", "error": {"code": INTERNAL_ERROR, "message": "Laid over."}}
        if tool == "test_tool_with_task" and task["status"] == "completed":
            prompt = task["result"]["structuredContent"]["prompt"]
            return {**task, "result": {**task["result"], "content": [{"type": "text", "text": prompt}]}}
        return task
