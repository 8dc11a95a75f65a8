"""The keys of batches: a part of keys.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

NONE: Final = "none"
"""In the place of an id that is not there: such keys never exist."""


@dataclass(frozen=True, slots=True)
class BatchKeys:
    """The keys of batches under one prefix."""

    prefix: str

    @property
    def changes(self) -> str:
        """Stream: the id of every job that changed, for the whole fleet; it wakes the waiters."""
        return f"{self.prefix}changes"

    @property
    def webhook_announced(self) -> str:
        """Sorted set: jobs whose end is to be told to webhooks, until their deliveries are made, by time (ms)."""
        return f"{self.prefix}webhooks:announced"

    def webhook_endpoints(self, owner: str) -> str:
        """Hash: an owner's endpoints by id (JSON)."""
        return f"{self.prefix}webhooks:endpoints:{owner}"

    def batch(self, batch_id: str) -> str:
        """Hash: the batch."""
        return f"{self.prefix}batch:{batch_id}"

    def batch_lines(self, batch_id: str) -> str:
        """String, 27 bytes for each line that has begun: its job's ULID and a letter for how it stands."""
        return f"{self.prefix}batch:lines:{batch_id}"

    def batch_ended(self, batch_id: str) -> str:
        """List: the numbers of the lines in the order in which they ended; one that ran again is there again."""
        return f"{self.prefix}batch:ended:{batch_id}"

    def batch_faults(self, batch_id: str) -> str:
        """Hash: why no job could be made of a line (JSON), by its number."""
        return f"{self.prefix}batch:faults:{batch_id}"

    def batch_earlier(self, batch_id: str) -> str:
        """List: ULIDs of the jobs of lines that have another job now, because they ran again."""
        return f"{self.prefix}batch:earlier:{batch_id}"

    def batch_index(self, owner: str) -> str:
        """Sorted set, all scores 0: an owner's batch ids in time order."""
        return f"{self.prefix}index:{owner}:batches"

    @property
    def batches_active(self) -> str:
        """Sorted set, all scores 0: batches that run and have lines to begin."""
        return f"{self.prefix}batches:active"

    @property
    def batches_resuming(self) -> str:
        """Sorted set: paused batches by the time at which they go on (ms)."""
        return f"{self.prefix}batches:resuming"

    @property
    def batches_flying(self) -> str:
        """Hash: lines in flight by owner, of all batches."""
        return f"{self.prefix}batches:flying"

    @property
    def batches_over(self) -> str:
        """Sorted set: batches that have ended, by when retention looks at them next (ms)."""
        return f"{self.prefix}batches:over"

    @property
    def batches_drafts(self) -> str:
        """Sorted set: batches whose manifest is being written and that are not stored yet, by since when (ms)."""
        return f"{self.prefix}batches:drafts"

    @property
    def feeder(self) -> str:
        """Lock: the one worker that begins lines of batches now."""
        return f"{self.prefix}feeder"

    def parcel(self, parcel_id: str) -> str:
        """Hash: lines of a batch that are at OpenAI together, or on their way there."""
        return f"{self.prefix}parcel:{parcel_id}"

    def batch_parcels(self, batch_id: str) -> str:
        """Set: the parcels of a batch that are not done."""
        return f"{self.prefix}batch:parcels:{batch_id}"

    def for_parcel(self, batch_id: str, parcel_id: str | None) -> Mapping[str, str]:
        """The keys that scripts name in their headers, for one parcel; without one, a key that never exists."""
        return {
            "parcel": self.parcel(parcel_id or NONE),
            "batch_parcels": self.batch_parcels(batch_id),
            "parcels_due": self.parcels_due,
        }

    @property
    def parcels_due(self) -> str:
        """Sorted set: parcels by when they are looked at next; while one is held, by the end of its lease (ms)."""
        return f"{self.prefix}parcels:due"

    @property
    def slots(self) -> str:
        """Hash: how many calls each worker process holds at once."""
        return f"{self.prefix}workers:slots"

    def for_batch(self, batch_id: str | None, owner: str) -> Mapping[str, str]:
        """The keys that scripts name in their headers, for one batch; without one, keys that never exist."""
        kept = batch_id or NONE
        return {
            "batch": self.batch(kept),
            "batch_lines": self.batch_lines(kept),
            "batch_ended": self.batch_ended(kept),
            "batch_faults": self.batch_faults(kept),
            "batch_earlier": self.batch_earlier(kept),
            "batch_again": f"{self.prefix}batch:again:{kept}",
            "index_batches": self.batch_index(owner),
            "batches_active": self.batches_active,
            "batches_resuming": self.batches_resuming,
            "batches_flying": self.batches_flying,
            "batches_over": self.batches_over,
            "batches_drafts": self.batches_drafts,
            "changes": self.changes,
            "webhook_endpoints": self.webhook_endpoints(owner),
            "webhook_announced": self.webhook_announced,
        }
