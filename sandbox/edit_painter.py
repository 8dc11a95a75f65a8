"""The painter of edits: the first input stays as it is, and a change for the prompt is painted on it.

The change is a medallion with a scene for the prompt, the further inputs in a row along the top, and a caption. With
a mask it fills, and keeps within, what the mask leaves fully transparent; every other pixel is the input's.
"""

from __future__ import annotations

import colorsys
import hashlib
import io
import random
from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw, ImageOps

from sandbox.painter import Commission, encoded, small_print
from sandbox.painting.caption import write_caption
from sandbox.painting.easel import Colour, mapped, resized
from sandbox.painting.scene import draw_scene

_INPUT_FORMATS: Final = ("PNG", "JPEG", "WEBP")
_PAPER: Final = (255, 255, 255)  # what shows through the transparent parts of an input
_FRAME: Final = (250, 250, 252)
_TINT_SHARE: Final = 0.22
_CAPTION_OPACITY: Final = 255  # the input may carry the caption of the turn before
_LEAST_CAPTIONED: Final = 128  # pixels of a side; a smaller area has no room for a caption
_LEAST_SCENE: Final = 64  # pixels of a side
_LEAST_INSET: Final = 8  # pixels of a side
_FINER: Final = 4
_ONLY_TRANSPARENT: Final = [255, *[0] * 255]


def paint_edit(commission: Commission, inputs: Sequence[bytes], mask: bytes | None) -> bytes:
    """Paint one edited image and return its file. Equal arguments give equal bytes.

    Args:
        commission: what to paint, and in which size and format.
        inputs: at least one image file, in a format that was checked; the first is the background, scaled to cover
            the output (bicubic) and cropped about its centre.
        mask: a PNG file with alpha and the first input's size.
    """
    size = (commission.width, commission.height)
    background = ImageOps.fit(opened(inputs[0]), size, Image.Resampling.BICUBIC)
    changeable = Image.new("L", size, 255) if mask is None else _changeable(mask, size)
    area = changeable.getbbox()
    if area is None:
        return encoded(background, commission.output_format, commission.compression)
    canvas = background.crop(area)
    _paint_change(canvas, commission, inputs[1:], filling=mask is not None)
    background.paste(canvas, area, changeable.crop(area))
    return encoded(background, commission.output_format, commission.compression)


def opened(file: bytes) -> Image.Image:
    """An input as opaque RGB, on white where it is transparent."""
    with Image.open(io.BytesIO(file), formats=_INPUT_FORMATS) as image:
        if not image.has_transparency_data:
            return image.convert("RGB")
        picture = image.convert("RGBA")
    paper = Image.new("RGB", picture.size, _PAPER)
    paper.paste(picture, mask=picture.getchannel("A"))
    return paper


def _changeable(mask: bytes, size: tuple[int, int]) -> Image.Image:
    """255 where the mask, scaled and cropped like the background, is fully transparent, else 0."""
    with Image.open(io.BytesIO(mask), formats=("PNG",)) as image:
        alpha = image.getchannel("A")
    return ImageOps.fit(mapped(alpha, _ONLY_TRANSPARENT), size, Image.Resampling.NEAREST)


def _paint_change(canvas: Image.Image, commission: Commission, references: Sequence[bytes], *, filling: bool) -> None:
    rng = random.Random(hashlib.sha256(f"edit|{commission.index}|{commission.prompt}".encode()).digest())
    detailed = commission.quality != "low"
    if filling:
        canvas.paste(_scene(canvas.size, commission.prompt, rng, detailed=detailed))
    else:
        _hang_medallion(canvas, commission.prompt, rng, detailed=detailed)
    _hang_insets(canvas, references)
    if min(canvas.size) >= _LEAST_CAPTIONED:
        write_caption(canvas, commission.prompt, small_print(commission), opacity=_CAPTION_OPACITY)


def _scene(size: tuple[int, int], prompt: str, rng: random.Random, *, detailed: bool) -> Image.Image:
    """A scene for the prompt, tinted in a colour of its own."""
    width, height = size
    scene = draw_scene((max(_LEAST_SCENE, width), max(_LEAST_SCENE, height)), prompt, rng, detailed=detailed)
    return Image.blend(scene, Image.new("RGB", scene.size, _tint(rng)), _TINT_SHARE).crop((0, 0, width, height))


def _tint(rng: random.Random) -> Colour:
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(rng.random(), 0.75, 0.95))
    return red, green, blue


def _hang_medallion(canvas: Image.Image, prompt: str, rng: random.Random, *, detailed: bool) -> None:
    """Paste a round scene into the middle, further left or right by chance, so that turns do not hide each other."""
    width, height = canvas.size
    side = round(min(width, height) * 0.34)
    left = round(rng.uniform(0.06, 0.94) * (width - side))
    top = round(rng.uniform(0.36, 0.5) * (height - side))
    box = (left, top, left + side, top + side)
    canvas.paste(_FRAME, box, _disc(side, 0))
    canvas.paste(_scene((side, side), prompt, rng, detailed=detailed), box, _disc(side, max(2, side // 40)))


def _disc(side: int, inset: int) -> Image.Image:
    """255 within the circle that keeps `inset` pixels from the sides of the square, smooth at its edge."""
    fine = Image.new("L", (side * _FINER, side * _FINER))
    last = side * _FINER - 1 - inset * _FINER
    ImageDraw.Draw(fine).ellipse((inset * _FINER, inset * _FINER, last, last), fill=255)
    return fine.reduce(_FINER)


def _hang_insets(canvas: Image.Image, references: Sequence[bytes]) -> None:
    """Paste the further inputs, whole and framed, in a row along the upper edge."""
    if not references:
        return
    width, height = canvas.size
    pitch = min(0.2 * min(width, height), (width - 4) / len(references))
    cell, frame = int(pitch * 0.88), max(1, int(pitch * 0.02))
    if cell < _LEAST_INSET:
        return
    for number, reference in enumerate(references):
        picture = opened(reference)
        shrink = (cell - 2 * frame) / max(picture.size)
        inset = resized(picture, (max(1, round(picture.width * shrink)), max(1, round(picture.height * shrink))))
        left, top = round(pitch * (number + 0.06)), round(pitch * 0.12)
        canvas.paste(ImageOps.expand(inset, frame, _FRAME), (left, top))
