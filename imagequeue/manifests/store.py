"""Validated manifests in S3: a batch's lines wait there, and cost nothing in Redis."""

from __future__ import annotations

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from imagequeue.errors import ImageNotFound
from imagequeue.estimates import Tally
from imagequeue.inputs import CHECK_PREFIX
from imagequeue.jobs import PriceEstimate
from imagequeue.manifests.lines import BadLine, BadLines, ManifestLine, Sieve
from imagequeue.objects import ObjectStore

CHUNK_LINES: Final = 1000
BATCH_PREFIX: Final = "batches/"
_CACHE_BYTES: Final = 32 * 1024 * 1024
_JSONL: Final = "application/jsonl"


@dataclass(frozen=True, slots=True)
class ManifestSummary:
    """What was accepted: lines, images and dollars in all; and what was not."""

    lines: int
    images: int
    estimate: PriceEstimate
    skipped: BadLines


class ManifestStore:
    """Writes and reads validated manifests. Every method may raise ObjectsUnavailable.

    Args:
        objects: where they are kept.
        spool: folder for chunks on their way; default: the system's for temporary files.
    """

    def __init__(self, objects: ObjectStore, spool: Path | None = None) -> None:
        self._objects = objects
        self._spool = spool
        self._cache: OrderedDict[str, Sequence[bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def write(
        self, batch_id: str, lines: Iterable[ManifestLine | BadLine], *, skip_invalid: bool = False
    ) -> ManifestSummary:
        """Keep the good lines, numbered anew without gaps.

        Raises:
            InvalidManifest: there are bad lines that may not be skipped, or no good ones; nothing is left in S3 then.
        """
        if self._spool:
            self._spool.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(dir=self._spool, prefix=CHECK_PREFIX) as folder:
                return self._write(batch_id, lines, skip_invalid, Path(folder))
        except BaseException:
            self.delete(batch_id)
            raise

    def lines(self, batch_id: str, first: int, count: int) -> list[ManifestLine]:
        """Up to `count` lines from the number `first` on; fewer at the manifest's end.

        Raises:
            ImageNotFound: there is no such manifest.
        """
        found: list[ManifestLine] = []
        while len(found) < count:
            chunk, offset = divmod(first + len(found), CHUNK_LINES)
            texts = self._chunk(batch_id, chunk)[offset : offset + count - len(found)]
            if not texts:
                break
            found += [ManifestLine.decode(first + len(found) + index, text) for index, text in enumerate(texts)]
        return found

    def delete(self, batch_id: str) -> None:
        """Remove a batch's manifest; one that is not there is no error."""
        self._objects.delete_all(manifest_folder(batch_id))

    def _write(
        self, batch_id: str, lines: Iterable[ManifestLine | BadLine], skip_invalid: bool, folder: Path
    ) -> ManifestSummary:
        sieve, tally = Sieve(lines, skip_invalid=skip_invalid), Tally()
        with _ChunkWriter(self._objects, batch_id, folder) as writer:
            for line in sieve:
                writer.write(line)
                tally.add(line.request)
        return ManifestSummary(tally.lines, tally.images, tally.price, sieve.bad)

    def _chunk(self, batch_id: str, chunk: int) -> Sequence[bytes]:
        """The lines of a chunk; none behind the last."""
        key = chunk_key(batch_id, chunk)
        with self._lock:
            if (kept := self._cache.get(key)) is not None:
                self._cache.move_to_end(key)
                return kept
        body = self._objects.find_bytes(key)
        if body is None:
            if chunk == 0:
                raise ImageNotFound(f"S3 has no {key!r}.")
            return ()
        texts = body.splitlines()
        self._keep(key, texts)
        return texts

    def _keep(self, key: str, texts: Sequence[bytes]) -> None:
        with self._lock:
            self._cache[key] = texts
            while len(self._cache) > 1 and sum(map(_size, self._cache.values())) > _CACHE_BYTES:
                self._cache.popitem(last=False)


class _ChunkWriter:
    """Puts lines into S3, so many in a chunk; a chunk waits on the disk until it is full."""

    def __init__(self, objects: ObjectStore, batch_id: str, folder: Path) -> None:
        self._objects = objects
        self._batch_id = batch_id
        self._path = folder / "chunk"
        self._file = self._path.open("wb")
        self._lines = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._file:
            if kind is None and self._lines % CHUNK_LINES:
                self._put()

    def write(self, line: ManifestLine) -> None:
        self._file.write(replace(line, number=self._lines).encode())
        self._lines += 1
        if self._lines % CHUNK_LINES == 0:
            self._put()

    def _put(self) -> None:
        self._file.flush()
        key = chunk_key(self._batch_id, (self._lines - 1) // CHUNK_LINES)
        self._objects.put_file(key, self._path, content_type=_JSONL, filename=key.rpartition("/")[2])
        self._file.seek(0)
        self._file.truncate()


def manifest_folder(batch_id: str) -> str:
    """Prefix of the keys of a batch's manifest."""
    return f"{BATCH_PREFIX}{batch_id}/manifest/"


def chunk_key(batch_id: str, chunk: int) -> str:
    """Where the lines `1000 * chunk` and on are."""
    return f"{manifest_folder(batch_id)}{chunk:06d}.jsonl"


def _size(texts: Sequence[bytes]) -> int:
    return sum(map(len, texts))
