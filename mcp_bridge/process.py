"""The bridge as a process: `imagequeue-mcp`, and `imagequeue mcp`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from contextlib import aclosing, closing
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from platformdirs import user_state_path

from imagequeue.cli.api_address import read_key_file
from imagequeue.errors import ImageQueueError
from imagequeue.heap import share_arenas
from imagequeue.logs import configure_logging
from imagequeue.settings import Settings, is_loopback, load_settings
from mcp_bridge.bridge import Bridge, Doors, Local
from mcp_bridge.doors import CallersDoor, OwnDoor, choose_way, goes_direct
from mcp_bridge.facts import Facts
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
    parser.add_argument("--key-file", type=Path, help="file with the API key; default: IMAGEQUEUE_API_KEY")
    parser.add_argument("--version", action="version", version=f"imagequeue {version('imagequeue')}")
    asked = parser.parse_args()
    try:
        main(http=asked.http, host=asked.host, port=asked.port, key_file=asked.key_file)
    except ImageQueueError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    sys.exit(0)


def main(*, http: bool = False, host: str | None = None, port: int | None = None, key_file: Path | None = None) -> None:
    """Serve one client on stdin and stdout until stdin ends, or many over HTTP until SIGTERM; logs go to stderr.

    Raises:
        Misconfigured: a setting or the key file is bad, or strangers could spend money.
    """
    if key_file is not None:
        os.environ["IMAGEQUEUE_API_KEY"] = read_key_file(key_file)
    settings = load_settings()
    given = {"mcp_host": host, "mcp_port": port}
    settings = settings.model_copy(update={name: value for name, value in given.items() if value is not None})
    configure_logging(settings)
    share_arenas()
    asyncio.run(_serve_http(settings) if http else _serve_stdio(settings))


async def _serve_stdio(settings: Settings) -> None:
    async with aclosing(choose_way(settings)) as way:
        bridge = _bridge(OwnDoor(way), settings, this_machine(settings, Path.cwd()))
        await make_server(bridge).run_stdio_async()


async def _serve_http(settings: Settings) -> None:
    from mcp_bridge.http import serve  # noqa: PLC0415

    if goes_direct() and not is_loopback(settings.mcp_host):
        _refuse_strangers(settings)
    async with aclosing(choose_way(settings)) as way:
        doors = CallersDoor(way)
        await serve(_bridge(doors, settings, None), doors, settings)


def _refuse_strangers(settings: Settings) -> None:
    from imagequeue.service import open_queue  # noqa: PLC0415

    with closing(open_queue(settings)) as queue:
        queue.keys.refuse_strangers(settings.mcp_host)


def _bridge(doors: Doors, settings: Settings, local: Local | None) -> Bridge:
    return Bridge(doors=doors, facts=Facts.of(settings, local=local is not None, direct=goes_direct()), local=local)


def this_machine(settings: Settings, base: Path) -> Local:
    """What a bridge in this folder may read and write."""
    output = default_folder(base, settings.mcp_output_dir)
    return Local(
        files=LocalFiles(default_roots(base, output, settings.mcp_roots), base),
        folders=OutputFolders(base, output),
        memory=Memory(user_state_path("imagequeue") / "mcp"),
    )
