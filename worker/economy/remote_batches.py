"""OpenAI's files and batches, through its SDK. Only `create` leads to costs; all else may be repeated at will."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar

import httpx2
from openai import AsyncOpenAI, ConflictError, NotFoundError, omit
from openai.types import Batch
from openai.types.file_create_params import ExpiresAfter

from imagequeue.parcels import Endpoint
from worker.policy import meaning_of

Status = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]
OVER: Final = frozenset({"failed", "completed", "expired", "cancelled"})
OUR_KEY: Final = "imagequeue"
"""Of the metadata that says which of our parcels a batch is."""
WINDOW_SECONDS: Final = 86_400
"""What OpenAI calls 24h, the only window that it has."""
FILE_SECONDS: Final = 3 * 86_400
"""How long files stay that nobody deletes: longer than a batch with its cancelling may take."""
_CHUNK_BYTES: Final = 262_144
_LISTED: Final = 100
_EXPIRY: Final[ExpiresAfter] = {"anchor": "created_at", "seconds": FILE_SECONDS}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """A batch as OpenAI tells of it; times are seconds since 1970."""

    id: str
    status: Status
    created_at: int
    our_id: str | None
    input_file_id: str
    output_file_id: str | None
    error_file_id: str | None
    completed: int
    failed: int
    problems: tuple[tuple[str, str], ...]  # code and message of why it failed at its validation

    @property
    def over(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status in OVER


class RemoteBatches:
    """The files and batches of the account. Every method raises ProviderError by what a failure means; see policy."""

    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client

    async def upload_lines(self, path: Path) -> str:
        """Upload the input of a batch; its name must end with .jsonl. Gives the file's id."""
        return await self._upload(path, "application/jsonl", "batch")

    async def upload_image(self, path: Path, mime_type: str) -> str:
        """Upload an image to edit. Gives the file's id."""
        return await self._upload(path, mime_type, "vision")

    async def create(self, endpoint: Endpoint, input_file_id: str, our_id: str) -> RemoteBatch:
        """Begin a batch: from here on it costs money. `our_id` is what it is found by again."""
        creating = self._client.batches.create(
            completion_window="24h",
            endpoint=endpoint,
            input_file_id=input_file_id,
            metadata={OUR_KEY: our_id},
            output_expires_after={"anchor": "created_at", "seconds": FILE_SECONDS},
        )
        return _remote(await _meant(creating))

    async def find(self, our_id: str, since: int) -> RemoteBatch | None:
        """Our batch among those that were made at `since` (seconds since 1970) or later; None: there is none."""
        after: str | None = None
        while True:
            page = await _meant(self._client.batches.list(limit=_LISTED, after=after or omit))
            for batch in page.data:
                if (batch.metadata or {}).get(OUR_KEY) == our_id:
                    return _remote(batch)
            if not page.data or not page.has_more or page.data[-1].created_at < since:
                return None
            after = page.data[-1].id

    async def get(self, batch_id: str) -> RemoteBatch:
        """How far it is."""
        return _remote(await _meant(self._client.batches.retrieve(batch_id)))

    async def cancel(self, batch_id: str) -> None:
        """Ask for its end; one that is over stays as it is."""
        try:
            await self._client.batches.cancel(batch_id)
        except ConflictError:
            return
        except Exception as error:
            raise meaning_of(error) from error

    @asynccontextmanager
    async def reading(self, file_id: str) -> AsyncGenerator[tuple[AsyncIterator[bytes], httpx2.Headers]]:
        """The bytes of a file as they come, and the headers of the answer. What the block raises is passed on."""
        try:
            async with self._client.files.with_streaming_response.content(file_id) as response:
                yield response.iter_bytes(_CHUNK_BYTES), response.headers
        except Exception as error:
            raise meaning_of(error) from error

    async def delete(self, file_id: str) -> None:
        """Delete a file; one that is gone is no error."""
        try:
            await self._client.files.delete(file_id)
        except NotFoundError:
            return
        except Exception as error:
            raise meaning_of(error) from error

    async def _upload(self, path: Path, mime_type: str, purpose: Literal["batch", "vision"]) -> str:
        with path.open("rb") as file:
            upload = (path.name, file, mime_type)
            created = await _meant(self._client.files.create(file=upload, purpose=purpose, expires_after=_EXPIRY))
        return created.id


async def _meant(call: Awaitable[T]) -> T:
    try:
        return await call
    except Exception as error:
        raise meaning_of(error) from error


def _remote(batch: Batch) -> RemoteBatch:
    errors = (batch.errors.data if batch.errors else None) or []
    counts = batch.request_counts
    return RemoteBatch(
        id=batch.id,
        status=batch.status,
        created_at=batch.created_at,
        our_id=(batch.metadata or {}).get(OUR_KEY),
        input_file_id=batch.input_file_id,
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        completed=counts.completed if counts else 0,
        failed=counts.failed if counts else 0,
        problems=tuple((error.code or "", error.message or "") for error in errors),
    )
