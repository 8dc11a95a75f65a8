"""What every tool works with: the queue, this machine's files if it may touch them, and the client's call."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import Context
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from imagequeue.views import JobView
from mcp_bridge.door import Door
from mcp_bridge.facts import Facts
from mcp_bridge.local_files import LocalFiles, PathRefused, is_path
from mcp_bridge.memory import Memory
from mcp_bridge.output_folders import OutputDirRefused, OutputFolders
from mcp_bridge.waiting import Enough, all_ended, wait

TASKS: Final = "io.modelcontextprotocol/tasks"


class Doors(Protocol):
    """Gives each call the door of whoever calls."""

    async def door(self) -> Door:
        """Open the door if it is not open.

        Raises:
            ImageQueueError: the queue cannot be reached now.
        """
        ...

    def prepare(self) -> None:
        """Begin to open what doors lead through: a call is likely to come."""
        ...


@dataclass(frozen=True, slots=True)
class Local:
    """What only a bridge on the user's own machine has."""

    files: LocalFiles
    folders: OutputFolders
    memory: Memory


@dataclass(frozen=True, slots=True)
class Bridge:
    """What all calls share. `local` None: the client is elsewhere, so paths mean nothing."""

    doors: Doors
    facts: Facts
    local: Local | None

    def folder(self, asked: str | None) -> Path | None:
        """Where a call's images are saved, made if it is missing; None when they are not.

        Raises:
            OutputDirRefused: nothing is saved there.
        """
        if self.local is None:
            if asked is not None:
                raise OutputDirRefused(
                    "output_dir: this bridge is reached over HTTP and saves no files; the result links to the images."
                )
            return None
        return self.local.folders.folder(asked)


def takes_tasks(context: ServerRequestContext[Any, Any]) -> bool:
    """Whether the client declared that an answer may be a task."""
    declared = context.session.client_capabilities
    modern = context.protocol_version in MODERN_PROTOCOL_VERSIONS
    return modern and declared is not None and TASKS in (declared.extensions or {})


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool."""

    bridge: Bridge
    door: Door
    tool: str
    context: Context | None  # None: nobody waits for it
    started: float

    async def report(self, message: str) -> None:
        """Tell the client how it goes, if it wants to know."""
        if self.context:
            await self.context.report_progress(time.monotonic() - self.started, message=message)

    @property
    def waits(self) -> bool:
        """Whether the client wants the answer to come with the images, and not a task to ask for them later."""
        return self.context is not None and not takes_tasks(self.context.request_context)

    async def wait(self, job_ids: Sequence[str], enough: Enough = all_ended) -> tuple[JobView, ...]:
        """Wait for jobs as long as the client waits for this call."""
        left = self.bridge.facts.wait_seconds - (time.monotonic() - self.started)
        return await wait(self.door, job_ids, max(0.0, left), self.report, enough)

    async def source(self, given: str, field: str) -> str:
        """An image source as the queue takes it: a file of this machine is uploaded.

        Raises:
            PathRefused: the file lies where none are read, or the bridge reads none at all.
        """
        if not is_path(given):
            return given
        if self.bridge.local is None:
            raise PathRefused(
                f"{field}: this bridge is reached over HTTP and reads no files. Send the file to POST "
                f"{self.door.url('/v1/uploads')} of the REST API and give the upload:<sha256> that it answers; or give "
                "an http(s):// URL, a data: URL, or job:<job_id>/<index> for an image made here."
            )
        return await self.door.upload(self.bridge.local.files.find(given, field), field)
