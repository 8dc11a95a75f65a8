"""Before the call: the exact bytes of every input image on this worker's disk, checked once more."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imagequeue.errors import ImageNotFound, InputFault, InvalidInput
from imagequeue.input_images import EXTENSIONS, InputImage, check_mask
from imagequeue.inputs import InputStore
from imagequeue.jobs import Job, JobInput
from imagequeue.objects import ObjectStore
from imagequeue.requests import EditRequest, GenerateRequest, TurnRequest
from imagequeue.sessions import SessionImage
from imagequeue.store.sessions import SessionStore
from worker.edit_order import EditOrder, LocalImage


@dataclass(frozen=True, slots=True)
class Gathered:
    """The input images of an edit on this worker's disk; `inputs` says what they are, the mask last."""

    images: tuple[LocalImage, ...]
    mask: LocalImage | None
    inputs: tuple[JobInput, ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a call needs besides the job: nothing for text to image, an order for everything else."""

    output_format: str
    order: EditOrder | None = None
    inputs: tuple[JobInput, ...] = ()  # images in order, then the mask


@dataclass(frozen=True, slots=True)
class AtHand:
    """What a turn finds where the turn before it has just ended: its session's image, and files that may be it."""

    image: SessionImage
    files: tuple[Path, ...]


class InputGatherer:
    """Brings the inputs of edits and turns to this worker. A turn without images of its own takes its session's."""

    def __init__(self, inputs: InputStore, objects: ObjectStore, sessions: SessionStore) -> None:
        self._inputs = inputs
        self._objects = objects
        self._sessions = sessions

    def prepare(self, job: Job, folder: Path, at_hand: AtHand | None = None) -> Prepared:
        """Fetch, check, and put the order together.

        With `at_hand`, the session is not asked for its image; the file that has its bytes is moved into the folder,
        and fetched only if there is none.

        Raises:
            InvalidInput: an image cannot be used; nothing was spent.
            ObjectsUnavailable: S3 does not answer; calling it again goes on.
        """
        request = job.request
        if isinstance(request, GenerateRequest):
            return Prepared(request.output_format)
        edits, kept_format = self._session_state(job, at_hand)
        output_format = request.output_format or kept_format
        if isinstance(request, TurnRequest) and not request.images and edits:
            images = [self._session_image(edits, folder, at_hand.files if at_hand else ())]
        else:
            images = self._sources(request, folder)
        gathered = self._gathered(request, images, folder)
        order = _order(job, request, output_format, gathered.images, gathered.mask)
        return Prepared(output_format=output_format, order=order, inputs=gathered.inputs)

    def gather(self, request: EditRequest, folder: Path) -> Gathered:
        """Fetch and check the images of an edit.

        Raises:
            InvalidInput: an image cannot be used; nothing was spent.
            ObjectsUnavailable: S3 does not answer; calling it again goes on.
        """
        return self._gathered(request, self._sources(request, folder), folder)

    def _gathered(
        self, request: EditRequest | TurnRequest, images: list[tuple[LocalImage, JobInput]], folder: Path
    ) -> Gathered:
        mask = self._mask(request.mask, images[0][1], folder) if request.mask else None
        locals_, inputs = zip(*images, strict=True)
        return Gathered(locals_, mask[0] if mask else None, (*inputs, mask[1]) if mask else inputs)

    def _sources(self, request: EditRequest | TurnRequest, folder: Path) -> list[tuple[LocalImage, JobInput]]:
        fetched: list[tuple[LocalImage, JobInput]] = []
        for index, source in enumerate(request.images):
            path, image = self._inputs.fetch_to(source, folder, f"input-{index}", f"images[{index}]")
            fetched.append((LocalImage(path, image.mime_type), _job_input(source, image)))
        return fetched

    def _mask(self, source: str, first: JobInput, folder: Path) -> tuple[LocalImage, JobInput]:
        path, mask = self._inputs.fetch_to(source, folder, "mask")
        size = InputImage(**first.model_dump(exclude={"source"}), has_alpha=False, fully_transparent_pixels=False)
        check_mask(mask, size)
        return LocalImage(path, mask.mime_type), _job_input(source, mask)

    def _session_state(self, job: Job, at_hand: AtHand | None) -> tuple[SessionImage | None, str]:
        """The image that the job's session goes on from, and the format that it keeps."""
        if at_hand:
            return at_hand.image, at_hand.image.output_format
        if job.session_id is None:
            return None, "png"
        session = self._sessions.get(job.session_id)
        return session.image, session.output_format

    def _session_image(self, image: SessionImage, folder: Path, at_hand: Sequence[Path]) -> tuple[LocalImage, JobInput]:
        path = folder / f"input-0.{EXTENSIONS[image.mime_type]}"
        if not any(_moved(file, image.sha256, path) for file in at_hand):
            self._fetch(image, path)
        source = f"job:{image.job_id}/{image.index}"
        given = JobInput(source=source, **image.model_dump(include=set(JobInput.model_fields)))
        return LocalImage(path, image.mime_type), given

    def _fetch(self, image: SessionImage, path: Path) -> None:
        try:
            self._objects.get_file(image.key, path)
        except ImageNotFound:
            problem, way_out = f"the session's image {image.key} is gone from the bucket", "Start a new session."
            raise InvalidInput(InputFault.MISSING, "session", problem, way_out) from None
        if _sha256(path) != image.sha256:
            problem = f"the session's image {image.key} has other bytes than were stored"
            raise InvalidInput(InputFault.HASH_MISMATCH, "session", problem, "Start a new session.")


def _moved(file: Path, sha256: str, target: Path) -> bool:
    """Move the file if it has these bytes and is still there."""
    try:
        if _sha256(file) != sha256:
            return False
        file.rename(target)
    except OSError:
        return False
    return True


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _job_input(source: str, image: InputImage) -> JobInput:
    return JobInput(source=source, **image.model_dump(include=set(JobInput.model_fields)))


def _order(
    job: Job,
    request: EditRequest | TurnRequest,
    output_format: str,
    images: tuple[LocalImage, ...],
    mask: LocalImage | None,
) -> EditOrder:
    return EditOrder(
        model=job.model,
        prompt=request.prompt,
        images=images,
        mask=mask,
        size=request.size,
        quality=request.quality,
        n=request.n,
        background=request.background,
        output_format=output_format,
        output_compression=None if output_format == "png" else request.output_compression,
        user=request.user,
        client_request_id=f"{job.id}-{job.attempt}",
        partial_images=request.partial_images,
    )
