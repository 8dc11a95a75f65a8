"""Deleting batches: manifest, record and place in the list. The jobs of their lines stay, and go as all jobs do."""

from __future__ import annotations

from imagequeue.batch_records import BatchRecords, batch_folder, batch_record_key
from imagequeue.batches import Batch, BatchRunning
from imagequeue.objects import ObjectStore
from imagequeue.store.batches import BatchStore


class BatchRemoval:
    """Deletes. Every method may be repeated, and raises StoreUnavailable or ObjectsUnavailable: then repeat it.

    What breaks off and is not repeated, retention ends when the batch's time is over.
    """

    def __init__(self, store: BatchStore, records: BatchRecords, objects: ObjectStore) -> None:
        self._store = store
        self._records = records
        self._objects = objects

    def remove(self, batch: Batch) -> None:
        """Delete a batch that has ended, wherever it is.

        Raises:
            BatchRunning: it has not ended, or goes on again.
        """
        if not batch.ended:
            raise BatchRunning(batch.id)
        if self._store.get_many([batch.id]):
            self.archive(batch)
            if self._store.get_many([batch.id]):
                raise BatchRunning(batch.id)
        self.remove_archived(batch)

    def archive(self, batch: Batch) -> None:
        """Let a batch that has ended leave Redis, unless it has gone on meanwhile."""
        self._records.write(batch)
        self._store.archive(batch)

    def remove_archived(self, batch: Batch) -> None:
        """Delete a batch that has left Redis. The record goes last: it says whose list the batch is in."""
        self._objects.delete_all(batch_folder(batch.id), keep=batch_record_key(batch.id))
        self._store.unlist(batch.id, batch.owner)
        self._objects.delete(batch_record_key(batch.id))
        self._store.look_again(batch.id, None)
