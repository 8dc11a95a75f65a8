"""The bridge as a process: `imagequeue-mcp`, and `imagequeue mcp`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from platformdirs import user_state_path

from imagequeue.errors import ImageQueueError
from imagequeue.logs import configure_logging
from imagequeue.settings import Settings, load_settings
from mcp_bridge.bridge import Bridge, Local
from mcp_bridge.doors import OneDoor, choose_door
from mcp_bridge.http import serve
from mcp_bridge.local_files import LocalFiles, default_roots
from mcp_bridge.memory import Memory
from mcp_bridge.output_folders import OutputFolders, default_folder
from mcp_bridge.server import make_server


def program() -> NoReturn:
    """Run `imagequeue-mcp`."""
    parser = argparse.ArgumentParser("imagequeue-mcp", description="MCP tools for gpt-image-2 through imagequeue.")
    parser.add_argument("--http", action="store_true", help="serve over HTTP at /mcp instead of stdin and stdout")
    parser.add_argument("--host", help="address to listen on; default: IMAGEQUEUE_MCP_HOST")
    parser.add_argument("--port", type=int, help="port to listen on; default: IMAGEQUEUE_MCP_PORT")
    parser.add_argument("--version", action="version", version=f"imagequeue {version('imagequeue')}")
    asked = parser.parse_args()
    try:
        main(http=asked.http, host=asked.host, port=asked.port)
    except ImageQueueError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    sys.exit(0)


def main(*, http: bool = False, host: str | None = None, port: int | None = None) -> None:
    """Serve one client on stdin and stdout until stdin ends, or many over HTTP until SIGTERM; logs go to stderr.

    Raises:
        Misconfigured: a setting is bad.
    """
    settings = load_settings()
    given = {"mcp_host": host, "mcp_port": port}
    settings = settings.model_copy(update={name: value for name, value in given.items() if value is not None})
    configure_logging(settings)
    asyncio.run(_serve(settings, None if http else this_machine(settings, Path.cwd())))


async def _serve(settings: Settings, local: Local | None) -> None:
    doors = OneDoor(choose_door(settings))
    bridge = Bridge(doors=doors, wait_seconds=settings.mcp_wait_seconds, local=local)
    try:
        if local is None:
            await serve(bridge, settings)
        else:
            await make_server(bridge).run_stdio_async()
    finally:
        await doors.close()


def this_machine(settings: Settings, base: Path) -> Local:
    """What a bridge in this folder may read and write."""
    output = default_folder(base, settings.mcp_output_dir)
    return Local(
        files=LocalFiles(default_roots(base, output, settings.mcp_roots), base),
        folders=OutputFolders(base, output),
        memory=Memory(user_state_path("imagequeue") / "mcp"),
    )
