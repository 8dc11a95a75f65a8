"""A real MCP client and the real bridge process, driven from tests that are not asynchronous."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import httpx2
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fleet_kit import PROGRAM, answers
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, ImageContent, ResourceLink, TextContent

from sandbox.stack.ports import HOST, choose_port
from sandbox.stack.processes import Service, start_healthy

BRIDGE: Final = str(Path(PROGRAM).with_name("imagequeue-mcp"))
LIMIT_SECONDS: Final = 60.0
_FOREIGN: Final = ("IMAGEQUEUE_", "OPENAI_", "AWS_", "GPT_IMAGE_", "XDG_", "COVERAGE_")


@dataclass
class RunningBridge:
    """A bridge that a client is connected to."""

    portal: BlockingPortal
    client: Client
    project: Path
    environment: Mapping[str, str]
    pid: int
    progress: list[str] = field(default_factory=list[str])

    def start(self, tool: str, **arguments: object) -> Future[CallToolResult]:
        """Call a tool and go on; its progress goes to `progress`."""

        async def call() -> CallToolResult:
            async def told(progress: float, total: float | None, message: str | None) -> None:
                self.progress.append(message or "")

            return await self.client.call_tool(tool, arguments, progress_callback=told)

        return self.portal.start_task_soon(call)

    def call(self, tool: str, **arguments: object) -> Answer:
        """Call a tool; its answer must be no error."""
        return good(self.start(tool, **arguments))

    def refused(self, tool: str, **arguments: object) -> str:
        """Call a tool; the text of the error that its answer must be."""
        result = self.start(tool, **arguments).result(LIMIT_SECONDS)
        assert result.is_error, text_of(result)
        return text_of(result)

    def kill(self) -> None:
        """End the bridge without a warning."""
        os.kill(self.pid, signal.SIGKILL)


@dataclass(frozen=True)
class Answer:
    """What a tool answered."""

    result: CallToolResult

    def __getitem__(self, name: str) -> Any:
        """A field of the structured content."""
        return cast("dict[str, Any]", self.result.structured_content)[name]

    @property
    def text(self) -> str:
        """All of its text."""
        return text_of(self.result)

    @property
    def pictures(self) -> list[ImageContent]:
        """The images in it."""
        return [block for block in self.result.content if isinstance(block, ImageContent)]

    @property
    def links(self) -> list[ResourceLink]:
        """The links in it."""
        return [block for block in self.result.content if isinstance(block, ResourceLink)]


def good(call: Future[CallToolResult]) -> Answer:
    """What a call has answered, which must be no error."""
    result = call.result(LIMIT_SECONDS)
    assert not result.is_error, text_of(result)
    return Answer(result)


def text_of(result: CallToolResult) -> str:
    """The text of an answer."""
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


@contextmanager
def running_bridge(
    folder: Path, environment: Mapping[str, str], arguments: Sequence[str] = ()
) -> Generator[RunningBridge]:
    """A bridge started in a project folder of its own, with a home of its own, until the block ends."""
    project, home, pid_file = folder / "project", folder / "home", folder / "bridge.pid"
    for made in (project, home):
        made.mkdir(parents=True, exist_ok=True)
    own = bridge_environment(environment, home)
    script = f'echo $$ > "{pid_file}"; exec "{BRIDGE}" {" ".join(arguments)}'
    server = StdioServerParameters(command="/bin/sh", args=["-c", script], env=own, cwd=project)
    with start_blocking_portal() as portal:
        client = Client(server)
        with portal.wrap_async_context_manager(client):
            yield RunningBridge(portal, client, project, own, int(pid_file.read_text()))


def bridge_environment(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """What a bridge needs of an environment, with a home of its own."""
    kept = {name: value for name, value in environment.items() if name.startswith(_FOREIGN)}
    own = {"HOME": str(home), "TMPDIR": str(home.parent / "tmp")}
    return {"IMAGEQUEUE_DATA_DIR": str(home / "none"), **kept, **own}


@contextmanager
def running_api(folder: Path, environment: Mapping[str, str]) -> Generator[str]:
    """The REST API over the same queue; gives its address."""
    port = choose_port()
    service = Service(
        name="api",
        command=(PROGRAM, "api"),
        environment={
            **environment,
            "IMAGEQUEUE_API_PORT": str(port),
            "IMAGEQUEUE_API_HOST": HOST,
            "IMAGEQUEUE_API_PROCESSES": "1",
        },
        log=folder / "api.log",
        healthy=lambda: answers(port, "/healthz"),
        stage=0,
    )
    process = start_healthy(service)
    try:
        yield f"http://{HOST}:{port}"
    finally:
        process.terminate()
        process.wait(15)


@dataclass(frozen=True)
class HttpBridge:
    """A bridge that listens."""

    url: str
    pid: int
    folder: Path
    headers: Mapping[str, str] = field(default_factory=dict[str, str])  # that clients send


@contextmanager
def running_http_bridge(folder: Path, environment: Mapping[str, str], host: str = HOST) -> Generator[HttpBridge]:
    """A bridge over HTTP until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    port = choose_port()
    service = Service(
        name="mcp",
        command=(BRIDGE, "--http", "--host", host, "--port", str(port)),
        environment={**os.environ, **bridge_environment(environment, folder)},
        log=folder / "mcp.log",
        healthy=lambda: answers(port, "/healthz"),
        stage=0,
    )
    process = start_healthy(service)
    try:
        yield HttpBridge(f"http://{HOST}:{port}/mcp", process.pid, folder)
    finally:
        process.terminate()
        process.wait(15)


@contextmanager
def connected(bridge: HttpBridge) -> Generator[RunningBridge]:
    """A client of a bridge that listens."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(_http_client(bridge)) as client:
        yield RunningBridge(portal, client, bridge.folder, {}, bridge.pid)


@asynccontextmanager
async def _http_client(bridge: HttpBridge) -> AsyncGenerator[Client]:
    """A client that makes any number of calls at once: each of them holds a connection."""
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    unlimited = httpx2.AsyncClient(limits=limits, timeout=LIMIT_SECONDS, trust_env=False, headers=dict(bridge.headers))
    async with unlimited, Client(streamable_http_client(bridge.url, http_client=unlimited)) as client:
        yield client


StartBridge = Callable[..., RunningBridge]
