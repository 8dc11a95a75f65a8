"""The painter: a picture for a prompt, with the prompt written on it, in the size and file format asked for."""

from __future__ import annotations

import hashlib
import io
import random
import unicodedata
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageFont

from imagequeue.pricing import FixedQuality
from sandbox.painting.easel import mapped
from sandbox.painting.png import png_file
from sandbox.painting.scene import draw_scene

# Above this, the smoothing by double size would take hundreds of MB and seconds for an image nobody looks at.
_SMOOTHED_PIXELS: Final = 2_400_000
_SHOWN_CHARACTERS: Final = 600
_GRAIN: Final = 5  # of 255, lighter and darker
_INK: Final = (255, 255, 255)
_FAINT_INK: Final = (214, 218, 228)
_PANEL: Final = (12, 14, 26)
_PANEL_OPACITY: Final = 178  # of 255


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
    _write_prompt(picture, commission)
    return _encoded(picture, commission.output_format, commission.compression)


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


def _write_prompt(picture: Image.Image, commission: Commission) -> None:
    """Put prompt and caption on a translucent panel along the lower edge."""
    width, height = picture.size
    unit = min(width, height)
    margin, padding = round(unit * 0.045), round(unit * 0.026)
    font, caption_font = _font(unit * 0.03), _font(unit * 0.0175)
    lines = _wrapped(commission.prompt, font, width - 2 * margin - 2 * padding, most=6)
    line_height, caption_height = round(unit * 0.041), round(unit * 0.034)
    panel_height = 2 * padding + line_height * len(lines) + caption_height
    left, top = margin, height - margin - panel_height
    mask = Image.new("L", (width - 2 * margin, panel_height))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), unit * 0.02, fill=_PANEL_OPACITY)
    picture.paste(_PANEL, (left, top, left + mask.width, top + mask.height), mask)
    pen = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        pen.text((left + padding, top + padding + number * line_height), line, _INK, font)
    number = f" · image {commission.index + 1}" if commission.index else ""
    caption = f"painted by the imagequeue sandbox · {width}x{height} · {commission.quality}{number}"
    pen.text((left + padding, top + panel_height - padding - caption_height * 0.7), caption, _FAINT_INK, caption_font)


def _font(pixels: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(max(8, round(pixels)))
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("this Pillow was built without FreeType: install a wheel from PyPI")
    return font


def _wrapped(prompt: str, font: ImageFont.FreeTypeFont, width: int, most: int) -> list[str]:
    """Lines of at most `width` pixels, at most `most` of them, with an ellipsis when the prompt goes on."""
    words = _legible(prompt[:_SHOWN_CHARACTERS]).split()
    lines: list[str] = []
    line = ""
    while words:
        word = words.pop(0)
        joined = f"{line} {word}".strip()
        if font.getlength(joined) <= width:
            line = joined
        elif line:
            lines.append(line)
            line, words = "", [word, *words]
        else:
            fitting = _longest_start(word, font, width)
            lines.append(word[:fitting])
            words.insert(0, word[fitting:])
    lines.append(line)
    if len(lines) > most or len(prompt) > _SHOWN_CHARACTERS:
        lines = lines[:most]
        lines[-1] = lines[-1][: max(0, len(lines[-1]) - 3)].rstrip() + " …"
    return lines


def _legible(text: str) -> str:
    """The text in characters that Pillow's bundled font has, which are ASCII: accents go, other scripts become "?"."""
    plain = "".join(mark for mark in unicodedata.normalize("NFKD", text) if not unicodedata.combining(mark))
    return "".join(mark if mark.isprintable() else " " for mark in plain).encode("ascii", "replace").decode()


def _longest_start(word: str, font: ImageFont.FreeTypeFont, width: int) -> int:
    """How many characters of a word without spaces fit, at least one."""
    fitting = 1
    while fitting < len(word) and font.getlength(word[: fitting + 1]) <= width:
        fitting += 1
    return fitting


def _encoded(picture: Image.Image, output_format: str, compression: int) -> bytes:
    """The image file. `compression` is OpenAI's: the quality of jpeg and webp, 100 for the least loss."""
    if output_format == "png":
        return png_file(picture)
    options: dict[str, dict[str, int]] = {
        "jpeg": {"quality": min(95, max(1, compression))},  # above 95 Pillow only makes files larger
        "webp": {"quality": compression, "method": 0},
    }
    file = io.BytesIO()
    picture.save(file, output_format, **options[output_format])
    return file.getvalue()
