"""Where an image file ends, by the structure of its container: decoders stop reading there and ignore what follows.

PNG: https://www.w3.org/TR/png-3/#5DataRep, JPEG: ITU T.81 annex B, WebP: RFC 9649.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from mmap import mmap
from typing import Final

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE: Final = b"\xff\xd8\xff"
SNIFFED_BYTES: Final = 1024

_OTHER_SIGNATURES: Final = (
    (re.compile(rb"GIF8[79]a"), "a GIF"),
    (re.compile(rb"BM.{4}\0\0\0\0", re.DOTALL), "a BMP"),
    (re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"), "a TIFF"),
    (re.compile(rb"\0\0[\1\2]\0[^\0]"), "an ICO"),
    (re.compile(rb"8BPS"), "a Photoshop file"),
    (re.compile(rb".{4}ftyp(?:heic|heix|heif|mif1|msf1)", re.DOTALL), "a HEIC image"),
    (re.compile(rb".{4}ftyp(?:avif|avis)", re.DOTALL), "an AVIF image"),
    (re.compile(rb".{4}ftyp", re.DOTALL), "a video"),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "), "a JPEG XL image"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "a JPEG 2000 image"),
    (re.compile(rb"%PDF-"), "a PDF"),
    (re.compile(rb"PK[\3\5\7]"), "a ZIP archive"),
    (re.compile(rb"\x1f\x8b"), "gzip data"),
    (
        re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml.*?|<!--.*?-->\s*)?(?:<!doctype svg.*?)?<svg\b", re.S | re.I),
        "an SVG",
    ),
    (
        re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)?<(?:!doctype html|html|head|body|script)\b", re.S | re.I),
        "HTML",
    ),
)
MAX_SEGMENTS: Final = 65_536
"""Of a PNG or JPEG: 50 MB in IDAT chunks of 8 KiB make 6,100. Without a limit, empty ones cost seconds."""
MAX_SCANS: Final = 100
"""Of a progressive JPEG, where 10 are usual: each is a pass over all pixels. libjpeg-turbo advises such a limit."""
_MAX_PICTURES: Final = 16  # in one JPEG file
_START_OF_FRAME: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_START_OF_SCAN: Final = 0xDA
_END_OF_IMAGE: Final = 0xD9
_NEXT_MARKER: Final = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
"""What ends a scan: stuffed zero bytes and restart markers belong to it."""
_NOT_ZERO: Final = re.compile(rb"[^\0]")


class BrokenContainer(Exception):
    """The file is cut off, or its structure is damaged."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How far the image reaches in its file, in bytes, and its size in pixels where the container's head has it."""

    end: int
    size: tuple[int, int] | None = None


def image_type(head: bytes) -> str | None:
    """The MIME type of a PNG, JPEG or WebP, by its first bytes; None for anything else."""
    if head.startswith(PNG_SIGNATURE):
        return "image/png"
    if head.startswith(JPEG_SIGNATURE):
        return "image/jpeg"
    return "image/webp" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


def other_type(head: bytes) -> str | None:
    """What else a file is, in words, by its first SNIFFED_BYTES bytes; None when they say nothing."""
    return next((name for pattern, name in _OTHER_SIGNATURES if pattern.match(head)), None)


def measure(data: mmap, mime_type: str) -> Extent:
    """Follow the structure of an image of this type to its end.

    Raises:
        BrokenContainer: the structure does not reach its end.
    """
    try:
        return {"image/png": _measure_png, "image/jpeg": _measure_jpeg, "image/webp": _measure_webp}[mime_type](data)
    except (struct.error, IndexError) as error:
        raise BrokenContainer("it is cut off") from error


def only_padding_after(data: mmap, end: int) -> bool:
    """Whether nothing but zero bytes follows: some cameras and disks pad files so."""
    return _NOT_ZERO.search(data, end) is None


def _measure_png(data: mmap) -> Extent:
    size: tuple[int, int] | None = None
    position = len(PNG_SIGNATURE)
    for _ in range(MAX_SEGMENTS):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IHDR":
            size = struct.unpack_from(">II", data, position + 8)
        position += 12 + length  # length, name and checksum are 4 bytes each
        if position > len(data):
            raise BrokenContainer("it is cut off")
        if kind == b"IEND":
            return Extent(position, size)
    raise BrokenContainer(f"it has more than {MAX_SEGMENTS:,} chunks")


def _measure_jpeg(data: mmap) -> Extent:
    """Phones append further pictures (a depth map, HDR gains), each a JPEG, and announce them in an MPF segment."""
    first = _measure_one_jpeg(data, 0)
    end, announced = first.end, b"MPF\0" in data[: 64 * 1024]
    for _ in range(_MAX_PICTURES if announced else 0):
        following = _NOT_ZERO.search(data, end)
        if following is None or data[following.start() : following.start() + 3] != JPEG_SIGNATURE:
            break
        end = _measure_one_jpeg(data, following.start()).end
    return Extent(end, first.size)


def _measure_one_jpeg(data: mmap, start: int) -> Extent:
    size: tuple[int, int] | None = None
    position, scans = start + 2, 0
    for _ in range(MAX_SEGMENTS):
        position, marker = _marker_at(data, position)
        if marker == _END_OF_IMAGE:
            return Extent(position, size)
        if marker in _WITHOUT_LENGTH:
            continue
        (length,) = struct.unpack_from(">H", data, position)
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, position + 3)
            size = (width, height)
        position += length
        if marker == _START_OF_SCAN:
            position, scans = _end_of_scan(data, position), scans + 1
        if scans > MAX_SCANS:
            raise BrokenContainer(f"it has more than {MAX_SCANS} scans")
    raise BrokenContainer(f"it has more than {MAX_SEGMENTS:,} segments")


def _marker_at(data: mmap, position: int) -> tuple[int, int]:
    """The marker at `position`, which may have fill bytes before it, and the position behind it."""
    start = position
    while data[position] == 0xFF:
        position += 1
    if position == start:
        raise BrokenContainer(f"a marker is missing at byte {start:,}")
    return position + 1, data[position]


def _end_of_scan(data: mmap, position: int) -> int:
    found = _NEXT_MARKER.search(data, position)
    if found is None:
        raise BrokenContainer("it is cut off")
    return found.start()


def _measure_webp(data: mmap) -> Extent:
    (length,) = struct.unpack_from("<I", data, 4)
    end = 8 + length + length % 2  # chunks start at even bytes
    if end - length % 2 > len(data):
        raise BrokenContainer("it is cut off")
    return Extent(min(end, len(data)), _webp_size(data))


def _webp_size(data: mmap) -> tuple[int, int] | None:
    form = data[12:16]
    if form == b"VP8X":  # 24 bits for each edge minus one
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if form == b"VP8L":  # 14 bits for each edge minus one
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if form == b"VP8 ":  # 14 bits for each edge, then 2 of scaling
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None
