"""What a batch has made, as a whole: a part of the one door, ImageQueue."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from imagequeue.batch_lines import LineReader
from imagequeue.batch_records import BatchRecords
from imagequeue.batch_reports import BatchReport, make_report
from imagequeue.batch_views import BatchView, batch_view
from imagequeue.batches import Batch
from imagequeue.contact_tiles import LINES, Sheet, make_tiles, pages_of
from imagequeue.errors import InvalidRequest, Violation
from imagequeue.image_archive import ImageArchive
from imagequeue.objects import ObjectStore
from imagequeue.store.limiter import LimiterStore


class BatchOutputs:
    """Archives and reports of batches. Every method raises StoreUnavailable or ObjectsUnavailable."""

    def __init__(self, records: BatchRecords, reader: LineReader, objects: ObjectStore, limiter: LimiterStore) -> None:
        self._records = records
        self.reader = reader
        self._objects = objects
        self._limiter = limiter

    def archive(self, batch_id: str, *, by_prompt: bool, owner: str) -> tuple[Batch, Iterator[bytes]]:
        """The batch, and a ZIP with the images of its lines that have ended, made as it is taken.

        Raises:
            BatchNotFound: there is none, or it belongs to somebody else.
        """
        batch, lines = self._records.opened(batch_id, owner)
        request_of = partial(self.reader.request, batch)
        ended = self.reader.ended(batch, lines)
        return batch, iter(ImageArchive(self._objects, ended, request_of, by_prompt=by_prompt))

    def report(self, batch_id: str, *, owner: str) -> BatchReport:
        """The batch in figures, by the lines that have ended.

        Raises:
            BatchNotFound: there is none, or it belongs to somebody else.
        """
        batch, lines = self._records.opened(batch_id, owner)
        return make_report(batch_view(batch, self._limiter.state()), self.reader.outcomes(batch, lines))

    def sheet(self, batch_id: str, page: int, *, owner: str) -> tuple[BatchView, Sheet]:
        """The batch, and a page of its contact sheet.

        Raises:
            BatchNotFound: there is none, or it belongs to somebody else.
            InvalidRequest: it has fewer pages.
        """
        batch, lines = self._records.opened(batch_id, owner)
        pages = pages_of(batch.lines)
        if page > pages:
            raise InvalidRequest([Violation("page", f"must be from 1 to {pages}", str(page), str(pages))])
        ended = list(self.reader.ended(batch, lines, (page - 1) * LINES, page * LINES))
        tiles = make_tiles(self._objects, ended, partial(self.reader.request, batch))
        return batch_view(batch, self._limiter.state()), Sheet(page, pages, tiles)
