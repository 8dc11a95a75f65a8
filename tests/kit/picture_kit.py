"""Image files, good and bad, made on the fly."""

from __future__ import annotations

import io
import struct
import zlib
from random import Random
from typing import Any, Final

from PIL import Image
from PIL.Image import Transpose

SIZE: Final = (64, 48)
PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
IEND: Final = b"\0\0\0\0IEND\xaeB\x60\x82"
HTML: Final = b"<!DOCTYPE html><html><body>hello</body></html>"
SVG: Final = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>'
ZIP: Final = b"PK\x03\x04" + bytes(26) + b"PK\x05\x06" + bytes(18)


def picture(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    """Noise, which makes files long enough to damage; always the same."""
    return Image.frombytes("L", size, Random(7).randbytes(size[0] * size[1])).convert(mode)


def encoded(form: str, mode: str = "RGB", size: tuple[int, int] = SIZE, **options: Any) -> bytes:
    """A picture as a file of the form that Pillow calls `form`."""
    buffer = io.BytesIO()
    picture(mode, size).save(buffer, form, **options)
    return buffer.getvalue()


def png(mode: str = "RGB", size: tuple[int, int] = SIZE) -> bytes:
    """A PNG."""
    return encoded("PNG", mode, size)


def jpeg(**options: Any) -> bytes:
    """A JPEG."""
    return encoded("JPEG", quality=90, **options)


def webp(**options: Any) -> bytes:
    """A WebP."""
    return encoded("WEBP", **options)


def animated(form: str) -> bytes:
    """Two frames."""
    first = picture()
    buffer = io.BytesIO()
    first.save(buffer, form, save_all=True, append_images=[first.transpose(Transpose.FLIP_LEFT_RIGHT)], duration=100)
    return buffer.getvalue()


def phone_jpeg() -> bytes:
    """A JPEG with a second picture behind the first, announced in an MPF segment, as phones write it."""
    buffer = io.BytesIO()
    picture().save(buffer, "MPO", save_all=True, append_images=[picture(size=(16, 16))])
    return buffer.getvalue()


def mask(size: tuple[int, int] = SIZE, alpha: int = 0) -> bytes:
    """A PNG whose left half has this alpha."""
    image = picture("RGBA", size)
    image.paste((0, 0, 0, alpha), (0, 0, size[0] // 2, size[1]))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    """One PNG chunk."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def header_only_png(width: int, height: int) -> bytes:
    """A small PNG that says it has width × height pixels and holds a few."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(4096))) + IEND


def with_jpeg_size(content: bytes, width: int, height: int) -> bytes:
    """A JPEG that says it has another size."""
    frame = content.index(b"\xff\xc0")
    return content[: frame + 5] + struct.pack(">HH", height, width) + content[frame + 9 :]


def huge_webp(width: int, height: int) -> bytes:
    """A WebP with metadata that says its canvas is width × height."""
    content = webp(exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0")
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return content[:24] + canvas + content[30:]


def with_comment_bomb() -> bytes:
    """A PNG of 1 pixel with 200 MB of compressed text."""
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200_000_000)))
    return png(size=(1, 1)).replace(IEND, text + IEND)


def many_scans_jpeg(scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    content = jpeg(progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * scans + content[-2:]


def padded_png(size_bytes: int) -> bytes:
    """A PNG of exactly so many bytes, by a private chunk that decoders pass over."""
    content = png()
    return content.replace(IEND, chunk(b"prVt", bytes(size_bytes - len(content) - 12)) + IEND)
