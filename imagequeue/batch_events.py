"""What clients and webhooks are told of a batch when its state changes."""

from __future__ import annotations

import json
from typing import Final

from pydantic import Field

from imagequeue.batches import Batch, BatchState, LineCounts
from imagequeue.views import Timestamp, View, utc, utc_or_none

BATCH_EVENT: Final = "batch"
"""Name of these events in streams."""
_MICRO: Final = 1_000_000


class CountsView(View):
    """How many lines stand how."""

    waiting: int = Field(description="They have not begun, or are to run again.")
    in_flight: int
    succeeded: int
    failed: int
    refused: int = Field(description="By OpenAI's safety system.")
    cancelled: int


class BatchEvent(View):
    """Data of the event `batch`: a batch's state, small; and what webhooks are told."""

    id: str
    name: str | None = None
    state: BatchState
    reason: str | None = Field(default=None, description="Why it is paused.")
    resumes_at: Timestamp | None = None
    at: Timestamp = Field(description="Since when.")
    lines: int
    counts: CountsView
    cost_usd_estimated: float = Field(description="With what calls of unknown price may have cost.")


def batch_event(text: str) -> BatchEvent:
    """What a script has noted of a batch."""
    told = json.loads(text)
    ended = {name: told[name] for name in ("succeeded", "failed", "refused", "cancelled")}
    waiting = told["lines"] - told["in_flight"] - sum(ended.values())
    return BatchEvent(
        id=told["id"],
        name=told.get("name"),
        state=told["state"],
        reason=told.get("reason"),
        resumes_at=utc_or_none(told.get("resumes_at")),
        at=utc(told["at"]),
        lines=told["lines"],
        counts=CountsView(waiting=waiting, in_flight=told["in_flight"], **ended),
        cost_usd_estimated=told["spent"] / _MICRO,
    )


def ends_batch(event: BatchEvent) -> bool:
    """Whether all lines have ended."""
    return event.state is BatchState.COMPLETED or (event.state is BatchState.CANCELLED and not event.counts.in_flight)


def event_of_batch(batch: Batch) -> BatchEvent:
    """The state that a batch has now."""
    return BatchEvent(
        id=batch.id,
        name=batch.name,
        state=batch.state,
        reason=batch.reason,
        resumes_at=utc_or_none(batch.resumes_at),
        at=utc(batch.updated_at),
        lines=batch.lines,
        counts=counts_view(batch.counts),
        cost_usd_estimated=batch.spent / _MICRO,
    )


def counts_view(counts: LineCounts) -> CountsView:
    """Show how lines stand."""
    return CountsView(**counts.model_dump())
