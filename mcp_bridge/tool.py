"""A tool: its published description, strict arguments, and errors that the model can act on."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, cast

import structlog
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase, FuncMetadata
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, ToolAnnotations
from pydantic import BaseModel, PrivateAttr, ValidationError

from imagequeue.errors import ImageQueueError, InvalidRequest
from imagequeue.requests import violations
from mcp_bridge.bridge import Bridge, Call
from mcp_bridge.facts import Facts
from mcp_bridge.problems import of_error, refusal, unknown_arguments
from mcp_bridge.schemas import Input, input_schema, types_of

_FROM_TEXT: Final = ("array", "integer")
"""Types that some clients send as JSON in a string."""
_log = structlog.stdlib.get_logger(__name__)
Arguments = TypeVar("Arguments", bound=Input)


@dataclass(frozen=True, slots=True)
class ToolSpec(Generic[Arguments]):
    """What a tool is."""

    name: str
    title: str
    description: Callable[[Facts], str]
    inputs: type[Arguments]
    output: type[BaseModel]
    annotations: ToolAnnotations
    handle: Callable[[Call, Arguments], Awaitable[CallToolResult]]


AnyTool = ToolSpec[Any]


class BridgeTool(Tool):
    """A tool of the SDK's that checks arguments and words errors itself."""

    _spec: AnyTool = PrivateAttr()
    _bridge: Bridge = PrivateAttr()

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> Any:
        """Called by the SDK.

        Raises:
            ToolError: with what the model should do about it.
        """
        try:
            result = await self._handle(arguments, context)
        except ImageQueueError as error:
            raise of_error(error) from error
        except (ToolError, MCPError):
            raise
        except Exception as error:  # its text may hold anything
            _log.exception("tool_failed", tool=self.name)
            reason = "A defect of the server; its log has the details."
            raise refusal("internal_error", reason, "Try once more; if it fails again, tell the user.") from error
        return self.fn_metadata.convert_result(result) if convert_result else result

    async def _handle(self, arguments: Mapping[str, Any], context: Context[Any, Any]) -> CallToolResult:
        started = time.monotonic()
        checked = read_arguments(self._spec, arguments)
        door = await self._bridge.doors.door()
        return await self._spec.handle(Call(self._bridge, door, self.name, context, started), checked)


def read_arguments(spec: ToolSpec[Arguments], given: Mapping[str, Any]) -> Arguments:
    """The arguments, checked.

    Raises:
        ToolError: there is one that the tool does not have.
        InvalidRequest: a rule is broken.
    """
    unknown = unknown_arguments(spec.name, given, spec.inputs.model_fields)
    if unknown:
        raise unknown
    types = types_of(spec.inputs)
    told = {name: _from_text(value, types[name]) for name, value in given.items() if value is not None}
    try:
        return spec.inputs.model_validate(told)
    except ValidationError as error:
        raise InvalidRequest(violations(error, spec.inputs)) from error


def make_tool(spec: AnyTool, bridge: Bridge) -> BridgeTool:
    """The tool as the SDK serves it."""
    tool = BridgeTool(
        fn=spec.handle,
        name=spec.name,
        title=spec.title,
        description=spec.description(bridge.facts),
        parameters=input_schema(spec.inputs, bridge.facts),
        fn_metadata=FuncMetadata(arg_model=ArgModelBase, output_model=spec.output),
        is_async=True,
        context_kwarg=None,
        annotations=spec.annotations,
    )
    tool._spec, tool._bridge = spec, bridge  # pyright: ignore[reportPrivateUsage]
    return tool


def _from_text(value: object, kind: str | None) -> object:
    if not isinstance(value, str) or kind not in _FROM_TEXT:
        return value
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return cast("object", parsed) if isinstance(parsed, list | int) else value
