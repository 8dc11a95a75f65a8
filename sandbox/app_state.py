"""What the requests of one sandbox share: settings, faults, journal, files, batches, painters."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, cast

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from sandbox.api_errors import ApiError
from sandbox.batch_store import BatchProblem, BatchStore
from sandbox.faults import MAX_DELAY_SECONDS, FaultQueue
from sandbox.file_store import FileStore
from sandbox.journal import Journal
from sandbox.rate_limits import Limits, RateWindow

_MOST_PAINTERS: Final = 4


class SandboxConfig(BaseModel):
    """How a sandbox starts: seconds an answer takes at least, and the file its journal goes to, if any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latency_seconds: Annotated[float, Field(ge=0, le=MAX_DELAY_SECONDS)] = 0.0
    journal: Path | None = None


class AccountError(BaseModel):
    """What an account that is blocked is answered, whatever it asks for."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    status: Annotated[int, Field(ge=400, le=599)]
    code: str | None = None
    type: str | None = None
    message: str | None = None

    def error(self) -> ApiError:
        """The refusal."""
        message = self.message or f"The sandbox was told to refuse the account: {self.code or self.status}."
        return ApiError(message, status=self.status, code=self.code, kind=self.type or self.code or "sandbox_refusal")


class BatchError(BaseModel):
    """What every new batch fails with at its validation, whatever its file holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    code: str
    message: str | None = None

    def problem(self) -> BatchProblem:
        """The only error of the batch."""
        return BatchProblem(self.code, self.message or f"The sandbox was told to fail batches: {self.code}.")


Limit = Annotated[int, Field(ge=1)]
MAX_IMAGE_BYTES: Final = 25_000_000
"""3840x2160 pixels of three bytes, the most that a PNG of gpt-image-2 holds."""
Seconds = Annotated[float, Field(ge=0, le=MAX_DELAY_SECONDS)]


class Settings(BaseModel):
    """What can be changed while the sandbox runs.

    `latency_seconds` is what an answer takes at least; `refuse_edits` lets `/v1/images/edits` refuse the model, as
    OpenAI did to some accounts. The limits are those of the account, none when null: what the calls of any
    `limit_window_seconds` (a minute, unless a rehearsal is in a hurry) may use together; naming one of the four starts
    with an empty window. `account_error` is what every paid call is answered until it is null again.

    A batch is `validating`, `finalizing` or `cancelling` for `batch_step_seconds` each, its lines take
    `latency_seconds` at least, 50 at once, and it expires `batch_window_seconds` after it was made (24 h, unless a
    rehearsal is in a hurry). `batch_error` is what every new batch fails with until it is null again.

    `image_bytes`: PNGs are about this heavy, the same picture for every prompt, painted once: for measuring load.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    latency_seconds: Annotated[float, Field(ge=0, le=MAX_DELAY_SECONDS)] = 0.0
    refuse_edits: bool = False
    images_per_minute: Limit | None = None
    tokens_per_minute: Limit | None = None
    input_images_per_minute: Limit | None = None
    limit_window_seconds: Annotated[float, Field(gt=0, le=MAX_DELAY_SECONDS)] = 60.0
    account_error: AccountError | None = None
    batch_step_seconds: Seconds = 0.0
    batch_window_seconds: Annotated[float, Field(gt=0, le=86_400)] = 86_400.0
    batch_error: BatchError | None = None
    image_bytes: Annotated[int, Field(ge=1, le=MAX_IMAGE_BYTES)] | None = None

    def limits(self) -> Limits:
        """The limits of the account."""
        return Limits(
            images=self.images_per_minute,
            tokens=self.tokens_per_minute,
            input_images=self.input_images_per_minute,
            window_seconds=self.limit_window_seconds,
        )


_LIMITING: Final = {"images_per_minute", "tokens_per_minute", "input_images_per_minute", "limit_window_seconds"}


def _painters() -> Executor:
    return ThreadPoolExecutor(min(_MOST_PAINTERS, os.cpu_count() or 1), thread_name_prefix="painter")


@dataclass(slots=True)
class Sandbox:
    """The state behind one application."""

    settings: Settings
    journal: Journal
    faults: FaultQueue = field(default_factory=FaultQueue)
    files: FileStore = field(default_factory=FileStore)
    batches: BatchStore = field(default_factory=BatchStore)
    window: RateWindow = field(default_factory=RateWindow)
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

    def change(self, changes: Settings) -> None:
        """Change the settings that are named in `changes`."""
        named = changes.model_fields_set
        self.settings = self.settings.model_copy(update={name: getattr(changes, name) for name in named})
        if named & _LIMITING:
            self.window.clear()

    async def close(self) -> None:
        """Stop the batches, let the painters finish what they are at, and close the journal."""
        await self.batches.clear()
        self.painters.shutdown(wait=True, cancel_futures=True)
        self.journal.close()


def sandbox_of(request: Request) -> Sandbox:
    """The sandbox that serves this request."""
    return cast(Sandbox, request.app.state.sandbox)


def request_id_of(request: Request) -> str:
    """The id that the answer carries in `x-request-id`."""
    return cast(str, request.state.request_id)
