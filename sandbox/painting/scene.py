"""Which picture belongs to which prompt: subject, time of day and colours.

All follow from the prompt's words, and where these say nothing from the chances given, so equal chances give an
equal picture.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from typing import Final

from PIL import Image

from sandbox.painting.easel import Easel, Palette
from sandbox.painting.land import draw_hills, draw_town, draw_wood
from sandbox.painting.sea import draw_sea
from sandbox.painting.still_life import draw_still_life


def _palette(*codes: str) -> Palette:
    red_green_blue = [(int(code[0:2], 16), int(code[2:4], 16), int(code[4:6], 16)) for code in codes]
    return Palette(*red_green_blue)


_PALETTES: Final[dict[str, tuple[Palette, ...]]] = {
    "dawn": (
        _palette("3b4a7a", "d98a8f", "ffd9a0", "fff3d6", "b98a9c", "2b2f4a"),
        _palette("5a6fa8", "f3b0a2", "ffe9c4", "fffbe8", "a7a0c0", "34405f"),
        _palette("2f6f8f", "f0a878", "ffe2a8", "fff6d8", "8ea3a6", "1f3a44"),
    ),
    "day": (
        _palette("2a7fc4", "7fc1e8", "e4f4f2", "fffbe0", "9cc3cf", "1f5b52"),
        _palette("3a8fb7", "a4d8d8", "fdf1cf", "fffdf0", "a9c9a4", "2d5a3a"),
        _palette("4a90d0", "9fd0ee", "fbe9d8", "ffffff", "b6bfd6", "39566b"),
    ),
    "dusk": (
        _palette("2c1e54", "b8456b", "ff9f5a", "ffe0a0", "8a3f6c", "1c1433"),
        _palette("1f2a56", "8a4f8f", "ff8f70", "ffd3a0", "6a4580", "161a38"),
        _palette("40245c", "e0605a", "ffc163", "fff0b8", "94506a", "2a1836"),
    ),
    "night": (
        _palette("060b22", "14275a", "3f5f94", "f4f2dc", "2a4270", "070d1f"),
        _palette("0b0a26", "2a1f5c", "6b5a9c", "fbf3e4", "3d3470", "0c0a20"),
        _palette("04141f", "0d3a4a", "3d8080", "eefaf0", "1c5058", "051016"),
    ),
}
_TIME_WORDS: Final = {
    "dawn": "dawn|sunrise|morning|spring|pastel",
    "day": "day|noon|summer|sunny|bright|afternoon",
    "dusk": "dusk|sunset|evening|autumn|fire|warm",
    "night": "night|midnight|moon|moonlit|moonlight|stars?|space|galaxy|neon|dark",
}
_SUBJECT_WORDS: Final = {
    "hills": "hills?|mountains?|valleys?|fields?|desert|landscape|canyon",
    "sea": "sea|ocean|lighthouse|harbou?r|boats?|ship|sail|beach|island|coast|lake|wave|water|river",
    "wood": "forest|woods?|trees?|pines?|cabin|fox|deer|bear|owl|camp|tent",
    "town": "city|street|skyline|towers?|buildings?|town|house|office|robot|car|neon|station",
    "still life": "cups?|mugs?|vase|fruits?|apples?|pears?|oranges?|table|bowl|still life|bottle|coffee|tea|"
    "product|icon|logo|flowers?",
}


_PAINTERS: Final[dict[str, Callable[[Easel], None]]] = {
    "hills": draw_hills,
    "sea": draw_sea,
    "wood": draw_wood,
    "town": draw_town,
    "still life": draw_still_life,
}


def draw_scene(size: tuple[int, int], prompt: str, rng: random.Random, *, detailed: bool) -> Image.Image:
    """Paint a picture of `size` (width, height) pixels for `prompt`; `detailed` adds clouds and finer shapes."""
    palette = rng.choice(_PALETTES[_chosen(prompt, _TIME_WORDS, rng)])
    easel = Easel(Image.new("RGB", size), palette, rng, detailed)
    _PAINTERS[_chosen(prompt, _SUBJECT_WORDS, rng)](easel)
    return easel.image


def _chosen(prompt: str, words: Mapping[str, str], rng: random.Random) -> str:
    """The key whose words come first in the prompt, else any."""
    any_key = rng.choice(sorted(words))
    places = {key: re.search(rf"\b(?:{pattern})\b", prompt, re.IGNORECASE) for key, pattern in words.items()}
    found = [(match.start(), key) for key, match in places.items() if match]
    return min(found)[1] if found else any_key
