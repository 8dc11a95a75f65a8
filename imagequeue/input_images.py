"""What an image must be to be sent to OpenAI: a whole, single PNG, JPEG or WebP, known by decoding it.

Limits are the published ones of `POST /v1/images/edits`: images below 50 MB, a mask below 4 MB, PNG, with alpha and the
first image's size. A megabyte is read as 10^6 bytes, so that what passes here passes there whichever is meant.
"""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path
from typing import Final

from PIL import Image as PillowImage
from PIL import UnidentifiedImageError
from pydantic import BaseModel, ConfigDict

from imagequeue.errors import InputFault, InvalidInput
from imagequeue.image_files import (
    SNIFFED_BYTES,
    BrokenContainer,
    Extent,
    image_type,
    measure,
    only_padding_after,
    other_type,
)
from imagequeue.requests import shown

MAX_INPUT_BYTES: Final = 50_000_000
"""An image must be smaller."""
MAX_MASK_BYTES: Final = 4_000_000
"""A mask must be smaller."""
MAX_INPUT_PIXELS: Final = 89_478_485
"""Pillow's own limit for trusting an image (`Image.MAX_IMAGE_PIXELS`): a quarter of a gigabyte in 24-bit pixels."""
MIME_TYPES: Final = ("image/png", "image/jpeg", "image/webp")
EXTENSIONS: Final = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
NAMES: Final = {"image/png": "a PNG", "image/jpeg": "a JPEG", "image/webp": "a WebP"}
_FORMATS: Final = ("PNG", "JPEG", "WEBP")
_ALIASES: Final = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
_SAYS_NOTHING: Final = ("", "application/octet-stream", "binary/octet-stream")
_CONVERT: Final = "Convert it to PNG, JPEG or WebP"
_EXPORT_AGAIN: Final = "Save it again with an image editor, or send another file"


