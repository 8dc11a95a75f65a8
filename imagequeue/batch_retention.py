"""Retention of batches: the record leaves Redis some days after the end, and is deleted with the manifest later.

The jobs of its lines are kept, archived and deleted as all jobs are.
"""

from __future__ import annotations

from collections.abc import Callable

from imagequeue.batch_records import BatchRecords, batch_folder
from imagequeue.batch_removal import BatchRemoval
from imagequeue.batches import BatchNotFound
from imagequeue.objects import ObjectStore
from imagequeue.store.batches import BatchStore


class BatchRetention:
    """Archives and deletes batches. Every method raises StoreUnavailable or ObjectsUnavailable: then repeat it."""

    def __init__(self, store: BatchStore, records: BatchRecords, objects: ObjectStore, *, hot_ms: int) -> None:
        self._store = store
        self._records = records
        self._objects = objects
        self._removal = BatchRemoval(store, records, objects)
        self._hot_ms = hot_ms

    def steps(self, now: int, limit: int) -> list[Callable[[], None]]:
        """What is due by the time `now` (ms), each to be done by itself."""
        over = [lambda batch_id=batch_id: self._look(batch_id, now) for batch_id in self._store.over(now, limit)]
        drafts = self._store.abandoned_drafts(now, limit)
        return [*over, *(lambda batch_id=batch_id: self._drop_draft(batch_id) for batch_id in drafts)]

    def _look(self, batch_id: str, now: int) -> None:
        try:
            batch = self._store.get(batch_id)
        except BatchNotFound:
            self._look_at_archived(batch_id, now)
            return
        due = (batch.finished_at or now) + self._hot_ms
        if due > now:
            self._store.look_again(batch_id, due)
            return
        self._removal.archive(batch)

    def _look_at_archived(self, batch_id: str, now: int) -> None:
        archived = self._records.archived(batch_id)
        if archived and (expires_at := archived.batch.expires_at or 0) > now:
            self._store.look_again(batch_id, expires_at)
            return
        if archived:
            self._removal.remove_archived(archived.batch)
        self._store.look_again(batch_id, None)

    def _drop_draft(self, batch_id: str) -> None:
        """Delete the manifest of a batch that was never stored, because its writer died."""
        self._objects.delete_all(batch_folder(batch_id))
        self._store.end_draft(batch_id)
