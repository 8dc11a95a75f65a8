"""A batch's contact sheet: a page of its lines, with small pictures of their images."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from PIL import Image as PillowImage

from imagequeue.batch_lines import ReadLine
from imagequeue.batches import LineState
from imagequeue.errors import ImageNotFound
from imagequeue.objects import ObjectStore
from imagequeue.requests import AnyRequest

LINES: Final = 100
"""On a page: with their pictures about two megabytes, which a phone loads and a person looks through."""
_EDGES: Final = {1: 400, 2: 220, 3: 150, 4: 112}
"""Longest edge of a picture in pixels, by how many stand side by side in a tile: all tiles weigh about the same."""
_QUALITY: Final = 72
_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Tile:
    """A line. `pictures` are WebP files in the order of its images, None for one that is gone."""

    number: int
    custom_id: str
    state: LineState
    prompt: str
    job_id: str | None
    seconds: float | None
    cost_usd: float | None
    reused_from: str | None
    error: str | None
    pictures: tuple[bytes | None, ...]

    @property
    def columns(self) -> int:
        """Pictures side by side."""
        return columns(len(self.pictures))


@dataclass(frozen=True, slots=True)
class Sheet:
    """One page of a contact sheet. Lines that have not ended are left out. Pages count from 1."""

    page: int
    pages: int
    tiles: tuple[Tile, ...]


def columns(count: int) -> int:
    """How many of so many pictures stand side by side in a square: 1 to 4."""
    return max(1, math.ceil(math.sqrt(count)))


def pages_of(lines: int) -> int:
    """How many pages so many lines have."""
    return max(1, math.ceil(lines / LINES))


def make_tiles(
    objects: ObjectStore, lines: Sequence[ReadLine], request_of: Callable[[ReadLine], AnyRequest]
) -> tuple[Tile, ...]:
    """The tiles of some lines.

    Raises:
        ObjectsUnavailable: S3 does not answer.
    """

    def tile(line: ReadLine) -> Tile:
        job = line.job
        images = job.images if job else ()
        edge = _EDGES[columns(len(images))]
        took = job.finished_at - job.started_at if job and job.started_at and job.finished_at else None
        return Tile(
            number=line.record.number,
            custom_id=line.custom_id,
            state=line.record.state,
            prompt=request_of(line).prompt,
            job_id=line.record.job_id,
            seconds=None if took is None else took / 1000,
            cost_usd=job.cost_usd_estimated if job else 0.0,
            reused_from=job.reused_from if job else None,
            error=f"{line.error.code}: {line.error.message}" if line.error else None,
            pictures=tuple(_picture(objects, image.preview_key, edge) for image in images),
        )

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="tiles") as pool:
        return tuple(pool.map(tile, lines))


def _picture(objects: ObjectStore, key: str, edge: int) -> bytes | None:
    try:
        preview = objects.get_bytes(key)
    except ImageNotFound:
        return None
    try:
        with PillowImage.open(io.BytesIO(preview), formats=("JPEG", "WEBP")) as image:
            image.thumbnail((edge, edge), reducing_gap=2.0)
            small = io.BytesIO()
            image.save(small, "WEBP", quality=_QUALITY, method=2)
            return small.getvalue()
    except (OSError, ValueError, SyntaxError, PillowImage.DecompressionBombError):
        return None
