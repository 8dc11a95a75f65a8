"""The images that a request brings: where their bytes are, and whether OpenAI would take them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from PIL import Image, UnidentifiedImageError

from sandbox.api_errors import ApiError
from sandbox.file_store import FileStore
from sandbox.values import given, string, wrong_type

MAX_IMAGE_BYTES: Final = 50 * 1024 * 1024
"""An image must be smaller."""

MAX_MASK_BYTES: Final = 4 * 1024 * 1024
"""A mask must be smaller."""

MAX_URL_CHARACTERS: Final = 20_971_520  # of an `image_url`, from OpenAI's published schema

MEDIA_TYPES: Final = ("image/jpeg", "image/png", "image/webp")
_FORMATS: Final = ("JPEG", "PNG", "WEBP")
_DAMAGED: Final = (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError)


@dataclass(frozen=True, slots=True)
class Input:
    """The bytes of an image or mask; `media_type` is None where nobody claimed one."""

    content: bytes
    param: str
    media_type: str | None = None

    @property
    def digest(self) -> str:
        """SHA-256 in hex."""
        return hashlib.sha256(self.content).hexdigest()


Source = Input | ApiError
"""An image of a request, or why it cannot be had."""


def check_images(sources: Sequence[Source], param: str, most: int) -> list[tuple[int, int]]:
    """Check the images to edit, wholly decoded; returns (width, height) of each in pixels.

    Raises:
        ApiError: there are more than `most`, or one of them breaks a rule.
    """
    if len(sources) > most:
        message = (
            f"Invalid '{param}': array too long. Expected an array with maximum length {most}, "
            f"but got an array with length {len(sources)} instead."
        )
        raise ApiError(message, code="array_above_max_length", param=param)
    return [_checked_size(usable(source), number) for number, source in enumerate(sources, 1)]


def check_mask(source: Source, image_size: tuple[int, int]) -> None:
    """Check a mask for an image of this size (width, height).

    Raises:
        ApiError: 400 `invalid_mask_image_format`, or why it cannot be had.
    """
    mask = usable(source)
    if len(mask.content) >= MAX_MASK_BYTES:
        raise _bad_mask(f"mask image must be smaller than 4 MB, but has {len(mask.content)} bytes", mask.param)
    try:
        with Image.open(io.BytesIO(mask.content), formats=("PNG",)) as image:
            image.load()
            size, has_alpha = image.size, "A" in image.getbands()
    except _DAMAGED as error:
        raise _bad_mask("mask image must be a PNG file", mask.param) from error
    if not has_alpha:
        raise _bad_mask("mask image missing alpha channel", mask.param)
    if size != image_size:
        raise _bad_mask("mask size does not match image size", mask.param)


def usable(source: Source) -> Input:
    """The image.

    Raises:
        ApiError: why it cannot be had.
    """
    if isinstance(source, ApiError):
        raise source
    return source


def referenced(reference: object, files: FileStore, param: str) -> Source:
    """The image that `{"file_id"}` or `{"image_url"}` refers to: an uploaded file, or a data URL."""
    if not isinstance(reference, dict):
        return wrong_type(param, "an object", reference)
    members = cast(Mapping[str, object], reference)
    unknown = [name for name in members if name not in ("file_id", "image_url")]
    if unknown:
        return ApiError(f"Unknown parameter: '{param}.{unknown[0]}'.", code="unknown_parameter", param=param)
    file_id, image_url = (given(members, name, None) for name in ("file_id", "image_url"))
    if (file_id is None) == (image_url is None):
        return ApiError(f"Invalid '{param}': give either 'file_id' or 'image_url'.", code="invalid_value", param=param)
    try:
        if file_id is not None:
            return _uploaded(string(file_id, f"{param}.file_id"), files, param)
        return _from_data_url(string(image_url, f"{param}.image_url"), f"{param}.image_url")
    except ApiError as refusal:
        return refusal


def _uploaded(file_id: str, files: FileStore, param: str) -> Input:
    file = files.get(file_id)
    if file is None:
        raise ApiError(f"No such File object: {file_id}", code="image_file_not_found", param=f"{param}.file_id")
    return Input(file.content, param)


def _from_data_url(url: str, param: str) -> Input:
    if len(url) > MAX_URL_CHARACTERS:
        message = f"Invalid '{param}': string too long. Expected at most {MAX_URL_CHARACTERS} characters."
        raise ApiError(message, code="string_above_max_length", param=param)
    match = re.match(r"data:([a-z0-9.+/-]+);base64,", url, re.IGNORECASE)
    if match is None:
        message = f"Invalid '{param}': this sandbox fetches nothing; send a 'data:image/...;base64,...' URL."
        raise ApiError(message, code="invalid_image_url", param=param)
    try:
        content = base64.b64decode(url[match.end() :], validate=True)
    except binascii.Error as error:
        raise ApiError(f"Invalid '{param}': not base64.", code="invalid_base64_image", param=param) from error
    return Input(content, param, match[1].lower())


def _checked_size(image: Input, number: int) -> tuple[int, int]:
    if image.media_type is not None and image.media_type not in MEDIA_TYPES:
        message = (
            f"Invalid file '{image.param}': unsupported mimetype ('{image.media_type}'). "
            "Supported file formats are 'image/jpeg', 'image/png', and 'image/webp'."
        )
        raise ApiError(message, code="unsupported_file_mimetype", param=image.param)
    if len(image.content) >= MAX_IMAGE_BYTES:
        message = f"Invalid file '{image.param}': an image must be smaller than 50 MB."
        raise ApiError(message, code="image_file_too_large", param=image.param)
    try:
        with Image.open(io.BytesIO(image.content), formats=_FORMATS) as opened:
            opened.load()
            return opened.size
    except _DAMAGED as error:
        message = f"Invalid image file or mode for image {number}, please check your image file."
        raise ApiError(
            message, code="invalid_image_file", param=image.param, kind="image_generation_user_error"
        ) from error


def _bad_mask(reason: str, param: str) -> ApiError:
    message = f"Invalid mask image format - {reason}"
    return ApiError(message, code="invalid_mask_image_format", param=param, kind="image_generation_user_error")
