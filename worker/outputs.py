"""From undecoded files to stored images: verify, preview, upload, sidecar. All of it before a job counts as done."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from imagequeue.errors import BadOutput
from imagequeue.image_files import SNIFFED_BYTES, image_type
from imagequeue.input_images import EXTENSIONS as MIME_EXTENSIONS
from imagequeue.jobs import LANES, Image, Job, image_filename
from imagequeue.objects import ObjectStore, job_folder
from worker.spool import Painted

PREVIEW_EDGE: Final = 768
"""Longest edge of a preview in pixels."""
PREVIEW_QUALITY: Final = 80
EXTENSIONS: Final = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}
_UPLOADS_AT_ONCE: Final = 64
"""As many as the S3 client has connections."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A file that decodes as an image."""

    path: Path
    format: str
    width: int
    height: int
    sha256: str
    preview: bytes
    preview_extension: str


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
            width, height = image.size
            kind = "JPEG" if image.format == "MPO" else image.format or ""  # Pillow's name for a JPEG of many pictures
            return Verified(path, kind, width, height, _sha256(path), *_preview(image))
    except FileNotFoundError:  # not the image's fault: it was paid for, and may be elsewhere
        raise
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, PillowImage.DecompressionBombError) as error:
        raise BadOutput(f"Output {path.name} is not a usable image: {error}") from error


def _preview(image: PillowImage.Image) -> tuple[bytes, str]:
    """The image made small, in its own place: a copy of it would be the largest thing that a worker holds.

    A JPEG takes a tenth of the CPU that a WebP takes, which would be most of a worker's; it knows no transparency.
    """
    mode = "RGBA" if image.has_transparency_data else "RGB"
    small = image if image.mode == mode else image.convert(mode)
    small.thumbnail((PREVIEW_EDGE, PREVIEW_EDGE), PillowImage.Resampling.HAMMING, reducing_gap=2.0)
    if mode == "RGBA" and small.getchannel("A").getextrema() == (255, 255):
        small = small.convert("RGB")
    kind = "WEBP" if small.mode == "RGBA" else "JPEG"
    preview = io.BytesIO()
    small.save(preview, kind, quality=PREVIEW_QUALITY)
    return preview.getvalue(), EXTENSIONS[kind]


@dataclass(frozen=True, slots=True)
class _Output:
    """One file of an answer, decoded and uploaded at the same time."""

    position: int
    decoding: Future[Verified]
    upload: Future[None]


class OutputStore:
    """Stores what a call gave, under keys that hold the attempt, so that a stale worker overwrites nothing.

    Images are decoded by as many threads for each lane as there are cores, however many answers come at once: more
    would not be faster, and each of them holds all pixels of an image. An interactive job's image waits for none of a
    batch's. Meanwhile the image's bytes go to S3. If it turns out to be damaged, no record names that object; it is
    deleted with the job.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._decoders = {lane: ThreadPoolExecutor(os.cpu_count() or 1, f"decoders-{lane}") for lane in LANES}
        self._uploads = ThreadPoolExecutor(_UPLOADS_AT_ONCE, thread_name_prefix="uploads")

    def close(self) -> None:
        """Stop; what has begun is done."""
        for decoders in self._decoders.values():
            decoders.shutdown()
        self._uploads.shutdown()

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
        outputs = [self._begin(job, position, path) for position, path in enumerate(painted.files)]
        try:
            good, notes = _sort_out(outputs, job, output_format)
            images = tuple(_image(job, index, output) for index, output in enumerate(good))
            pairs = zip(images, good, strict=True)
            previews = [
                self._uploads.submit(self._put_preview, image, output.decoding.result()) for image, output in pairs
            ]
            self._put_sidecar(job, painted, images)
            for upload in (*previews, *(output.upload for output in good)):
                upload.result()
        finally:
            wait([output.upload for output in outputs])  # whoever called goes on to remove the files
        return Stored(images, notes)

    def _begin(self, job: Job, position: int, path: Path) -> _Output:
        upload = self._uploads.submit(self._put_original, job, position, path)
        return _Output(position, self._decoders[job.lane].submit(verify, path), upload)

    def _put_original(self, job: Job, position: int, path: Path) -> None:
        """Upload the file byte for byte if it begins as an image does."""
        with path.open("rb") as file:
            mime_type = image_type(file.read(SNIFFED_BYTES))
        if mime_type:
            filename = image_filename(job.id, job.request.filename_prefix, position, MIME_EXTENSIONS[mime_type])
            self._objects.put_file(_key(job, position, mime_type), path, content_type=mime_type, filename=filename)

    def _put_preview(self, image: Image, verified: Verified) -> None:
        self._objects.put_bytes(
            image.preview_key,
            verified.preview,
            content_type=image.preview_mime_type,
            filename=image.preview_filename,
        )

    def _put_sidecar(self, job: Job, painted: Painted, images: tuple[Image, ...]) -> None:
        self._objects.put_bytes(
            f"{folder_of(job)}/job.json",
            _sidecar(job, painted, images),
            content_type="application/json",
            filename=f"{job.id}.json",
        )


def folder_of(job: Job) -> str:
    """Where the objects of a job's current attempt are."""
    return f"{job_folder(job.id)}{job.attempt}"


def _key(job: Job, position: int, mime_type: str) -> str:
    return f"{folder_of(job)}/{position}.{MIME_EXTENSIONS[mime_type]}"


def _image(job: Job, index: int, output: _Output) -> Image:
    verified = output.decoding.result()
    mime_type = PillowImage.MIME[verified.format]
    return Image(
        index=index,
        key=_key(job, output.position, mime_type),
        preview_key=f"{folder_of(job)}/{output.position}.preview.{verified.preview_extension}",
        filename=image_filename(job.id, job.request.filename_prefix, index, MIME_EXTENSIONS[mime_type]),
        mime_type=mime_type,
        size_bytes=verified.path.stat().st_size,
        width=verified.width,
        height=verified.height,
        sha256=verified.sha256,
    )


def _sort_out(outputs: Sequence[_Output], job: Job, output_format: str) -> tuple[list[_Output], tuple[str, ...]]:
    """The usable outputs, and a note for each way in which they are not what was asked for."""
    request, good, problems = job.request, list[_Output](), list[str]()
    for output in outputs:
        try:
            output.decoding.result()
            good.append(output)
        except BadOutput as error:
            problems.append(str(error))
    if not good:
        raise BadOutput(" ".join(problems) or "OpenAI's answer holds no images.")
    if len(good) < request.n:
        problems.append(f"OpenAI gave {len(good)} usable of {request.n} images.")
    found = [output.decoding.result() for output in good]
    other = sorted({verified.format.lower() for verified in found} - {output_format})
    if other:
        problems.append(f"OpenAI gave {', '.join(other)} instead of {output_format}; kept as it is.")
    sizes = sorted({f"{verified.width}x{verified.height}" for verified in found} - {request.size})
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
