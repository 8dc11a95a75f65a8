"""A session's turns as one page: HTML with the previews inside, or a PNG painted with Pillow.

The HTML shows every script, the PNG Latin letters without their accents.
"""

from __future__ import annotations

import base64
import io
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont, ImageOps

from imagequeue.image_files import image_type

_TILE: Final = 360  # pixels
_GAP: Final = 24
_COLUMNS: Final = 4
_LINE: Final = 24
_PROMPT_LINES: Final = 4
_TITLE_HEIGHT: Final = 64
_PAPER, _INK, _PALE, _EMPTY = "#ffffff", "#1c1e21", "#6b7280", "#eceef1"

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 2rem; font: 16px/1.4 system-ui, sans-serif; color: #1c1e21; background: #fff; }}
h1 {{ font-size: 1.25rem; }}
main {{ display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); }}
figure {{ margin: 0; }}
img, .none {{ width: 100%; aspect-ratio: 1; object-fit: contain; background: #eceef1; border-radius: 4px; }}
.none {{ display: grid; place-items: center; color: #6b7280; }}
figcaption p {{ margin: .4rem 0 0; overflow-wrap: anywhere; }}
.facts {{ color: #6b7280; font-size: .875rem; }}
</style>
<h1>{title}</h1>
<main>
{figures}
</main>
</html>
"""


@dataclass(frozen=True, slots=True)
class Tile:
    """One turn: `facts` say in a line how it went, `preview` is an image file, None when it made no image."""

    number: int
    prompt: str
    facts: str
    preview: bytes | None


def write_sheet(tiles: Sequence[Tile], title: str, path: Path) -> None:
    """Write the sheet as the file's suffix says: `.png`, else HTML.

    Raises:
        OSError: the file cannot be written.
    """
    if path.suffix.lower() == ".png":
        _painted(tiles, title).save(path, "PNG")
    else:
        path.write_text(_html(tiles, title), encoding="utf-8")


def _html(tiles: Sequence[Tile], title: str) -> str:
    return _PAGE.format(title=escape(title), figures="\n".join(map(_figure, tiles)))


def _figure(tile: Tile) -> str:
    prompt, facts = escape(tile.prompt), escape(tile.facts)
    picture = '<div class="none">no image</div>'
    if tile.preview:
        content = base64.b64encode(tile.preview).decode()
        picture = f'<img alt="{prompt}" src="data:{image_type(tile.preview)};base64,{content}">'
    caption = f'<p><b>{tile.number}.</b> {prompt}</p><p class="facts">{facts}</p>'
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _painted(tiles: Sequence[Tile], title: str) -> Image.Image:
    columns = min(_COLUMNS, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    captions = [_wrapped(f"{tile.number}. {_drawable(tile.prompt)}", _TILE, _font(18)) for tile in tiles]
    step_x, step_y = _TILE + _GAP, _TILE + (max(map(len, captions)) + 1) * _LINE + 2 * _GAP
    sheet = Image.new("RGB", (_GAP + columns * step_x, _TITLE_HEIGHT + rows * step_y), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, _GAP), _cut(title, sheet.width - 2 * _GAP, _font(20)), fill=_INK, font=_font(20))
    for place, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        row, column = divmod(place, columns)
        left, top = _GAP + column * step_x, _TITLE_HEIGHT + row * step_y
        _paint_picture(sheet, draw, tile, left, top)
        for number, line in enumerate(caption):
            draw.text((left, top + _TILE + 8 + number * _LINE), line, fill=_INK, font=_font(18))
        facts_top = top + _TILE + 8 + len(caption) * _LINE
        draw.text((left, facts_top), _cut(tile.facts, _TILE, _font(16)), fill=_PALE, font=_font(16))
    return sheet


def _paint_picture(sheet: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, left: int, top: int) -> None:
    draw.rectangle((left, top, left + _TILE - 1, top + _TILE - 1), fill=_EMPTY)
    if tile.preview:
        with Image.open(io.BytesIO(tile.preview)) as preview:
            picture = ImageOps.contain(preview.convert("RGB"), (_TILE, _TILE))
        sheet.paste(picture, (left + (_TILE - picture.width) // 2, top + (_TILE - picture.height) // 2))
    else:
        draw.text((left + _TILE // 2, top + _TILE // 2), "no image", fill=_PALE, font=_font(18), anchor="mm")


def _drawable(text: str) -> str:
    """The text in the letters of Pillow's own font, which are ASCII's: the only font that is always there."""
    plain = (letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return "".join(plain).encode("ascii", "replace").decode()


def _wrapped(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """At most four lines that fit; the last is cut off."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if len(lines) == _PROMPT_LINES or not lines[-1] or font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return [_cut(line, width, font) for line in lines]


def _cut(line: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"{line}…") > width:
        line = line[:-1]
    return f"{line}…"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
