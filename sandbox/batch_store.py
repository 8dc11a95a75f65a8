"""Batches as `/v1/batches` tells of them, in memory."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from sandbox.api_errors import ApiError

MOST_BATCHES: Final = 10_000
WINDOW: Final = "24h"

Status = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]
OVER: Final = ("failed", "completed", "expired", "cancelled")


@dataclass(frozen=True, slots=True)
class BatchProblem:
    """Why a batch was not begun; `line` is the number of the input's line, from 1."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None

    def described(self) -> dict[str, object]:
        """OpenAI's batch error object."""
        return {"code": self.code, "message": self.message, "param": self.param, "line": self.line}


@dataclass(slots=True)
class Counts:
    """Lines of a batch, and the tokens that they claimed."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def usage(self) -> dict[str, object]:
        """Tokens in the form of a batch's `usage`."""
        return {
            "input_tokens": self.input_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": self.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.input_tokens + self.output_tokens,
        }


@dataclass(slots=True)
class Batch:
    """One batch; times are seconds since 1970. `times` has when it came to each status after the first."""

    id: str
    endpoint: str
    input_file_id: str
    metadata: Mapping[str, object] | None
    output_lifetime: int | None  # seconds that its files stay; None: until they are deleted
    created_at: int
    expires_at: float
    status: Status = "validating"
    times: dict[str, int] = field(default_factory=dict[str, int])
    model: str | None = None
    counts: Counts = field(default_factory=Counts)
    problems: tuple[BatchProblem, ...] = ()
    output_file_id: str | None = None
    error_file_id: str | None = None
    cancelling: asyncio.Event = field(default_factory=asyncio.Event)

    def become(self, status: Status) -> None:
        """Note the next status and its time."""
        self.status = status
        self.times[f"{status}_at"] = int(time.time())

    def cancel(self) -> None:
        """Begin to cancel; a batch that is cancelled or about to be stays so.

        Raises:
            ApiError: 409, it is over in another way.
        """
        if self.status in ("cancelling", "cancelled"):
            return
        if self.status in OVER:
            raise ApiError(f"Cannot cancel a batch with status '{self.status}'.", status=409)
        self.become("cancelling")
        self.cancelling.set()

    def described(self) -> dict[str, object]:
        """OpenAI's batch object, without what is not known yet."""
        counts = self.counts
        known = {
            "model": self.model,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "errors": {"object": "list", "data": [each.described() for each in self.problems]}
            if self.problems
            else None,
        }
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "input_file_id": self.input_file_id,
            "completion_window": WINDOW,
            "status": self.status,
            "created_at": self.created_at,
            "expires_at": int(self.expires_at),
            **self.times,
            **{name: value for name, value in known.items() if value is not None},
            "request_counts": {"total": counts.total, "completed": counts.completed, "failed": counts.failed},
            "usage": counts.usage(),
            "metadata": self.metadata,
        }


class BatchStore:
    """At most 10,000 batches, and the tasks that run them."""

    def __init__(self) -> None:
        self._batches: dict[str, Batch] = {}
        self.running: set[asyncio.Task[None]] = set()

    def add(
        self,
        endpoint: str,
        input_file_id: str,
        metadata: Mapping[str, object] | None,
        output_lifetime: int | None,
        window_seconds: float,
    ) -> Batch:
        """Note a new batch.

        Raises:
            ApiError: 400 `batch_storage_full`.
        """
        if len(self._batches) >= MOST_BATCHES:
            message = f"This sandbox keeps at most {MOST_BATCHES} batches. Restart it, or clear /sandbox/batches."
            raise ApiError(message, code="batch_storage_full")
        now = time.time()
        batch_id = f"batch_{uuid.uuid4().hex}"
        batch = Batch(batch_id, endpoint, input_file_id, metadata, output_lifetime, int(now), now + window_seconds)
        self._batches[batch.id] = batch
        return batch

    def get(self, batch_id: str) -> Batch | None:
        """The batch, or None."""
        return self._batches.get(batch_id)

    def newest_first(self) -> list[Batch]:
        """All batches."""
        return list(reversed(self._batches.values()))

    async def clear(self) -> None:
        """Stop and forget all."""
        tasks = tuple(self.running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._batches.clear()
