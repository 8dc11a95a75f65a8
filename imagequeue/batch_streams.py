"""One client's stream of a batch's events: its state, the ends of its lines as they come, and how far it is."""

from __future__ import annotations

from collections.abc import Callable, Generator

from imagequeue.batch_events import BATCH_EVENT, batch_event, ends_batch, event_of_batch
from imagequeue.batch_views import BatchProgress, batch_progress
from imagequeue.batches import Batch
from imagequeue.errors import StoreUnavailable
from imagequeue.event_streams import EventStream, Scope, Sources
from imagequeue.events import Entry, EntryId, StreamEvent, reset_event


class BatchStream(EventStream):
    """Tells of a batch until it has ended: `batch`, `state` of its jobs, `progress`, `end`."""

    def __init__(
        self, sources: Sources, scope: Scope, read: Callable[[], Batch], after: EntryId | None, reset: str
    ) -> None:
        """Read nothing yet; `read` gives the batch as it is, the rest is as for every stream."""
        super().__init__(sources, scope, after, reset)
        self._read = read
        self._told: BatchProgress | None = None

    def _now(self, reset: str) -> Generator[StreamEvent]:
        if reset:
            yield reset_event(reset)
        self._position = self._sources.log.newest()  # first: what happens meanwhile is told once more
        batch = self._read()
        event = StreamEvent(BATCH_EVENT, event_of_batch(batch).model_dump(mode="json"), str(self._position))
        yield event
        if batch.ended:
            yield from self._end(event, self._position)

    def _closes_with(self, entry: Entry) -> bool:
        return entry.event == BATCH_EVENT and ends_batch(batch_event(entry.data))

    def _progressed(self) -> Generator[StreamEvent]:
        try:
            batch = self._read()
            progress = batch_progress(batch, self._sources.limiter.state())
        except StoreUnavailable:  # a later look will do
            return
        if batch.ended:  # an end that the reader has not told, for once
            yield from self._now("")
        elif progress != self._told:
            self._told = progress
            yield StreamEvent("progress", progress.model_dump(mode="json"))
