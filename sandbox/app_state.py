"""What the requests of one sandbox share: settings, faults, journal, files, painters."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, cast

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from sandbox.faults import MAX_DELAY_SECONDS, FaultQueue
from sandbox.file_store import FileStore
from sandbox.journal import Journal

_MOST_PAINTERS: Final = 4


class SandboxConfig(BaseModel):
    """How a sandbox starts: seconds an answer takes at least, and the file its journal goes to, if any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latency_seconds: Annotated[float, Field(ge=0, le=MAX_DELAY_SECONDS)] = 0.0
    journal: Path | None = None


class Settings(BaseModel):
    """What can be changed while the sandbox runs.

    `latency_seconds` is what an answer takes at least; `refuse_edits` lets `/v1/images/edits` refuse the model, as
    OpenAI did to some accounts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    latency_seconds: Annotated[float, Field(ge=0, le=MAX_DELAY_SECONDS)] = 0.0
    refuse_edits: bool = False


def _painters() -> Executor:
    return ThreadPoolExecutor(min(_MOST_PAINTERS, os.cpu_count() or 1), thread_name_prefix="painter")


@dataclass(slots=True)
class Sandbox:
    """The state behind one application."""

    settings: Settings
    journal: Journal
    faults: FaultQueue = field(default_factory=FaultQueue)
    files: FileStore = field(default_factory=FileStore)
    painters: Executor = field(default_factory=_painters)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server was told to stop: calls in flight then end at once."""

    @classmethod
    def start(cls, config: SandboxConfig) -> Sandbox:
        """Open the journal and hire the painters.

        Raises:
            OSError: the journal file cannot be opened.
        """
        return cls(Settings(latency_seconds=config.latency_seconds), Journal(config.journal))

    def close(self) -> None:
        """Let the painters finish what they are at, and close the journal."""
        self.painters.shutdown(wait=True, cancel_futures=True)
        self.journal.close()


def sandbox_of(request: Request) -> Sandbox:
    """The sandbox that serves this request."""
    return cast(Sandbox, request.app.state.sandbox)


def request_id_of(request: Request) -> str:
    """The id that the answer carries in `x-request-id`."""
    return cast(str, request.state.request_id)
