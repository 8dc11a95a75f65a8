"""Shipping: the lines of a batch in the economy lane go into parcels, up to 1,000 in each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import structlog

from imagequeue.batches import Batch
from imagequeue.jobs import price_of
from imagequeue.manifests.lines import ManifestLine
from imagequeue.manifests.store import ManifestStore
from imagequeue.parcels import PARCEL_LINES, Parcel, endpoint_of
from imagequeue.pricing import BATCH_API_FACTOR
from imagequeue.requests import JobRequest
from imagequeue.store.batches import BatchStore
from imagequeue.store.limits import micro
from imagequeue.store.parcels import ParcelStore
from worker.economy.deadlines import RealTime, leave_at

_log = structlog.stdlib.get_logger(__name__)


class Shipper:
    """Ships what is there to be shipped, round by round. Several at once do no harm."""

    def __init__(
        self, store: ParcelStore, batches: BatchStore, manifests: ManifestStore, real_time: Callable[[], RealTime]
    ) -> None:
        self._store = store
        self._batches = batches
        self._manifests = manifests
        self._real_time = real_time

    def round(self) -> int:
        """Ship one parcel of lines of each batch that has some; how many lines.

        Raises:
            StoreUnavailable, ObjectsUnavailable: Redis or S3 does not answer; the next round goes on.
        """
        return sum(map(self._ship, self._store.shipping()))

    def _ship(self, batch: Batch) -> int:
        wanted = min(PARCEL_LINES, batch.feed_until - batch.next_line)
        lines = self._manifests.lines(batch.id, batch.next_line, wanted)
        if not lines:
            return 0
        left = batch.feed_until - batch.next_line
        seconds = self._real_time().seconds([line.request for line in lines], left) if batch.deadline else 0.0
        if self._store.now() >= leave_at(batch, seconds):
            _log.info("batch_leaves_economy_lane", batch=batch.id, lines=left, seconds=seconds)
            self._batches.leave_economy(batch)
            return 0
        while lines:
            answer = self._store.ship(batch, batch.next_line + len(lines), list(_parcels(batch, lines)))
            if answer == "shipped":
                _log.info("lines_shipped", batch=batch.id, first=batch.next_line, lines=len(lines))
                return len(lines)
            if answer != "fewer":
                return 0
            lines = lines[: len(lines) // 2]
        return 0


def line_cost(request: JobRequest) -> int:
    """The most that a line may cost in the economy lane, in millionths of a dollar."""
    return micro(price_of(request).times(BATCH_API_FACTOR).high_usd)


def _parcels(batch: Batch, lines: Sequence[ManifestLine]) -> Iterator[Parcel]:
    for endpoint in ("/v1/images/generations", "/v1/images/edits"):
        own = [line for line in lines if endpoint_of(line.request) == endpoint]
        if own:
            yield Parcel(
                batch_id=batch.id,
                owner=batch.owner,
                key_id=batch.key_id,
                endpoint=endpoint,
                first=lines[0].number,
                end=lines[-1].number + 1,
                lines=len(own),
                reserved=sum(line_cost(line.request) for line in own),
            )
