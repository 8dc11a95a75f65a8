"""Packing a parcel: its images and its input file go to OpenAI, and what its lines are to S3. It costs nothing."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from imagequeue.errors import InvalidInput, Unavailable
from imagequeue.inputs import CHECK_PREFIX
from imagequeue.jobs import JobInput, NewJob
from imagequeue.manifests.store import BATCH_PREFIX
from imagequeue.objects import ObjectStore
from imagequeue.parcels import PackedLine, Parcel
from imagequeue.requests import EditRequest, GenerateRequest
from worker.economy.input_lines import input_line
from worker.economy.remote_batches import RemoteBatches
from worker.edit_order import LocalImage
from worker.inputs import InputGatherer
from worker.loop import LoopThread

_AT_ONCE: Final = 8
_JSONL: Final = "application/jsonl"
_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Packed:
    """What came of it: the input file's id, None when no line could go; and the lines that could not."""

    input_file: str | None
    unfit: tuple[int, ...]


class Packer:
    """Packs parcels; each in the calling thread, some images at once."""

    def __init__(
        self,
        remote: RemoteBatches,
        loop: LoopThread,
        inputs: InputGatherer,
        objects: ObjectStore,
        spool: Path,
        stopping: threading.Event,
    ) -> None:
        self._remote = remote
        self._loop = loop
        self._inputs = inputs
        self._objects = objects
        self._spool = spool
        self._stopping = stopping

    def pack(self, parcel: Parcel, drafts: Iterable[tuple[int, NewJob]]) -> Packed:
        """Upload everything; doing it again does it anew.

        Args:
            parcel: whose lines they are.
            drafts: number and job of each line.

        Raises:
            ProviderError: OpenAI did not take a file.
            StoreUnavailable, ObjectsUnavailable, OSError: as it says.
        """
        with self._folder(parcel) as folder:
            uploads = _Uploads(self._remote, self._loop)

            def line_of(draft: tuple[int, NewJob]) -> tuple[PackedLine, bytes] | int:
                return self._line(*draft, folder, uploads)

            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="packing") as pool:
                lines = list(pool.map(line_of, drafts))
            good = [line for line in lines if not isinstance(line, int)]
            unfit = tuple(line for line in lines if isinstance(line, int))
            if not good:
                return Packed(None, unfit)
            self._keep(parcel, [packed for packed, _ in good])
            path = folder / f"{parcel.id}.jsonl"
            with path.open("wb") as file:
                file.writelines(text for _, text in good)
            return Packed(self._loop.submit(self._remote.upload_lines(path)).result(), unfit)

    def packed(self, parcel: Parcel) -> dict[int, PackedLine]:
        """The lines of a parcel that was packed, by number."""
        texts = self._objects.get_bytes(parcel_key(parcel)).splitlines()
        return {line.number: line for line in map(PackedLine.model_validate_json, texts)}

    def forget(self, parcel: Parcel) -> None:
        """Delete what is in S3."""
        self._objects.delete(parcel_key(parcel))

    def _line(self, number: int, job: NewJob, folder: Path, uploads: _Uploads) -> tuple[PackedLine, bytes] | int:
        """The line, or its number when an image of it cannot be used."""
        if self._stopping.is_set():
            raise Unavailable("the worker was told to stop: another one packs the lines")
        request, custom_id = job.request, job.custom_id or ""
        if isinstance(request, GenerateRequest):
            return PackedLine(number=number, job=job), input_line(number, custom_id, job.model, request)
        assert isinstance(request, EditRequest), "the lines of a batch are no turns"
        own = folder / str(number)
        own.mkdir()
        try:
            gathered = self._inputs.gather(request, own)
            pairs = zip(gathered.images, gathered.inputs, strict=False)  # the mask is the last input
            images = [uploads.file_id(image, what) for image, what in pairs]
            mask = uploads.file_id(gathered.mask, gathered.inputs[-1]) if gathered.mask else None
        except InvalidInput as error:
            _log.info("line_not_packed", line=number, error=str(error))
            return number
        finally:
            shutil.rmtree(own, ignore_errors=True)
        files = (*images, mask) if mask else tuple(images)
        packed = PackedLine(number=number, job=job, inputs=gathered.inputs, files=files)
        return packed, input_line(number, custom_id, job.model, request, images, mask)

    def _keep(self, parcel: Parcel, lines: Iterable[PackedLine]) -> None:
        body = b"".join(line.model_dump_json().encode() + b"\n" for line in lines)
        self._objects.put_bytes(parcel_key(parcel), body, content_type=_JSONL, filename=f"{parcel.id}.jsonl")

    @contextmanager
    def _folder(self, parcel: Parcel) -> Generator[Path]:
        """A folder of its own, under a name that the salvager clears away once it is old."""
        folder = self._spool / f"{CHECK_PREFIX}{parcel.id}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class _Uploads:
    """The images of one parcel at OpenAI; one that several lines edit goes there once."""

    def __init__(self, remote: RemoteBatches, loop: LoopThread) -> None:
        self._remote = remote
        self._loop = loop
        self._lock = threading.Lock()
        self._uploads: dict[str, Future[str]] = {}

    def file_id(self, image: LocalImage, what: JobInput) -> str:
        """OpenAI's id of the image; it is uploaded unless it was.

        Raises:
            ProviderError: OpenAI did not take it.
        """
        with self._lock:
            upload = self._uploads.get(what.sha256)
            if upload is None:
                upload = self._loop.submit(self._remote.upload_image(image.path, image.mime_type))
                self._uploads[what.sha256] = upload
        return upload.result()


def parcel_key(parcel: Parcel) -> str:
    """Where the packed lines are in S3, as JSON lines."""
    return f"{BATCH_PREFIX}{parcel.batch_id}/parcels/{parcel.id}.jsonl"
