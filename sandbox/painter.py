"""The painter: a picture for a prompt, with the prompt written on it, in the size and file format asked for."""

from __future__ import annotations

import hashlib
import io
import random
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageChops

from imagequeue.pricing import FixedQuality
from sandbox.painting.caption import write_caption
from sandbox.painting.easel import mapped
from sandbox.painting.png import png_file
from sandbox.painting.scene import draw_scene

# Above this, the smoothing by double size would take hundreds of MB and seconds for an image nobody looks at.
_SMOOTHED_PIXELS: Final = 2_400_000
_GRAIN: Final = 5  # of 255, lighter and darker


@dataclass(frozen=True, slots=True)
class Commission:
    """One image to paint; `index` tells the images of one call apart, `compression` is 0 to 100."""

    prompt: str
    width: int
    height: int
    quality: FixedQuality
    output_format: str
    compression: int
    index: int


def paint(commission: Commission) -> bytes:
    """Paint one image and return its file. Equal commissions give equal bytes.

    Raises:
        KeyError: `output_format` is not png, jpeg or webp.
    """
    seed = hashlib.sha256(f"{commission.index}|{commission.prompt}".encode()).digest()
    detailed = commission.quality != "low"
    scale = 2 if detailed and commission.width * commission.height <= _SMOOTHED_PIXELS else 1
    size = (commission.width * scale, commission.height * scale)
    rng = random.Random(seed)
    picture = draw_scene(size, commission.prompt, rng, detailed=detailed)
    if scale > 1:
        picture = picture.reduce(scale)
    if commission.quality == "high":
        picture = _grained(picture, rng)
    write_caption(picture, commission.prompt, small_print(commission))
    return encoded(picture, commission.output_format, commission.compression)


def _grained(picture: Image.Image, rng: random.Random) -> Image.Image:
    """The picture on slightly rough paper, with a PNG as heavy as a real one, about 1 MB at 1024x1024."""
    side = 512
    tile = mapped(
        Image.frombytes("L", (side, side), rng.randbytes(side * side)), [v / 255 * 2 * _GRAIN for v in range(256)]
    )
    paper = Image.new("L", picture.size)
    for left in range(0, picture.width, side):
        for top in range(0, picture.height, side):
            paper.paste(tile, (left, top))
    return ImageChops.add(picture, Image.merge("RGB", (paper, paper, paper)), 1, -_GRAIN)


def small_print(commission: Commission) -> str:
    """Who painted this, in which size and quality, and as which image of its call."""
    number = f" · image {commission.index + 1}" if commission.index else ""
    size = f"{commission.width}x{commission.height}"
    return f"painted by the imagequeue sandbox · {size} · {commission.quality}{number}"


def encoded(picture: Image.Image, output_format: str, compression: int) -> bytes:
    """The file of an RGB picture. `compression` is OpenAI's: the quality of jpeg and webp, 100 for the least loss.

    Raises:
        KeyError: `output_format` is not png, jpeg or webp.
    """
    if output_format == "png":
        return png_file(picture)
    options: dict[str, dict[str, int]] = {
        "jpeg": {"quality": min(95, max(1, compression))},  # above 95 Pillow only makes files larger
        "webp": {"quality": compression, "method": 0},
    }
    file = io.BytesIO()
    picture.save(file, output_format, **options[output_format])
    return file.getvalue()
