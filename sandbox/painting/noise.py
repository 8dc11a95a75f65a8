"""Images of a weight asked for, painted once: load is measured with them, and the painter's own work is not in it."""

from __future__ import annotations

import io
import random

from PIL import Image

_PAPER = (236, 232, 222)


def heavy_png(width: int, height: int, size_bytes: int) -> bytes:
    """A PNG of `size_bytes`, within a tenth: noise from the top down, which nothing compresses, on plain paper.

    Args:
        width: in pixels.
        height: in pixels.
        size_bytes: of the file; its pixels hold no more than 3 bytes each, and the paper alone is some thousands.
    """
    picture = Image.new("RGB", (width, height), _PAPER)
    rows = min(height, size_bytes // (3 * width + 1))
    if rows:
        noise = random.Random(size_bytes).randbytes(3 * width * rows)
        picture.paste(Image.frombytes("RGB", (width, rows), noise), (0, 0))
    file = io.BytesIO()
    picture.save(file, "png", compress_level=1)
    return file.getvalue()
