"""The bridge as a process: `imagequeue-mcp`, and `imagequeue mcp`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import NoReturn

from platformdirs import user_state_path

from imagequeue.errors import ImageQueueError
from imagequeue.logs import configure_logging
from imagequeue.settings import Settings, load_settings
from mcp_bridge.bridge import Bridge, Local
from mcp_bridge.doors import OneDoor, choose_door
from mcp_bridge.local_files import LocalFiles, default_roots
from mcp_bridge.memory import SessionMemory
from mcp_bridge.output_folders import OutputFolders, default_folder
from mcp_bridge.server import make_server


def program() -> NoReturn:
    """Run `imagequeue-mcp`."""
    try:
        main()
    except ImageQueueError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    sys.exit(0)


def main() -> None:
    """Serve on stdin and stdout until stdin ends; logs go to stderr.

    Raises:
        Misconfigured: a setting is bad.
    """
    settings = load_settings()
    configure_logging(settings)
    asyncio.run(_serve_stdio(settings))


async def _serve_stdio(settings: Settings) -> None:
    doors = OneDoor(choose_door(settings))
    bridge = Bridge(doors=doors, wait_seconds=settings.mcp_wait_seconds, local=this_machine(settings, Path.cwd()))
    try:
        await make_server(bridge).run_stdio_async()
    finally:
        await doors.close()


def this_machine(settings: Settings, base: Path) -> Local:
    """What a bridge in this folder may read and write."""
    output = default_folder(base, settings.mcp_output_dir)
    return Local(
        files=LocalFiles(default_roots(base, output, settings.mcp_roots), base),
        folders=OutputFolders(base, output),
        memory=SessionMemory(user_state_path("imagequeue") / "mcp-sessions"),
    )
