"""What an edit sends to OpenAI, whichever route it takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class LocalImage:
    """An input image on this worker's disk."""

    path: Path
    mime_type: str


@dataclass(frozen=True, slots=True)
class EditOrder:
    """Images and text to images. Sizes and settings as in the request, `output_format` never left open."""

    model: str
    prompt: str
    images: tuple[LocalImage, ...]
    mask: LocalImage | None
    size: str
    quality: str
    n: int
    background: str
    output_format: str
    output_compression: int | None  # None for png too
    user: str | None
    client_request_id: str
    partial_images: int = 0
