"""The prompt, written on the picture."""

from __future__ import annotations

import unicodedata
from typing import Final

from PIL import Image, ImageDraw, ImageFont

_SHOWN_CHARACTERS: Final = 600
_LEAST_UNIT: Final = 270  # pixels of a side; from letters made for less, nobody can read
_INK: Final = (255, 255, 255)
_FAINT_INK: Final = (214, 218, 228)
_PANEL: Final = (12, 14, 26)
_PANEL_OPACITY: Final = 178  # of 255


def write_caption(picture: Image.Image, prompt: str, small_print: str, *, opacity: int = _PANEL_OPACITY) -> None:
    """Put prompt and small print on a panel along the lower edge; its `opacity` is 0 to 255."""
    width, height = picture.size
    unit = max(_LEAST_UNIT, min(width, height))
    margin, padding = round(unit * 0.045), round(unit * 0.026)
    font, caption_font = _font(unit * 0.03), _font(unit * 0.0175)
    lines = _wrapped(prompt, font, width - 2 * margin - 2 * padding, most=6)
    line_height, caption_height = round(unit * 0.041), round(unit * 0.034)
    panel_height = 2 * padding + line_height * len(lines) + caption_height
    left, top = margin, height - margin - panel_height
    mask = Image.new("L", (width - 2 * margin, panel_height))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), unit * 0.02, fill=opacity)
    picture.paste(_PANEL, (left, top, left + mask.width, top + mask.height), mask)
    pen = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        pen.text((left + padding, top + padding + number * line_height), line, _INK, font)
    pen.text(
        (left + padding, top + panel_height - padding - caption_height * 0.7), small_print, _FAINT_INK, caption_font
    )


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
