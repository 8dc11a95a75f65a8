"""How long a call to gpt-image-2 probably takes. Pure functions, seconds.

OpenAI publishes no figures. These are what users report: about 10 s at low quality, 48 at medium, 126 at high, and 3 to
5 minutes for the largest sizes at high.
"""

from __future__ import annotations

from typing import Final

_SECONDS: Final = {"low": 10.0, "medium": 48.0, "high": 126.0}
_USUAL_PIXELS: Final = 1536 * 1024
_MOST_PIXELS: Final = 8_294_400
_LARGEST_FACTOR: Final = 1.9


def call_seconds(size: tuple[int, int] | None, quality: str) -> float:
    """Expected seconds of one call; size None and quality `auto` are the model's choice.

    >>> call_seconds(None, "low"), call_seconds((1024, 1024), "auto"), round(call_seconds((3840, 2160), "high"))
    (10.0, 48.0, 239)
    """
    pixels = size[0] * size[1] if size else _USUAL_PIXELS
    beyond = max(0, pixels - _USUAL_PIXELS) / (_MOST_PIXELS - _USUAL_PIXELS)
    return _SECONDS.get(quality, _SECONDS["medium"]) * (1 + beyond * (_LARGEST_FACTOR - 1))
