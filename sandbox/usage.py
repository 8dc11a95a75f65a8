"""The tokens that an answer claims: text by rule of thumb, output images by OpenAI's published table.

OpenAI publishes no formula for the input images of gpt-image-2. The estimate here is the shape of those it published
for its earlier models: some tokens for each image, and some for each tile of 512 by 512 pixels that it covers. Masks
are not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from imagequeue.pricing import PARTIAL_IMAGE_TOKENS, TokenUsage, cost_usd, output_tokens, text_tokens
from sandbox.image_rules import ImageOrder
from sandbox.rate_limits import Use

_TILE_EDGE: Final = 512
_TOKENS_PER_IMAGE: Final = 65
_TOKENS_PER_TILE: Final = 129


def input_image_tokens(width: int, height: int) -> int:
    """Estimated tokens of one input image of `width` × `height` pixels.

    >>> input_image_tokens(1024, 1024), input_image_tokens(1, 513)
    (581, 323)
    """
    tiles = -(-width // _TILE_EDGE) * -(-height // _TILE_EDGE)
    return _TOKENS_PER_IMAGE + _TOKENS_PER_TILE * tiles


@dataclass(frozen=True, slots=True)
class _Tokens:
    text: int
    input_images: int
    output_images: int

    @property
    def total(self) -> int:
        return self.text + self.input_images + self.output_images


def _tokens_of(order: ImageOrder, input_sizes: Sequence[tuple[int, int]]) -> _Tokens:
    return _Tokens(
        text=text_tokens(order.prompt),
        input_images=sum(input_image_tokens(width, height) for width, height in input_sizes),
        output_images=order.n * output_tokens(order.width, order.height, order.quality)
        + (order.partial_images or 0) * PARTIAL_IMAGE_TOKENS,
    )


def use_of(order: ImageOrder, input_sizes: Sequence[tuple[int, int]] = ()) -> Use:
    """What the call takes of the account's rate limits; sizes are (width, height) in pixels."""
    return Use(images=order.n, tokens=_tokens_of(order, input_sizes).total, input_images=len(input_sizes))


def usage_of(order: ImageOrder, input_sizes: Sequence[tuple[int, int]] = ()) -> dict[str, object]:
    """Tokens of the whole call in the form of an image answer's `usage`; sizes are (width, height) in pixels."""
    tokens = _tokens_of(order, input_sizes)
    return {
        "input_tokens": tokens.text + tokens.input_images,
        "output_tokens": tokens.output_images,
        "total_tokens": tokens.total,
        "input_tokens_details": {"text_tokens": tokens.text, "image_tokens": tokens.input_images},
        "output_tokens_details": {"image_tokens": tokens.output_images, "text_tokens": 0},
    }


def cost_of(order: ImageOrder, input_sizes: Sequence[tuple[int, int]] = ()) -> float:
    """Dollars that OpenAI's price list says for the call; sizes are (width, height) in pixels."""
    tokens = _tokens_of(order, input_sizes)
    usage = TokenUsage(tokens.text + tokens.input_images, tokens.output_images, tokens.text, tokens.input_images)
    return cost_usd(usage) or 0.0
