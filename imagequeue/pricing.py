"""What a gpt-image-2 call costs: token prices, token formulas and estimates. Pure functions, US dollars.

Sources: OpenAI's price page for the dollars per million tokens; the output-token formula reproduces its published
table of tokens per size and quality (1024×1024: 196 low, 1756 medium, 7024 high).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

PRICE_TABLE_VERSION: Final = "2026-08"
TEXT_INPUT_USD_PER_TOKEN: Final = 5 / 1_000_000
IMAGE_INPUT_USD_PER_TOKEN: Final = 8 / 1_000_000
IMAGE_OUTPUT_USD_PER_TOKEN: Final = 30 / 1_000_000

FixedQuality = Literal["low", "medium", "high"]
_QUALITY_STEPS: Final[dict[str, int]] = {"low": 16, "medium": 48, "high": 96}
_CHARACTERS_PER_TOKEN: Final = 4  # OpenAI's rule of thumb for English text; used for estimates only
_INPUT_IMAGE_TOKENS: Final = (300, 1_500, 6_500)
"""Least, expected and most tokens of one input image. gpt-image-2's are not published; gpt-image-1 counts up to about
6,300 for a high-fidelity input, so the bounds are wide. What is settled is what OpenAI counted."""
BATCH_API_FACTOR: Final = 0.5
"""Of each price, through OpenAI's Batch API, says its guide."""
PARTIAL_IMAGE_TOKENS: Final = 100
"""Output tokens of each partial image that is streamed before the image itself, says OpenAI's image guide."""
_AUTO_SIZE: Final = (1024, 1024)
_LARGEST_AUTO_SIZE: Final = (1536, 1024)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Dollars before the call. `low` and `high` differ when size or quality is left to the model."""

    low_usd: float
    expected_usd: float
    high_usd: float


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens that the provider counted. None: it did not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    input_text_tokens: int | None = None
    input_image_tokens: int | None = None


@lru_cache(maxsize=1024)  # batches have thousands of lines of few sizes
def output_tokens(width: int, height: int, quality: FixedQuality) -> int:
    """Tokens of one output image of `width` × `height` pixels.

    >>> output_tokens(1024, 1024, "medium"), output_tokens(1536, 1024, "high"), output_tokens(3840, 2160, "high")
    (1756, 5488, 13342)
    """
    steps = _QUALITY_STEPS[quality]
    short, long = min(width, height), max(width, height)
    short_steps = (2 * steps * short + long) // (2 * long)
    return math.ceil(steps * short_steps * (2_000_000 + width * height) / 4_000_000)


def text_tokens(prompt: str) -> int:
    """Roughly the tokens of a prompt, at least 1."""
    return max(1, math.ceil(len(prompt) / _CHARACTERS_PER_TOKEN))


def estimate(
    prompt: str, size: tuple[int, int] | None, quality: str, n: int, inputs: int = 0, partial_images: int = 0
) -> Estimate:
    """Price `n` images made from `inputs` images; `size` None and quality `auto` are the model's choice.

    The expected figure takes 1024×1024 and medium for what is left open, the bounds take the cheapest and the
    dearest that the model may choose.
    """
    text = text_tokens(prompt) * TEXT_INPUT_USD_PER_TOKEN

    def priced(at_size: tuple[int, int], at_quality: FixedQuality, input_tokens: int) -> float:
        output = n * output_tokens(*at_size, at_quality) + partial_images * PARTIAL_IMAGE_TOKENS
        outputs = output * IMAGE_OUTPUT_USD_PER_TOKEN
        return round(text + inputs * input_tokens * IMAGE_INPUT_USD_PER_TOKEN + outputs, 6)

    if quality in ("low", "medium", "high"):
        low_quality = expected_quality = high_quality = quality
    else:
        low_quality, expected_quality, high_quality = "low", "medium", "high"
    sizes = [size] if size else [_AUTO_SIZE, _LARGEST_AUTO_SIZE]
    least, expected, most = _INPUT_IMAGE_TOKENS
    return Estimate(
        low_usd=min(priced(candidate, low_quality, least) for candidate in sizes),
        expected_usd=priced(sizes[0], expected_quality, expected),
        high_usd=max(priced(candidate, high_quality, most) for candidate in sizes),
    )


def expected_tokens(
    prompt: str, size: tuple[int, int] | None, quality: str, n: int, inputs: int = 0, partial_images: int = 0
) -> int:
    """Tokens that OpenAI will probably count for a call: `estimate`'s expected case."""
    expected: FixedQuality = quality if quality in ("low", "medium", "high") else "medium"
    output = n * output_tokens(*(size or _AUTO_SIZE), expected) + partial_images * PARTIAL_IMAGE_TOKENS
    return text_tokens(prompt) + inputs * _INPUT_IMAGE_TOKENS[1] + output


def cost_usd(usage: TokenUsage) -> float | None:
    """Dollars for what the provider counted; None when it counted nothing.

    Input tokens without details count as text when the total is all that is known; output tokens are image tokens.
    """
    if usage.output_tokens is None:
        return None
    total, text_input, image_input = usage.input_tokens, usage.input_text_tokens, usage.input_image_tokens
    if image_input is None:
        image_input = max(0, (total or 0) - text_input) if text_input is not None else 0
    if text_input is None:
        text_input = max(0, (total or 0) - image_input)
    return round(
        text_input * TEXT_INPUT_USD_PER_TOKEN
        + image_input * IMAGE_INPUT_USD_PER_TOKEN
        + usage.output_tokens * IMAGE_OUTPUT_USD_PER_TOKEN,
        6,
    )
