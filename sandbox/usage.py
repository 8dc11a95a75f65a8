"""The tokens that an answer claims: text by rule of thumb, images by OpenAI's published table."""

from __future__ import annotations

from imagequeue.pricing import output_tokens, text_tokens
from sandbox.image_rules import ImageOrder


def usage_of(order: ImageOrder) -> dict[str, object]:
    """Tokens of the whole call in the form of an image answer's `usage`."""
    text = text_tokens(order.prompt)
    images = order.n * output_tokens(order.width, order.height, order.quality)
    return {
        "input_tokens": text,
        "output_tokens": images,
        "total_tokens": text + images,
        "input_tokens_details": {"text_tokens": text, "image_tokens": 0},
        "output_tokens_details": {"image_tokens": images, "text_tokens": 0},
    }
