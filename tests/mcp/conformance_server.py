"""The bridge over HTTP as it is, and beside its own tools what the conformance suite's scenarios call by name.

Run as a program it is `imagequeue-mcp --http` in all but two names: the class of the server, which adds the fixtures,
and the list of tools. Process, settings, doors, application, transport, security, tasks and resources are the bridge's.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from typing import Any, Final
from unittest.mock import patch

from conformance_content import add_content, json_schema_tool
from conformance_questions import add_questions
from conformance_tasks import TASK_TOOLS, TaskScript
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Context, MCPServer
from mcp.types import EmptyResult, InputRequiredResult, SetLevelRequestParams, SubscribeRequestParams
from pydantic import AnyUrl
from starlette.applications import Starlette

from mcp_bridge.process import main
from mcp_bridge.resources import BridgeServer
from mcp_bridge.server import TOOLS

SESSIONS: Final = "CONFORMANCE_SESSIONS"
"""Environment variable: give clients sessions, which questions need up to 2025-11-25 and the bridge never asks."""
FIXTURES: Final = ("test://static", "test://watched", "test://template")


class ConformanceServer(BridgeServer):
    """The bridge's server with the suite's fixtures."""

    def __init__(self, **options: Any) -> None:
        options["tools"] = [*options["tools"], json_schema_tool()]
        super().__init__(**options)
        add_content(self)
        add_questions(self)
        self.add_tool(greet)
        self.middleware.append(TaskScript())
        for method, params in (
            ("logging/setLevel", SetLevelRequestParams),
            ("resources/subscribe", SubscribeRequestParams),
            ("resources/unsubscribe", SubscribeRequestParams),
        ):
            self._lowlevel_server.add_request_handler(method, params, accept)

    async def read_resource(
        self, uri: AnyUrl | str, context: Context[Any, Any] | None = None
    ) -> Iterable[ReadResourceContents] | InputRequiredResult:
        """The suite's resources by the SDK's way; all others, unknown ones too, by the bridge's."""
        if str(uri).startswith(FIXTURES):
            return await MCPServer.read_resource(self, uri, context)
        return await super().read_resource(uri, context)

    def streamable_http_app(self, **options: Any) -> Starlette:
        """The bridge's application."""
        if os.environ.get(SESSIONS):
            options["stateless_http"] = False
        return super().streamable_http_app(**options)


def greet(name: str) -> str:
    """An answer at once."""
    return f"Hello, {name}!"


async def accept(ctx: ServerRequestContext[Any, Any], params: object) -> EmptyResult:
    """What clients up to 2025-11-25 may set and subscribe to: nothing follows from it here."""
    return EmptyResult()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    with patch.multiple("mcp_bridge.server", BridgeServer=ConformanceServer, TOOLS=(*TOOLS, *TASK_TOOLS)):
        main(http=True, port=parser.parse_args().port)
