"""What gpt-image-2 accepts, checked as strictly as OpenAI does, with its codes and its `param`.

Written apart from `imagequeue.requests` on purpose: this is the other side of the wire, and a rule misread in one
place must not be excused by the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, cast

from imagequeue.pricing import FixedQuality
from sandbox.api_errors import ApiError
from sandbox.values import Fields, choice, given, integer, missing, refuse_unknown, string, wrong_type

MODELS: Final = ("gpt-image-2", "gpt-image-2-2026-04-21")
FORBIDDEN_WORD: Final = "FORBIDDEN"
"""A prompt with this word, in capitals, is refused as OpenAI's safety system refuses."""

MAX_PROMPT: Final = 32_000
EDGE_STEP: Final = 16
MAX_EDGE: Final = 3840
MAX_RATIO: Final = 3
MIN_PIXELS: Final = 655_360
MAX_PIXELS: Final = 8_294_400
MAX_PARTIAL_IMAGES: Final = 3
_QUALITIES: Final = ("auto", "low", "medium", "high")
_FORMATS: Final = ("png", "jpeg", "webp")
_IMAGE_PARAMETERS: Final = ("size", "quality", "background", "output_format", "output_compression", "moderation")
PARAMETERS: Final = (
    "model",
    "prompt",
    "n",
    "stream",
    "partial_images",
    "user",
    "safety_identifier",
    *_IMAGE_PARAMETERS,
)


@dataclass(frozen=True, slots=True)
class ImageOrder:
    """A checked request, with `auto` already decided: a size for the endpoint to say, medium, opaque."""

    prompt: str
    n: int
    width: int
    height: int
    quality: FixedQuality
    background: str
    output_format: str
    output_compression: int  # 0 to 100; 100 keeps most
    partial_images: int | None  # that are streamed before the image; None: the answer is not streamed

    @property
    def size(self) -> str:
        """`WIDTHxHEIGHT` in pixels."""
        return f"{self.width}x{self.height}"

    @property
    def streamed(self) -> bool:
        """Whether the answer is to come as events."""
        return self.partial_images is not None


def check_generation(fields: Fields) -> ImageOrder:
    """Check the parameters of an image generation.

    Raises:
        ApiError: at the first rule broken, or when the safety rule refuses the prompt.
    """
    refuse_unknown(fields, PARAMETERS)
    return check_order(fields)


def check_order(fields: Fields, auto_size: tuple[int, int] = (1024, 1024)) -> ImageOrder:
    """Check what all image requests have in common; `auto_size` (pixels) is what the size `auto` means.

    Raises:
        ApiError: at the first rule broken, or when the safety rule refuses the prompt.
    """
    _check_model(fields)
    prompt = _prompt(fields)
    output_format = choice(fields, "output_format", _FORMATS)
    width, height = _size(fields, auto_size)
    n = integer(fields, "n", 1, 10, default=1)
    order = ImageOrder(
        prompt=prompt,
        n=n,
        width=width,
        height=height,
        quality=_quality(fields),
        background=_background(fields),
        output_format=output_format,
        output_compression=_compression(fields, output_format),
        partial_images=_partial_images(fields, n),
    )
    choice(fields, "moderation", ("auto", "low"))
    for name in ("user", "safety_identifier"):
        if name in fields:
            string(fields[name], name)
    _check_safety(prompt)
    return order


def is_allowed_size(width: int, height: int) -> bool:
    """Whether gpt-image-2 paints this many pixels."""
    return _broken_size_rule(width, height) is None


def _check_model(fields: Fields) -> None:
    # OpenAI's default for a request without a model; this server does not have it.
    model = string(given(fields, "model", "dall-e-2"), "model")
    if model not in MODELS:
        raise ApiError(f"The model '{model}' does not exist.", code="model_not_found", param="model")


def _prompt(fields: Fields) -> str:
    if "prompt" not in fields:
        raise missing("prompt")
    prompt = string(fields["prompt"], "prompt")
    if not prompt:
        message = "Invalid 'prompt': empty string. Expected a string with minimum length 1."
        raise ApiError(message, code="empty_string", param="prompt")
    if len(prompt) > MAX_PROMPT:
        message = f"Invalid 'prompt': string too long. Expected at most {MAX_PROMPT} characters, but got {len(prompt)}."
        raise ApiError(message, code="string_above_max_length", param="prompt")
    return prompt


def _size(fields: Fields, auto_size: tuple[int, int]) -> tuple[int, int]:
    size = string(given(fields, "size", "auto"), "size")
    if size == "auto":
        return auto_size
    match = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", size)
    if match is None:
        raise _bad_size(size, "Use 'auto' or WIDTHxHEIGHT in pixels.")
    width, height = int(match[1]), int(match[2])
    rule = _broken_size_rule(width, height)
    if rule is not None:
        raise _bad_size(size, rule)
    return width, height


def _broken_size_rule(width: int, height: int) -> str | None:
    if width % EDGE_STEP or height % EDGE_STEP:
        return f"Width and height must both be divisible by {EDGE_STEP}."
    if max(width, height) > MAX_EDGE:
        return f"The longest edge must be at most {MAX_EDGE} pixels."
    if max(width, height) > MAX_RATIO * min(width, height):
        return f"The aspect ratio must be between 1:{MAX_RATIO} and {MAX_RATIO}:1."
    if not MIN_PIXELS <= width * height <= MAX_PIXELS:
        return f"The image must have between {MIN_PIXELS} and {MAX_PIXELS} pixels."
    return None


def _bad_size(size: str, rule: str) -> ApiError:
    return ApiError(f"Invalid size '{size}'. {rule}", code="invalid_value", param="size")


def _quality(fields: Fields) -> FixedQuality:
    quality = choice(fields, "quality", _QUALITIES)
    return "medium" if quality == "auto" else cast(FixedQuality, quality)


def _background(fields: Fields) -> str:
    if fields.get("background") == "transparent":
        message = "Transparent background is not supported for this model."
        raise ApiError(message, code="invalid_value", param="background")
    choice(fields, "background", ("auto", "opaque"))
    return "opaque"


def _compression(fields: Fields, output_format: str) -> int:
    compression = integer(fields, "output_compression", 0, 100, default=100)
    if output_format == "png" and compression < 100:
        message = "Compression less than 100 is not supported for PNG output format."
        raise ApiError(message, code="invalid_png_output_compression", param="output_compression")
    return compression


def _partial_images(fields: Fields, n: int) -> int | None:
    stream = given(fields, "stream", False)
    if not isinstance(stream, bool):
        raise wrong_type("stream", "a boolean", stream)
    partial_images = integer(fields, "partial_images", 0, MAX_PARTIAL_IMAGES, default=0)
    if partial_images and not stream:
        message = "'partial_images' is only supported when 'stream' is true."
        raise ApiError(message, code="invalid_value", param="partial_images")
    if stream and n > 1:
        raise ApiError("Streaming is only supported with n=1.")  # users of the real endpoint reported these words
    return partial_images if stream else None


def _check_safety(prompt: str) -> None:
    if re.search(rf"\b{FORBIDDEN_WORD}\b", prompt):
        raise ApiError(
            "Your request was rejected by the safety system.",
            code="moderation_blocked",
            kind="image_generation_user_error",
            details={"moderation_details": {"moderation_stage": "input", "categories": ["sandbox"]}},
        )
