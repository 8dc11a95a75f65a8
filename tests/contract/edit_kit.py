"""Input images and masks for edits, and looks at what came back."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from typing import Any

import httpx2
from openai.types import ImagesResponse
from PIL import Image, ImageChops, ImageDraw

from sandbox.painting.easel import mapped, resized

Box = tuple[int, int, int, int]


def picture(width: int = 1024, height: int = 1024, mode: str = "RGB", shade: int = 0) -> Image.Image:
    """A picture whose every region differs, `shade` (0 to 255) telling pictures apart."""
    across = resized(Image.linear_gradient("L").rotate(90), (width, height))
    down = resized(Image.linear_gradient("L"), (width, height))
    whole = Image.merge("RGB", (across, down, Image.new("L", (width, height), shade)))
    return whole.convert(mode)


def file_of(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    """The image's file."""
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def png(width: int = 1024, height: int = 1024, shade: int = 0) -> bytes:
    """A PNG of `picture`."""
    return file_of(picture(width, height, shade=shade))


def mask_png(holes: Sequence[Box], width: int = 1024, height: int = 1024, *, veil: int = 255) -> bytes:
    """A mask that is fully transparent in the holes (right and lower edge excluded) and has alpha `veil` elsewhere."""
    mask = Image.new("RGBA", (width, height), (0, 0, 0, veil))
    for left, top, right, bottom in holes:
        ImageDraw.Draw(mask).rectangle((left, top, right - 1, bottom - 1), fill=(255, 255, 255, 0))
    return file_of(mask)


def padded(file: bytes, size: int) -> bytes:
    """The file with zeros behind its end, which decoders do not read, up to `size` bytes."""
    return file + bytes(size - len(file))


def data_url(file: bytes, media_type: str = "image/png") -> str:
    """The file as a data URL."""
    return f"data:{media_type};base64,{base64.b64encode(file).decode()}"


def sha256(file: bytes) -> str:
    """The digest that the journal records."""
    return hashlib.sha256(file).hexdigest()


def opened(file: bytes) -> Image.Image:
    """The decoded image."""
    image = Image.open(io.BytesIO(file))
    image.load()
    return image


def files_of(answer: ImagesResponse) -> list[bytes]:
    """The image files of an answer."""
    return [base64.b64decode(image.b64_json or "", validate=True) for image in answer.data or []]


def only_file(answer: ImagesResponse) -> bytes:
    """The only image file of an answer."""
    (file,) = files_of(answer)
    return file


def changed(before: Image.Image, after: Image.Image) -> Image.Image:
    """255 where a pixel is not the same, else 0."""
    difference = ImageChops.difference(before.convert("RGB"), after.convert("RGB"))
    red, green, blue = difference.split()
    return mapped(ImageChops.lighter(ImageChops.lighter(red, green), blue), [0, *[255] * 255])


def share_changed(before: Image.Image, after: Image.Image) -> float:
    """The part of the pixels that is not the same, 0 to 1."""
    histogram = changed(before, after).histogram()
    return histogram[255] / (before.width * before.height)


def form_of(request: httpx2.Request) -> list[tuple[str, str]]:
    """Name and text of each part of a multipart request, in their order; the text of a file is "(file)"."""
    boundary = request.headers["content-type"].partition("boundary=")[2].encode()
    found: list[tuple[str, str]] = []
    for part in request.content.split(b"--" + boundary)[1:-1]:
        head, _, body = part.partition(b"\r\n\r\n")
        name = head.partition(b'name="')[2].partition(b'"')[0].decode()
        found.append((name, "(file)" if b"filename=" in head else body.removesuffix(b"\r\n").decode()))
    return found
