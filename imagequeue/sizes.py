"""Which sizes gpt-image-2 takes.

Multiples of 16 pixels, edges up to 3840, ratio up to 3:1, 655,360 to 8,294,400 pixels in all.
"""

from __future__ import annotations

import re
from typing import Final, LiteralString

from pydantic_core import PydanticCustomError

EDGE_STEP: Final = 16
MAX_EDGE: Final = 3840
MAX_RATIO: Final = 3
MIN_PIXELS: Final = 655_360
MAX_PIXELS: Final = 8_294_400
PRESET_SIZES: Final = ("1024x1024", "1536x1024", "1024x1536")

_SIZE_PATTERN: Final = re.compile(r"(\d{1,9})\s*[xX×]\s*(\d{1,9})")


def broken(code: LiteralString, rule: str, example: str) -> PydanticCustomError:
    """A broken rule with a value that would pass, for pydantic to collect."""
    return PydanticCustomError(code, "{rule}", {"rule": rule, "example": example})


def parse_size(size: str) -> tuple[int, int] | None:
    """Width and height in pixels of a canonical size, None for `auto`."""
    if size == "auto":
        return None
    width, _, height = size.partition("x")
    return int(width), int(height)


def canonical_size(value: str) -> str:
    """A size as it is kept: `auto` or `WxH`; white space and a capital X are forgiven.

    Raises:
        PydanticCustomError: a rule is broken.
    """
    text = value.strip()
    if text.lower() == "auto":
        return "auto"
    match = _SIZE_PATTERN.fullmatch(text)
    if match is None:
        raise broken("size_form", "must be 'auto' or WIDTHxHEIGHT in pixels", "1536x1024")
    width, height = int(match[1]), int(match[2])
    if width % EDGE_STEP or height % EDGE_STEP:
        raise broken("size_step", f"both edges must be multiples of {EDGE_STEP}", _nearest_allowed(width, height))
    if max(width, height) > MAX_EDGE:
        raise broken("size_edge", f"no edge may be longer than {MAX_EDGE} pixels", _nearest_allowed(width, height))
    if max(width, height) > MAX_RATIO * min(width, height):
        raise broken(
            "size_ratio",
            f"the aspect ratio must lie within 1:{MAX_RATIO} and {MAX_RATIO}:1",
            _nearest_allowed(width, height),
        )
    if not MIN_PIXELS <= width * height <= MAX_PIXELS:
        rule = f"width × height must lie within {MIN_PIXELS:,} and {MAX_PIXELS:,} pixels"
        raise broken("size_pixels", rule, _nearest_allowed(width, height))
    return f"{width}x{height}"


def _nearest_allowed(width: int, height: int) -> str:
    """An allowed size of about the same shape and area, as the example in a refusal."""
    ratio = min(max((width or 1) / (height or 1), 1 / MAX_RATIO), MAX_RATIO)
    pixels = min(max(width * height, MIN_PIXELS), MAX_PIXELS)
    exact_height = (pixels / ratio) ** 0.5
    for candidate_height in _steps_around(exact_height):
        for candidate_width in _steps_around(candidate_height * ratio):
            shape_ok = max(candidate_width, candidate_height) <= MAX_RATIO * min(candidate_width, candidate_height)
            if shape_ok and MIN_PIXELS <= candidate_width * candidate_height <= MAX_PIXELS:
                return f"{candidate_width}x{candidate_height}"
    return PRESET_SIZES[0]


def _steps_around(length: float) -> list[int]:
    nearest = round(length / EDGE_STEP) * EDGE_STEP
    candidates = [nearest + offset * EDGE_STEP for offset in (0, 1, -1, 2, -2)]
    return [candidate for candidate in candidates if EDGE_STEP <= candidate <= MAX_EDGE]
