"""How long a call to gpt-image-2 probably takes: as calls of its class lately did, else as users report. In seconds.

OpenAI publishes no figures. Users report about 10 s at low quality, 48 at medium, 126 at high, and 3 to 5 minutes for
the largest sizes at high.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_SECONDS: Final = {"low": 10.0, "medium": 48.0, "high": 126.0}
_USUAL_PIXELS: Final = 1536 * 1024
_LARGE_PIXELS: Final = 2048 * 2048
_MOST_PIXELS: Final = 8_294_400
_LARGEST_FACTOR: Final = 1.9


def call_seconds(size: tuple[int, int] | None, quality: str) -> float:
    """Expected seconds of one call as users report them; size None and quality `auto` are the model's choice.

    >>> call_seconds(None, "low"), call_seconds((1024, 1024), "auto"), round(call_seconds((3840, 2160), "high"))
    (10.0, 48.0, 239)
    """
    pixels = size[0] * size[1] if size else _USUAL_PIXELS
    beyond = max(0, pixels - _USUAL_PIXELS) / (_MOST_PIXELS - _USUAL_PIXELS)
    return _SECONDS.get(quality, _SECONDS["medium"]) * (1 + beyond * (_LARGEST_FACTOR - 1))


def call_class(model: str, size: tuple[int, int] | None, quality: str) -> str:
    """Calls of one class take about the same time; the class of what the model is to choose is one of its own.

    >>> call_class("gpt-image-2", (1024, 1024), "low"), call_class("gpt-image-2", (3840, 2160), "high")
    ('gpt-image-2:low:usual', 'gpt-image-2:high:largest')
    """
    if size is None:
        return f"{model}:{quality}:auto"
    pixels = size[0] * size[1]
    size_class = "usual" if pixels <= _USUAL_PIXELS else "large" if pixels <= _LARGE_PIXELS else "largest"
    return f"{model}:{quality}:{size_class}"


def expected_seconds(model: str, size: tuple[int, int] | None, quality: str, measured: Mapping[str, float]) -> float:
    """Seconds of one call as measured lately for its class, else as users report them."""
    return measured.get(call_class(model, size, quality), call_seconds(size, quality))
