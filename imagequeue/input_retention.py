"""Deletes input images that no job has named for the retention time, and old manifests. Jobs share images by sha256.

The round goes through the bucket a page at a time. An input's sidecar is written anew when it is used (see inputs.py),
so its time in S3 tells when that was. Whatever a job that has not ended was submitted with is younger than the limit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import structlog
from ulid import ULID

from imagequeue.errors import ImageNotFound
from imagequeue.inputs import INPUT_PREFIX, STAGING_PREFIX, input_key, sidecar_key, touch_after_ms
from imagequeue.jobs import is_job_id
from imagequeue.objects import MANIFEST_PREFIX, ObjectStore, StoredObject
from imagequeue.store.input_uses import InputUses

_PREFIXES: Final = (INPUT_PREFIX, STAGING_PREFIX, MANIFEST_PREFIX)
"""In the order of a round."""
_PAGE: Final = 500
_USE_WINDOW_MS: Final = 3_600_000
"""A use that was noted has written the sidecar anew by then."""
_ROUND_MS: Final = 3_600_000
"""Pause between two rounds through the bucket."""
_log = structlog.stdlib.get_logger(__name__)


class InputRetention:
    """Deletes what is not needed, page by page."""

    def __init__(self, objects: ObjectStore, uses: InputUses, retention_ms: int) -> None:
        self._objects = objects
        self._uses = uses
        self._retention_ms = retention_ms
        self._window_ms = min(_USE_WINDOW_MS, retention_ms // 4)
        self._round_ms = min(_ROUND_MS, retention_ms // 50)

    def round(self, now: int) -> None:
        """Look at one page, if that is due.

        Raises:
            StoreUnavailable, ObjectsUnavailable: Redis or S3 does not answer; the next round goes on.
        """
        for sha256 in self._uses.leaving():  # somebody began and died
            self._delete(sha256, self._limit(now))
        after, due = self._uses.round()
        if due > now:
            return
        place = next((place for place, prefix in enumerate(_PREFIXES) if after.startswith(prefix)), 0)
        prefix = _PREFIXES[place]
        page = self._objects.listed(prefix, after, _PAGE)
        limit = self._limit(now)
        if prefix == INPUT_PREFIX:
            self._consider(page, limit)
        else:
            self._delete_brought(page, limit)
        if len(page) == _PAGE:
            self._uses.go_on(page[-1].key, now)
        elif place + 1 < len(_PREFIXES):
            self._uses.go_on(_PREFIXES[place + 1], now)
        else:
            self._uses.go_on("", now + self._round_ms)

    def _limit(self, now: int) -> int:
        """What was last used before this time (ms) goes; earlier if a job has been waiting since long ago."""
        oldest = self._uses.oldest_unfinished()
        since = ULID.from_str(oldest[-26:]).milliseconds if oldest and is_job_id(oldest) else now
        return min(now, since) - self._retention_ms - touch_after_ms(self._retention_ms)

    def _consider(self, page: Iterable[StoredObject], limit: int) -> None:
        old = {stored.key for stored in page if stored.modified_at < limit}
        for sha256 in sorted({key.removeprefix(INPUT_PREFIX).removesuffix(".json") for key in old}):
            if self._uses.leave(sha256, self._window_ms) == "leaving":
                self._delete(sha256, limit)

    def _delete(self, sha256: str, limit: int) -> None:
        """Delete an input that is marked, unless it was used after all."""
        if self._last_used(sha256) < limit:
            self._objects.delete(input_key(sha256))
            self._objects.delete(sidecar_key(sha256))  # last: without it there is no such input
            _log.info("input_deleted", sha256=sha256)
        self._uses.left(sha256)

    def _last_used(self, sha256: str) -> int:
        times = [0]
        for key in (input_key(sha256), sidecar_key(sha256)):
            try:
                times.append(self._objects.modified(key))
            except ImageNotFound:
                continue
        return max(times)

    def _delete_brought(self, page: Iterable[StoredObject], limit: int) -> None:
        """What clients have put into the bucket: images never used, and manifests, which batches have copies of."""
        for stored in page:
            if stored.modified_at < limit:
                self._objects.delete(stored.key)
