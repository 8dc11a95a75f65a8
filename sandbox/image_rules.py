"""What gpt-image-2 accepts, checked as strictly as OpenAI does, with its codes and its `param`.

Written apart from `imagequeue.requests` on purpose: this is the other side of the wire, and a rule misread in one
place must not be excused by the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from imagequeue.pricing import FixedQuality
from sandbox.api_errors import ApiError

MODELS: Final = ("gpt-image-2", "gpt-image-2-2026-04-21")
FORBIDDEN_WORD: Final = "FORBIDDEN"
"""A prompt with this word, in capitals, is refused as OpenAI's safety system refuses."""

MAX_PROMPT: Final = 32_000
EDGE_STEP: Final = 16
MAX_EDGE: Final = 3840
MAX_RATIO: Final = 3
MIN_PIXELS: Final = 655_360
MAX_PIXELS: Final = 8_294_400
_QUALITIES: Final = ("auto", "low", "medium", "high")
_FORMATS: Final = ("png", "jpeg", "webp")
_IMAGE_PARAMETERS: Final = ("size", "quality", "background", "output_format", "output_compression", "moderation")
_PARAMETERS: Final = (
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
    """A checked request, with `auto` already decided: 1024x1024, medium, opaque."""

    prompt: str
    n: int
    width: int
    height: int
    quality: FixedQuality
    background: str
    output_format: str
    output_compression: int  # 0 to 100; 100 keeps most

    @property
    def size(self) -> str:
        """`WIDTHxHEIGHT` in pixels."""
        return f"{self.width}x{self.height}"


def check_generation(fields: Mapping[str, object]) -> ImageOrder:
    """Check the parameters of an image generation.

    Raises:
        ApiError: at the first rule broken, or when the safety rule refuses the prompt.
    """
    for name in fields:
        if name not in _PARAMETERS:
            raise ApiError(f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name)
    _check_model(fields)
    prompt = _prompt(fields)
    output_format = _choice(fields, "output_format", _FORMATS)
    width, height = _size(fields)
    order = ImageOrder(
        prompt=prompt,
        n=_integer(fields, "n", 1, 10, default=1),
        width=width,
        height=height,
        quality=_quality(fields),
        background=_background(fields),
        output_format=output_format,
        output_compression=_compression(fields, output_format),
    )
    _choice(fields, "moderation", ("auto", "low"))
    _check_unstreamed(fields)
    for name in ("user", "safety_identifier"):
        if name in fields:
            _string(fields[name], name)
    _check_safety(prompt)
    return order


def _check_model(fields: Mapping[str, object]) -> None:
    # OpenAI's default for a request without a model; this server does not have it.
    model = _string(_given(fields, "model", "dall-e-2"), "model")
    if model not in MODELS:
        raise ApiError(f"The model '{model}' does not exist.", code="model_not_found", param="model")


def _prompt(fields: Mapping[str, object]) -> str:
    if "prompt" not in fields:
        raise ApiError("Missing required parameter: 'prompt'.", code="missing_required_parameter", param="prompt")
    prompt = _string(fields["prompt"], "prompt")
    if not prompt:
        message = "Invalid 'prompt': empty string. Expected a string with minimum length 1."
        raise ApiError(message, code="empty_string", param="prompt")
    if len(prompt) > MAX_PROMPT:
        message = f"Invalid 'prompt': string too long. Expected at most {MAX_PROMPT} characters, but got {len(prompt)}."
        raise ApiError(message, code="string_above_max_length", param="prompt")
    return prompt


def _size(fields: Mapping[str, object]) -> tuple[int, int]:
    size = _string(_given(fields, "size", "auto"), "size")
    if size == "auto":
        return 1024, 1024
    match = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", size)
    if match is None:
        raise _bad_size(size, "Use 'auto' or WIDTHxHEIGHT in pixels.")
    width, height = int(match[1]), int(match[2])
    if width % EDGE_STEP or height % EDGE_STEP:
        raise _bad_size(size, f"Width and height must both be divisible by {EDGE_STEP}.")
    if max(width, height) > MAX_EDGE:
        raise _bad_size(size, f"The longest edge must be at most {MAX_EDGE} pixels.")
    if max(width, height) > MAX_RATIO * min(width, height):
        raise _bad_size(size, f"The aspect ratio must be between 1:{MAX_RATIO} and {MAX_RATIO}:1.")
    if not MIN_PIXELS <= width * height <= MAX_PIXELS:
        raise _bad_size(size, f"The image must have between {MIN_PIXELS} and {MAX_PIXELS} pixels.")
    return width, height


def _bad_size(size: str, rule: str) -> ApiError:
    return ApiError(f"Invalid size '{size}'. {rule}", code="invalid_value", param="size")


def _quality(fields: Mapping[str, object]) -> FixedQuality:
    quality = _choice(fields, "quality", _QUALITIES)
    return "medium" if quality == "auto" else cast(FixedQuality, quality)


def _background(fields: Mapping[str, object]) -> str:
    if fields.get("background") == "transparent":
        message = "Transparent background is not supported for this model."
        raise ApiError(message, code="invalid_value", param="background")
    _choice(fields, "background", ("auto", "opaque"))
    return "opaque"


def _compression(fields: Mapping[str, object], output_format: str) -> int:
    compression = _integer(fields, "output_compression", 0, 100, default=100)
    if output_format == "png" and compression < 100:
        message = "Compression less than 100 is not supported for PNG output format."
        raise ApiError(message, code="invalid_png_output_compression", param="output_compression")
    return compression


def _check_unstreamed(fields: Mapping[str, object]) -> None:
    stream = _given(fields, "stream", False)
    if not isinstance(stream, bool):
        raise _wrong_type("stream", "a boolean", stream)
    partial_images = _integer(fields, "partial_images", 0, 3, default=0)
    if stream:
        raise ApiError("This sandbox does not stream.", code="unsupported_value", param="stream")
    if partial_images:
        message = "'partial_images' is only supported when 'stream' is true."
        raise ApiError(message, code="invalid_value", param="partial_images")


def _check_safety(prompt: str) -> None:
    if re.search(rf"\b{FORBIDDEN_WORD}\b", prompt):
        raise ApiError(
            "Your request was rejected by the safety system.",
            code="moderation_blocked",
            kind="image_generation_user_error",
            details={"moderation_details": {"moderation_stage": "input", "categories": ["sandbox"]}},
        )


def _given(fields: Mapping[str, object], name: str, default: object) -> object:
    """The parameter, or `default` where it is absent or null: OpenAI's schema calls both the same."""
    value = fields.get(name)
    return default if value is None else value


def _string(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise _wrong_type(name, "a string", value)
    return value


def _choice(fields: Mapping[str, object], name: str, allowed: Sequence[str]) -> str:
    """One of `allowed`, whose first is the default."""
    value = _string(_given(fields, name, allowed[0]), name)
    if value not in allowed:
        choices = ", ".join(f"'{choice}'" for choice in allowed)
        message = f"Invalid value: '{value}'. Supported values are: {choices}."
        raise ApiError(message, code="invalid_value", param=name)
    return value


def _integer(fields: Mapping[str, object], name: str, least: int, most: int, *, default: int) -> int:
    value = _given(fields, name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type(name, "an integer", value)
    if value < least:
        message = (
            f"Invalid '{name}': integer below minimum value. Expected a value >= {least}, but got {value} instead."
        )
        raise ApiError(message, code="integer_below_min_value", param=name)
    if value > most:
        message = f"Invalid '{name}': integer above maximum value. Expected a value <= {most}, but got {value} instead."
        raise ApiError(message, code="integer_above_max_value", param=name)
    return value


def _wrong_type(name: str, expected: str, value: object) -> ApiError:
    message = f"Invalid type for '{name}': expected {expected}, but got {json_type(value)} instead."
    return ApiError(message, code="invalid_type", param=name)


def json_type(value: object) -> str:
    """What JSON calls the value, with its article."""
    names: dict[type, str] = {
        bool: "a boolean",
        str: "a string",
        int: "an integer",
        float: "a decimal number",
        list: "an array",
    }
    return "null" if value is None else names.get(type(value), "an object")
