"""Batches, as API and command line use them: a part of the one door, ImageQueue."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile
from typing import Final, Self

from imagequeue.batch_lines import LineReader
from imagequeue.batch_outputs import BatchOutputs
from imagequeue.batch_records import BatchLines, BatchRecords, all_lines, job_ids
from imagequeue.batch_removal import BatchRemoval
from imagequeue.batch_requests import Again, BatchChange, BatchOptions, ResultOrder
from imagequeue.batch_views import BatchPage, BatchView, ResultLine, batch_view, result_line
from imagequeue.batches import (
    Batch,
    BatchNotFound,
    BatchOver,
    BatchRunning,
    BatchState,
    LineRecord,
    LineState,
    NewBatch,
    new_batch_id,
)
from imagequeue.cancelling import Cancelling
from imagequeue.economy_terms import economy_terms
from imagequeue.errors import (
    IdempotencyKeyReused,
    ImageQueueError,
    JobFinished,
    JobNotFound,
    ObjectsUnavailable,
    Unavailable,
)
from imagequeue.job_records import JobRecords
from imagequeue.jobs import Idempotency
from imagequeue.manifests.lines import BadLine, ManifestLine
from imagequeue.manifests.store import ManifestStore, ManifestSummary
from imagequeue.manifests.views import line_violations
from imagequeue.objects import ObjectStore
from imagequeue.settings import Settings
from imagequeue.store.batches import BatchStore, Steering
from imagequeue.store.connection import RedisClient, StreamEntry
from imagequeue.store.keys import Keys
from imagequeue.store.limiter import LimiterStore
from imagequeue.store.limits import micro
from imagequeue.store.parcels import ParcelStore
from imagequeue.submission import Terms
from imagequeue.waiting import ChangeReader
from imagequeue.webhook_service import WebhookService

_PAGE: Final = 200
"""Results read at once."""
_REREAD_SECONDS: Final = 15.0
"""A waiter looks at the record this often even if nothing wakes it: a net, not the mechanism."""


class BatchService:
    """Make, look, steer, fetch results. Every batch belongs to an owner; to others it does not exist."""

    def __init__(
        self,
        settings: Settings,
        store: BatchStore,
        records: BatchRecords,
        outputs: BatchOutputs,
        manifests: ManifestStore,
        limiter: LimiterStore,
        changes: ChangeReader,
        webhooks: WebhookService,
        cancelling: Cancelling,
        parcels: ParcelStore,
        removal: BatchRemoval,
    ) -> None:
        self._settings = settings
        self._store = store
        self.records = records
        self.outputs = outputs
        self._manifests = manifests
        self._limiter = limiter
        self._changes = changes
        self._webhooks = webhooks
        self._cancelling = cancelling
        self._parcels = parcels
        self._removal = removal
        self.stopping = False

    @classmethod
    def on(
        cls,
        client: RedisClient,
        settings: Settings,
        objects: ObjectStore,
        job_records: JobRecords,
        manifests: ManifestStore,
        limiter: LimiterStore,
        changes: ChangeReader,
        webhooks: WebhookService,
        cancelling: Cancelling,
    ) -> Self:
        """The batches on one Redis and in one bucket."""
        store = BatchStore(client, Keys(settings.key_prefix))
        records = BatchRecords(store, objects)
        return cls(
            settings,
            store,
            records,
            BatchOutputs(records, LineReader(job_records, manifests), objects, limiter),
            manifests,
            limiter,
            changes,
            webhooks,
            cancelling,
            ParcelStore(client, Keys(settings.key_prefix)),
            BatchRemoval(store, records, objects),
        )

    def create(
        self, lines: Iterable[ManifestLine | BadLine], options: BatchOptions, terms: Terms
    ) -> tuple[BatchView, bool]:
        """Keep the lines and let them run; whether the batch was there, made by the same idempotency key.

        Raises:
            InvalidManifest: there are bad lines that may not be skipped, or no good ones; nothing was stored.
            InvalidRequest: the webhook cannot be used.
            IdempotencyKeyReused: the idempotency key came with another request.
            BatchNotFound: the batch that the idempotency key has made was deleted.
            ObjectsUnavailable: S3 does not answer, or was so slow that the manifest may be deleted again.
        """
        webhook = self._webhooks.checked(options.webhook)
        economy = economy_terms(options, self._store.now())
        batch_id = new_batch_id()
        self._store.begin_draft(batch_id)
        digest = hashlib.sha256(options.model_dump_json().encode())
        summary = self._written(batch_id, _noted(lines, digest.update), skip_invalid=options.skip_invalid)
        new = economy.applied(self._new(batch_id, summary, options, terms, webhook, digest.hexdigest()))
        try:
            stored = self._store.create(new)
        except IdempotencyKeyReused:
            self._forget_draft(batch_id)
            raise
        if stored != batch_id:
            self._forget_draft(batch_id)
        if stored is None:
            raise ObjectsUnavailable(
                "Writing the manifest took more than an hour: send it again. Nothing was accepted."
            )
        skipped = line_violations(summary.skipped) if stored == batch_id else ()
        batch = self.records.get(stored, terms.owner)
        return batch_view(batch, self._limiter.state(), skipped), stored != batch_id

    def get(self, batch_id: str, *, owner: str) -> BatchView:
        """A batch.

        Raises:
            BatchNotFound: there is none, or it belongs to somebody else.
        """
        return self.view(self.records.get(batch_id, owner))

    def view(self, batch: Batch) -> BatchView:
        """The batch as clients see it."""
        return batch_view(batch, self._limiter.state())

    def wait(self, batch_id: str, seconds: float, *, owner: str) -> BatchView:
        """The batch once it has ended or is paused, or as it is after `seconds` (the setting caps them).

        Raises:
            BatchNotFound: there is none, or it belongs to somebody else.
        """
        deadline = time.monotonic() + min(seconds, self._settings.max_wait_seconds)
        changed = threading.Event()

        def wake(entry: StreamEntry | None) -> None:
            if entry is None or entry[1]["event"] == "batch":
                changed.set()

        with self._changes.following("batch", batch_id, wake):
            while True:
                batch = self.records.get(batch_id, owner)
                remaining = deadline - time.monotonic()
                if batch.ended or batch.state is BatchState.PAUSED or remaining <= 0 or self.stopping:
                    return self.view(batch)
                changed.wait(min(remaining, _REREAD_SECONDS))
                changed.clear()

    def list(self, *, cursor: str | None, limit: int, owner: str) -> BatchPage:
        """A page of the owner's batches, newest first."""
        found = self.records.listed(owner, cursor, limit + 1)
        limiter = self._limiter.state()
        views = tuple(batch_view(batch, limiter) for batch in found[:limit])
        return BatchPage(batches=views, next_cursor=views[-1].id if len(found) > limit else None)

    def pause(self, batch_id: str, *, owner: str) -> BatchView:
        """Begin no more lines; those in flight go on.

        Raises:
            BatchNotFound: there is none, or it belongs to somebody else.
            BatchOver: it has ended, or was cancelled.
        """
        return self._steered(batch_id, owner, lambda batch: self._store.steer(batch, "pause"), "paused")

    def resume(self, batch_id: str, *, owner: str) -> BatchView:
        """Go on; raises as `pause`."""
        return self._steered(batch_id, owner, lambda batch: self._store.steer(batch, "resume"), "resumed")

    def change(self, batch_id: str, change: BatchChange, *, owner: str) -> BatchView:
        """Change the window, the priority or the cap, as far as they are given; raises as `pause`."""
        values = {"window": change.window, "priority": change.priority}
        changes: dict[str, int | None] = {name: value for name, value in values.items() if value is not None}
        if "max_cost_usd" in change.model_fields_set:
            changes["max_cost"] = None if change.max_cost_usd is None else micro(change.max_cost_usd)
        return self._steered(batch_id, owner, lambda batch: self._store.change(batch, changes), "changed")

    def cancel(self, batch_id: str, *, running: bool = False, owner: str) -> BatchView:
        """Cancel the lines that wait, and with `running` those in flight, too.

        Raises:
            BatchNotFound: there is none, or it belongs to somebody else.
            BatchOver: it has ended.
        """
        view = self._steered(batch_id, owner, lambda batch: self._store.steer(batch, "cancel"), "cancelled")
        self._parcels.hurry(batch_id)
        if not running:
            return view
        batch, lines = self.records.opened(batch_id, owner)
        for record in _in_chunks(lambda first: lines.lines(first, _PAGE)):
            if record.state is LineState.IN_FLIGHT and record.job_id:
                self._cancel_quietly(record.job_id, batch.owner)
        return self.get(batch_id, owner=owner)

    def retry(self, batch_id: str, states: Iterable[Again], *, owner: str) -> tuple[BatchView, int]:
        """Let the lines that ended so run once more, as new jobs; how many they are.

        Raises:
            BatchNotFound: there is none, or it belongs to somebody else.
            BatchOver: its record has left Redis.
        """
        batch = self.records.get(batch_id, owner)
        try:
            count = self._store.again(batch, [LineState(state) for state in states], secrets.token_hex(8))
        except BatchNotFound:
            raise BatchOver(
                f"Batch {batch_id} ended too long ago to be tried again: submit its failed lines as a new batch."
            ) from None
        return self.get(batch_id, owner=owner), count

    def delete(self, batch_id: str, *, owner: str) -> None:
        """Delete a batch that has ended: its record, its manifest, its place in the list. The jobs of its lines stay.

        Raises:
            BatchNotFound: there is none, or it belongs to somebody else.
            BatchRunning: it has not ended.
        """
        batch = self.records.get(batch_id, owner)
        if self._parcels.of_batch(batch_id):  # they name what has to be deleted at OpenAI
            raise BatchRunning(
                batch_id, "has files at OpenAI that are being deleted" if batch.ended else "has not ended"
            )
        self._removal.remove(batch)

    def job_ids(self, batch_id: str, *, owner: str) -> list[str]:
        """The jobs of the batch's lines, in no order.

        Raises:
            BatchNotFound: there is none, or it belongs to somebody else.
        """
        batch, lines = self.records.opened(batch_id, owner)
        return job_ids(lines, batch.lines)

    def results(
        self, batch_id: str, *, order: ResultOrder = "manifest", after: int | None = None, owner: str
    ) -> Iterator[ResultLine]:
        """How lines ended, read as they are taken.

        In manifest order it stops before the first line that has not ended; `after` is the number of the last line that
        was got, or in the order of finishing the last position. A line that ran again comes again in that order.

        Raises:
            BatchNotFound: there is none, or it belongs to somebody else.
        """
        batch, lines = self.records.opened(batch_id, owner)
        first = 0 if after is None else after + 1
        return (
            self._in_manifest_order(batch, lines, first)
            if order == "manifest"
            else self._as_finished(batch, lines, first)
        )

    def _in_manifest_order(self, batch: Batch, lines: BatchLines, first: int) -> Iterator[ResultLine]:
        while page := all_lines(batch, lines, first, _PAGE):
            ended = list(takewhile(lambda record: record.state.ended, page))
            yield from self._shown(batch, lines, ended, None)
            if len(ended) < len(page):
                return
            first += len(page)

    def _as_finished(self, batch: Batch, lines: BatchLines, first: int) -> Iterator[ResultLine]:
        while numbers := lines.ended(first, _PAGE):
            yield from self._shown(batch, lines, lines.lines_of(numbers), first)
            first += len(numbers)

    def _shown(
        self, batch: Batch, lines: BatchLines, records: list[LineRecord], position: int | None
    ) -> Iterator[ResultLine]:
        for index, line in enumerate(self.outputs.reader.read(batch, lines, records)):
            place = None if position is None else position + index
            yield result_line(line.record, line.custom_id, line.job, place, line.fault)

    def _written(
        self, batch_id: str, lines: Iterable[ManifestLine | BadLine], *, skip_invalid: bool
    ) -> ManifestSummary:
        try:
            return self._manifests.write(batch_id, lines, skip_invalid=skip_invalid)
        except Unavailable:  # something may be left of it: retention will see
            raise
        except ImageQueueError:
            self._store.end_draft(batch_id)
            raise

    def _new(
        self,
        batch_id: str,
        summary: ManifestSummary,
        options: BatchOptions,
        terms: Terms,
        webhook: str | None,
        digest: str,
    ) -> NewBatch:
        once = terms.idempotency
        fingerprint = None if once is None else hashlib.sha256(f"{once.fingerprint}{digest}".encode()).hexdigest()
        return NewBatch(
            id=batch_id,
            owner=terms.owner,
            key_id=terms.key_id,
            name=options.name,
            lines=summary.lines,
            images=summary.images,
            skipped=summary.skipped.total,
            estimate=summary.estimate,
            window=options.window or self._settings.batch_window,
            priority=options.priority,
            max_cost=None if options.max_cost_usd is None else micro(options.max_cost_usd),
            webhook=webhook,
            retention_ms=self._settings.retention_ms,
            idempotency=Idempotency(key=once.key, fingerprint=fingerprint) if once and fingerprint else None,
        )

    def _forget_draft(self, batch_id: str) -> None:
        self._manifests.delete(batch_id)
        self._store.end_draft(batch_id)

    def _steered(self, batch_id: str, owner: str, steer: Callable[[Batch], Steering], done: str) -> BatchView:
        batch = self.records.get(batch_id, owner)
        try:
            answer = steer(batch)
        except BatchNotFound:  # its record has left Redis
            answer = "over"
        if answer == "over":
            raise BatchOver(f"Batch {batch_id} is {batch.state}: it is not {done} any more.")
        return self.get(batch_id, owner=owner)

    def _cancel_quietly(self, job_id: str, owner: str) -> None:
        try:
            self._cancelling.cancel(job_id, owner)
        except (JobFinished, JobNotFound):
            return


def _noted(lines: Iterable[ManifestLine | BadLine], note: Callable[[bytes], None]) -> Iterator[ManifestLine | BadLine]:
    """The lines, each of which is noted as it passes."""
    for line in lines:
        note(line.encode() if isinstance(line, ManifestLine) else b"bad\n")
        yield line


def _in_chunks(read: Callable[[int], list[LineRecord]]) -> Iterator[LineRecord]:
    first = 0
    while page := read(first):
        yield from page
        first += len(page)