class InputImage(BaseModel):
    """An image that may be sent to OpenAI, as its bytes are. Sizes in bytes and in pixels as stored."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    mime_type: str
    size_bytes: int
    width: int
    height: int
    has_alpha: bool
    fully_transparent_pixels: bool  # at least one


def inspect_image(path: Path, field: str = "image", declared_type: str | None = None) -> InputImage:
    """Decode a file wholly and say what it is.

    Args:
        path: of the file.
        field: how errors call it.
        declared_type: the MIME type that somebody says it has; None where nobody does.

    Raises:
        InvalidInput: it cannot be used; the codes are `input_empty` to `input_polyglot` of InputFault.
    """
    size_bytes = path.stat().st_size
    check_size(size_bytes, field)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        mime_type = _type_of(data[:SNIFFED_BYTES], field, declared_type)
        extent = _measured(data, mime_type, field)
        width, height, has_alpha, transparent = _decoded(path, field)
        if not only_padding_after(data, extent.end):
            raise InvalidInput(
                InputFault.POLYGLOT,
                field,
                f"nothing may follow the image in its file; it ends after {extent.end:,} of {size_bytes:,} bytes",
                f"{_EXPORT_AGAIN}.",
            )
        sha256 = hashlib.sha256(data).hexdigest()
    return InputImage(
        sha256=sha256,
        mime_type=mime_type,
        size_bytes=size_bytes,
        width=width,
        height=height,
        has_alpha=has_alpha,
        fully_transparent_pixels=transparent,
    )


def check_size(size_bytes: int, field: str) -> None:
    """Refuse a file that has no bytes or too many.

    Raises:
        InvalidInput: `input_empty` or `input_too_large`.
    """
    if size_bytes == 0:
        raise InvalidInput(InputFault.EMPTY, field, "the file has 0 bytes", "Send the image's own bytes.")
    if size_bytes >= MAX_INPUT_BYTES:
        raise too_large(field, f"it has {size_bytes:,}")


def too_large(field: str, found: str) -> InvalidInput:
    """The refusal of a file above the limit; `found` says how large it is."""
    rule = f"an image must be smaller than {MAX_INPUT_BYTES:,} bytes; {found}"
    return InvalidInput(InputFault.TOO_LARGE, field, rule, "Scale it down, or save it as JPEG or WebP.")


def check_mask(mask: InputImage, first: InputImage, field: str = "mask") -> None:
    """Check a mask against the first image, which it applies to.

    Raises:
        InvalidInput: one of the `mask_*` codes.
    """
    if mask.mime_type != "image/png":
        found = f"a mask must be a PNG; this is {NAMES[mask.mime_type]}"
        raise InvalidInput(InputFault.MASK_NOT_PNG, field, found, "Save it as PNG with an alpha channel.")
    if mask.size_bytes >= MAX_MASK_BYTES:
        found = f"a mask must be smaller than {MAX_MASK_BYTES:,} bytes; this has {mask.size_bytes:,}"
        raise InvalidInput(InputFault.MASK_TOO_LARGE, field, found, "Fill its opaque parts with one colour.")
    if not mask.has_alpha:
        found = "a mask needs an alpha channel; this PNG has none"
        raise InvalidInput(InputFault.MASK_WITHOUT_ALPHA, field, found, "Make the parts to edit transparent.")
    if (mask.width, mask.height) != (first.width, first.height):
        found = f"a mask must be as large as the first image, {first.width}x{first.height} pixels"
        problem = f"{found}; this is {mask.width}x{mask.height}"
        raise InvalidInput(InputFault.MASK_SIZE_MISMATCH, field, problem, "Scale it to the image's size.")
    if not mask.fully_transparent_pixels:
        found = "a mask marks what to edit by fully transparent pixels (alpha 0); this has none"
        raise InvalidInput(InputFault.MASK_OPAQUE, field, found, "Erase the parts to edit, or leave the mask out.")


def _type_of(head: bytes, field: str, declared_type: str | None) -> str:
    mime_type = image_type(head)
    if mime_type is None:
        name = other_type(head)
        fault = InputFault.WRONG_TYPE if name else InputFault.NOT_AN_IMAGE
        found = f"PNG, JPEG and WebP are taken; this is {name or 'no image that is known here'}"
        raise InvalidInput(fault, field, found, f"{_CONVERT}.")
    declared = (declared_type or "").partition(";")[0].strip().lower()
    if declared not in _SAYS_NOTHING and _ALIASES.get(declared, declared) != mime_type:
        found = f"it is declared as {shown(declared)} but its bytes are {NAMES[mime_type]}"
        raise InvalidInput(InputFault.MISLABELLED, field, found, f"Declare it as {mime_type}, or send the other file.")
    return mime_type


def _measured(data: mmap.mmap, mime_type: str, field: str) -> Extent:
    try:
        extent = measure(data, mime_type)
    except BrokenContainer as error:
        raise _damaged(field, str(error)) from error
    width, height = extent.size or (1, 1)
    if not width or not height:
        found = f"an image must have pixels; this says it is {width}x{height}"
        raise InvalidInput(InputFault.ZERO_SIZE, field, found, f"{_EXPORT_AGAIN}.")
    if width * height > MAX_INPUT_PIXELS:
        raise _bomb(field, f"{width}x{height} is {width * height:,}")
    return extent


def _decoded(path: Path, field: str) -> tuple[int, int, bool, bool]:
    """Width, height, whether there is alpha, whether a pixel is fully transparent."""
    try:
        with PillowImage.open(path, formats=_FORMATS) as image:
            width, height = image.size
            if width * height > MAX_INPUT_PIXELS:  # by the part that Pillow reads, if that is another
                raise _bomb(field, f"{width}x{height} is {width * height:,}")
            # A JPEG of several pictures is one image with extras; an animation is not.
            if image.format != "MPO" and getattr(image, "is_animated", False):
                raise _animated(field, getattr(image, "n_frames", 0))
            image.load()
            has_alpha = image.has_transparency_data
            return width, height, has_alpha, has_alpha and _lowest_alpha(image) == 0
    except (PillowImage.DecompressionBombError, PillowImage.DecompressionBombWarning) as error:
        raise _bomb(field, "it has more") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, IndexError) as error:
        raise _damaged(field, "it does not decode") from error


def _lowest_alpha(image: PillowImage.Image) -> int:
    alpha = (image if "A" in image.getbands() else image.convert("RGBA")).getchannel("A")
    low, _ = alpha.getextrema()
    return int(low) if isinstance(low, int | float) else 0


def _bomb(field: str, found: str) -> InvalidInput:
    rule = f"an image may have {MAX_INPUT_PIXELS:,} pixels; {found}"
    return InvalidInput(InputFault.BOMB, field, rule, "Scale it down: OpenAI edits at 8,294,400 pixels at most.")


def _animated(field: str, frames: int) -> InvalidInput:
    found = f"animations are not taken; this has {frames} frames"
    return InvalidInput(InputFault.ANIMATED, field, found, "Send one frame as an image of its own.")


def _damaged(field: str, found: str) -> InvalidInput:
    return InvalidInput(InputFault.TRUNCATED, field, f"the image is cut off or damaged: {found}", f"{_EXPORT_AGAIN}.")
