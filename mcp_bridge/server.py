"""The MCP server: every tool, resource and prompt is wired here."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from mcp_bridge.bridge import Bridge
from mcp_bridge.prompts import add_prompts
from mcp_bridge.resources import BridgeServer
from mcp_bridge.tasks import TasksExtension
from mcp_bridge.tool import AnyTool, make_tool
from mcp_bridge.tools.edit import EDIT_IMAGE
from mcp_bridge.tools.generate import GENERATE_IMAGE
from mcp_bridge.tools.jobs import CANCEL_JOB, ESTIMATE_COST, WAIT_FOR_JOBS
from mcp_bridge.tools.sessions import (
    CONTINUE_EDIT_SESSION,
    END_EDIT_SESSION,
    FORK_EDIT_SESSION,
    GET_EDIT_SESSION,
    LIST_EDIT_SESSIONS,
    START_EDIT_SESSION,
)

INSTRUCTIONS: Final = """\
Images by gpt-image-2 through a durable queue: nothing paid for is lost, and the same call made again before its \
result was handed over never buys twice.
New images: generate_image. One change: edit_image. Several steps on one image: start_edit_session, then \
continue_edit_session for each. An answer with status "running" is no failure: call wait_for_jobs with its job_id."""
TOOLS: Final[tuple[AnyTool, ...]] = (
    GENERATE_IMAGE,
    EDIT_IMAGE,
    START_EDIT_SESSION,
    CONTINUE_EDIT_SESSION,
    END_EDIT_SESSION,
    LIST_EDIT_SESSIONS,
    GET_EDIT_SESSION,
    FORK_EDIT_SESSION,
    WAIT_FOR_JOBS,
    CANCEL_JOB,
    ESTIMATE_COST,
)


def make_server(bridge: Bridge) -> BridgeServer:
    """The server, for any transport."""
    server = BridgeServer(
        name="imagequeue",
        title="imagequeue",
        version=version("imagequeue"),
        instructions=INSTRUCTIONS,
        tools=[make_tool(spec, bridge) for spec in TOOLS],
        extensions=[TasksExtension(bridge)],
        log_level="WARNING",
    )
    server.bridge = bridge
    add_prompts(server)
    return server
