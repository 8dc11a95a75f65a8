"""From undecoded files to stored images: verify, preview, upload, sidecar. All of it before a job counts as done."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from imagequeue.errors import BadOutput
from imagequeue.jobs import Image, Job, image_filename
from imagequeue.objects import ObjectStore, job_folder
from worker.spool import Painted

PREVIEW_EDGE: Final = 768
"""Longest edge of a preview in pixels."""
PREVIEW_QUALITY: Final = 80
PREVIEW_MIME_TYPE: Final = "image/webp"
EXTENSIONS: Final = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}


@dataclass(frozen=True, slots=True)
class Verified:
    """A file that decodes as an image."""

    path: Path
    format: str
    width: int
    height: int
    preview: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """What of an answer could be kept, and what has to be said about it."""

    images: tuple[Image, ...]
    notes: tuple[str, ...]


def verify(path: Path) -> Verified:
    """Decode an output wholly and make its preview.

    Raises:
        BadOutput: it is no PNG, JPEG or WebP, or it is damaged.
        FileNotFoundError: it is not there.
    """
    try:
        with PillowImage.open(path, formats=tuple(EXTENSIONS)) as image:
            image.load()
            preview = io.BytesIO()
            small = image.convert("RGBA" if image.has_transparency_data else "RGB")
            small.thumbnail((PREVIEW_EDGE, PREVIEW_EDGE), reducing_gap=2.0)
            small.save(preview, "WEBP", quality=PREVIEW_QUALITY, method=2)
            kind = "JPEG" if image.format == "MPO" else image.format or ""  # Pillow's name for a JPEG of many pictures
            return Verified(path, kind, image.width, image.height, preview.getvalue())
    except FileNotFoundError:  # not the image's fault: it was paid for, and may be elsewhere
        raise
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, PillowImage.DecompressionBombError) as error:
        raise BadOutput(f"Output {path.name} is not a usable image: {error}") from error


class OutputStore:
    """Stores what a call gave, under keys that hold the attempt, so that a stale worker overwrites nothing."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def store(self, job: Job, painted: Painted, output_format: str) -> Stored:
        """Verify and upload; what is paid for and usable is kept, even if it is not all that was asked for.

        Args:
            job: as it was claimed.
            painted: what the call gave.
            output_format: that was asked for.

        Raises:
            BadOutput: no output is usable.
            ObjectsUnavailable: S3 does not answer; calling it again goes on.
        """
        good, notes = _sort_out(painted.files, job, output_format)
        images = tuple(self._upload(job, index, verified) for index, verified in enumerate(good))
        self._objects.put_bytes(
            f"{folder_of(job)}/job.json",
            _sidecar(job, painted, images),
            content_type="application/json",
            filename=f"{job.id}.json",
        )
        return Stored(images, notes)

    def _upload(self, job: Job, index: int, verified: Verified) -> Image:
        extension = EXTENSIONS[verified.format]
        mime_type = PillowImage.MIME[verified.format]
        image = Image(
            index=index,
            key=f"{folder_of(job)}/{index}.{extension}",
            preview_key=f"{folder_of(job)}/{index}.preview.webp",
            filename=image_filename(job.id, job.request.filename_prefix, index, extension),
            mime_type=mime_type,
            size_bytes=verified.path.stat().st_size,
            width=verified.width,
            height=verified.height,
            sha256=_sha256(verified.path),
        )
        self._objects.put_file(image.key, verified.path, content_type=mime_type, filename=image.filename)
        self._objects.put_bytes(
            image.preview_key,
            verified.preview,
            content_type=PREVIEW_MIME_TYPE,
            filename=f"{image.filename}.preview.webp",
        )
        return image


def folder_of(job: Job) -> str:
    """Where the objects of a job's current attempt are."""
    return f"{job_folder(job.id)}{job.attempt}"


def _sort_out(files: tuple[Path, ...], job: Job, output_format: str) -> tuple[list[Verified], tuple[str, ...]]:
    """The usable outputs, and a note for each way in which they are not what was asked for."""
    request, good, problems = job.request, list[Verified](), list[str]()
    for path in files:
        try:
            good.append(verify(path))
        except BadOutput as error:
            problems.append(str(error))
    if not good:
        raise BadOutput(" ".join(problems) or "OpenAI's answer holds no images.")
    if len(good) < request.n:
        problems.append(f"OpenAI gave {len(good)} usable of {request.n} images.")
    other = sorted({verified.format.lower() for verified in good} - {output_format})
    if other:
        problems.append(f"OpenAI gave {', '.join(other)} instead of {output_format}; kept as it is.")
    sizes = sorted({f"{verified.width}x{verified.height}" for verified in good} - {request.size})
    if sizes and request.size != "auto":
        problems.append(f"OpenAI gave {', '.join(sizes)} instead of {request.size}; kept as it is.")
    return good, tuple(problems)


def _sidecar(job: Job, painted: Painted, images: tuple[Image, ...]) -> bytes:
    """Prompt, parameters and provenance beside the images, whose own bytes are left alone."""
    record = {
        "job_id": job.id,
        "attempt": job.attempt,
        "model": job.model,
        "request": cast("dict[str, object]", job.request.model_dump(mode="json")),
        "applied": painted.applied.model_dump(mode="json"),
        "usage": painted.usage.model_dump(mode="json") if painted.usage else None,
        "request_id": painted.request_id,
        "images": [image.model_dump(mode="json") for image in images],
    }
    return json.dumps(record, ensure_ascii=False, indent=1).encode()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
