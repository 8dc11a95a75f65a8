"""Previews of unfinished images: on their way from the call to S3 and to the job's events.

They are worth little and come while the paid image is still to come, so nothing waits for them: they are stored by
threads of their own, and whatever goes wrong with one is logged and forgotten.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from PIL import Image as PillowImage

from imagequeue.errors import ImageQueueError
from imagequeue.jobs import Claim, PartialImage
from imagequeue.objects import ObjectStore
from imagequeue.store.attempts import AttemptStore
from worker.outputs import EXTENSIONS, folder_of

SETTLE_SECONDS: Final = 2.0
"""How long the end of an attempt waits for previews on their way: usually hundredths of a second."""
_AT_ONCE: Final = 8
_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Preview:
    """A preview of the unfinished image as it came, on this worker's disk."""

    partial_index: int
    path: Path


OnPreview = Callable[[Preview], None]
"""Takes a preview while its call goes on; it does not block."""


class PreviewStore:
    """Stores previews, those of one attempt in the order in which they came."""

    def __init__(self, store: AttemptStore, objects: ObjectStore) -> None:
        self._store = store
        self._objects = objects
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="previews")

    @contextmanager
    def of(self, claim: Claim) -> Generator[OnPreview]:
        """Take the previews of an attempt while the block runs; at its end, wait a little for those on their way."""
        line = _Line(lambda preview: self._keep(claim, preview), self._pool)
        try:
            yield line.take
        finally:
            line.end(SETTLE_SECONDS)

    def close(self) -> None:
        """Stop; what is being stored is stored."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _keep(self, claim: Claim, preview: Preview) -> bool:
        """Store one; whether there is any use in storing the next."""
        try:
            partial = self._put(claim, preview)
            return self._store.partial_image(claim, partial) == "noted"
        except (ImageQueueError, OSError, ValueError) as error:  # Pillow's are among these
            _log.warning("preview_not_kept", job=claim.job.id, index=preview.partial_index, error=str(error))
            return True
        finally:
            preview.path.unlink(missing_ok=True)

    def _put(self, claim: Claim, preview: Preview) -> PartialImage:
        with PillowImage.open(preview.path, formats=tuple(EXTENSIONS)) as image:
            width, height, kind = image.width, image.height, "JPEG" if image.format == "MPO" else image.format or ""
        name = f"partial-{preview.partial_index}.{EXTENSIONS[kind]}"
        partial = PartialImage(
            partial_index=preview.partial_index,
            key=f"{folder_of(claim.job)}/{name}",
            mime_type=PillowImage.MIME[kind],
            size=f"{width}x{height}",
            size_bytes=preview.path.stat().st_size,
        )
        self._objects.put_file(partial.key, preview.path, content_type=partial.mime_type, filename=name)
        return partial


class _Line:
    """The previews of one attempt that wait to be stored: one after the other, by whichever thread is free."""

    def __init__(self, keep: Callable[[Preview], bool], pool: ThreadPoolExecutor) -> None:
        self._keep = keep
        self._pool = pool
        self._waiting = deque[Preview]()
        self._open = True
        self._idle = threading.Event()
        self._idle.set()
        self._lock = threading.Lock()

    def take(self, preview: Preview) -> None:
        """Store it soon."""
        with self._lock:
            if not self._open:
                return
            self._waiting.append(preview)
            if self._idle.is_set():
                self._idle.clear()
                self._pool.submit(self._work)

    def end(self, seconds: float) -> None:
        """Wait until all are stored, at most so long; then take and store no more."""
        self._idle.wait(seconds)
        with self._lock:
            self._open = False

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting or not self._open:
                    self._idle.set()
                    return
                preview = self._waiting.popleft()
            try:
                wanted = self._keep(preview)
            except Exception:
                _log.exception("preview_failed", index=preview.partial_index)
                wanted = True
            if not wanted:
                with self._lock:
                    self._open = False
