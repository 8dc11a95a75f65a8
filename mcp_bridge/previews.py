"""Images as they go into an answer: small enough for every client."""

from __future__ import annotations

import asyncio
import base64
import io
from pathlib import Path
from typing import Final

from mcp.types import ImageContent
from PIL import Image as PillowImage

from imagequeue.image_files import image_type
from imagequeue.views import ImageView
from mcp_bridge.door import Door

MAX_IMAGE_BYTES: Final = 512 * 1024
MAX_ANSWER_BYTES: Final = 660 * 1024
"""Of all images of an answer together: 880 KiB in base64. Clients drop answers above 1 MiB."""
_SMALLEST_EDGE: Final = 32


def share(images: int) -> int:
    """The bytes that each of so many images may take in one answer."""
    return min(MAX_IMAGE_BYTES, MAX_ANSWER_BYTES // max(1, images))


async def inline(door: Door, job_id: str, image: ImageView, limit: int, saved: Path | None) -> ImageContent:
    """The original if it has at most `limit` bytes, from the file where it was saved if it was, else a preview."""
    if image.size_bytes <= limit:
        read = asyncio.to_thread(saved.read_bytes) if saved else door.image(job_id, image.index, "original")
        return _content(await read, image.mime_type)
    preview = await door.image(job_id, image.index, "preview")
    if len(preview) > limit:
        preview = await asyncio.to_thread(shrunk, preview, limit)
    return _content(preview, image_type(preview) or image.mime_type)


def shrunk(picture: bytes, limit: int) -> bytes:
    """A WebP in fewer pixels, of at most `limit` bytes if any is."""
    with PillowImage.open(io.BytesIO(picture), formats=["JPEG", "WEBP"]) as opened:
        image = opened.convert("RGBA" if opened.has_transparency_data else "RGB")
    while True:
        image.thumbnail((max(1, image.width * 3 // 4), max(1, image.height * 3 // 4)))
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=75)
        if buffer.tell() <= limit or max(image.size) <= _SMALLEST_EDGE:
            return buffer.getvalue()


def _content(body: bytes, mime_type: str) -> ImageContent:
    return ImageContent(data=base64.b64encode(body).decode(), mime_type=mime_type)
