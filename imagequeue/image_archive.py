"""All images of a batch as one ZIP, made while it is sent: at any time, one piece of one image is in memory."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, Final, Protocol, cast

from zipstream import ZIP_DEFLATED, ZipStream  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from imagequeue.archive_names import UniqueNames, safe_name
from imagequeue.batch_lines import ReadLine
from imagequeue.batches import LineState
from imagequeue.errors import ImageNotFound
from imagequeue.input_images import EXTENSIONS
from imagequeue.jobs import Image, JobError
from imagequeue.objects import ObjectStore
from imagequeue.requests import AnyRequest

FAILED: Final = "failed.jsonl"
INDEX: Final = "index.jsonl"
_FOLDER_BYTES: Final = 80
_CHUNK_BYTES: Final = 256 * 1024
_GONE: Final = JobError(code="image_not_found", message="The image was deleted.")


class _Zip(Protocol):
    """What is used of zipstream, which has no types."""

    def add(self, data: Iterable[bytes], arcname: str, *, size: int, compress_type: int | None = None) -> None: ...
    def file(self) -> Iterator[bytes]: ...
    def finalize(self) -> Iterator[bytes]: ...


class ImageArchive:
    """The archive of some lines, in pieces, once.

    Args:
        objects: where the images are.
        lines: that have ended, in order.
        request_of: what a line asked for.
        by_prompt: whether the images of each prompt go into a folder of their own.
    """

    def __init__(
        self,
        objects: ObjectStore,
        lines: Iterable[ReadLine],
        request_of: Callable[[ReadLine], AnyRequest],
        *,
        by_prompt: bool,
    ) -> None:
        self._objects = objects
        self._lines = lines
        self._request_of = request_of
        self._by_prompt = by_prompt
        self._names = UniqueNames([FAILED, INDEX])
        self._folders: dict[bytes, str] = {}
        # Images are compressed already.
        self._zip = cast("_Zip", cast("Any", ZipStream)())

    def __iter__(self) -> Iterator[bytes]:
        """The ZIP's bytes.

        Raises:
            StoreUnavailable, ObjectsUnavailable: what was sent by then is no whole archive.
        """
        with tempfile.TemporaryFile() as failed, tempfile.TemporaryFile() as index:
            for line in self._lines:
                images = line.job.images if line.job else ()
                if not images:
                    deleted = _GONE if line.record.state is LineState.SUCCEEDED else None
                    _write(failed, self._failure(line, line.error or deleted))
                for image in images:
                    yield from self._image(line, image, failed, index)
            for name, file in ((INDEX, index), (FAILED, failed)):
                yield from self._list(name, file)
            yield from self._zip.finalize()

    def _image(self, line: ReadLine, image: Image, failed: IO[bytes], index: IO[bytes]) -> Iterator[bytes]:
        try:
            content = self._objects.open(image.key)
        except ImageNotFound:
            _write(failed, {**self._failure(line, _GONE), "index": image.index})
            return
        name = self._name(line, image)
        self._zip.add(content, name, size=image.size_bytes)
        yield from self._zip.file()
        about = image.model_dump(include={"index", "width", "height", "size_bytes", "sha256"})
        _write(index, {"file": name, **_line(line), "prompt": self._request_of(line).prompt, **about})

    def _list(self, name: str, file: IO[bytes]) -> Iterator[bytes]:
        """One of the lists, unless it is empty."""
        size = file.tell()
        if size:
            file.seek(0)
            self._zip.add(iter(lambda: file.read(_CHUNK_BYTES), b""), name, size=size, compress_type=ZIP_DEFLATED)
            yield from self._zip.file()

    def _name(self, line: ReadLine, image: Image) -> str:
        stem = safe_name(line.custom_id)
        request = self._request_of(line)
        if request.n > 1:
            stem = f"{stem}-{image.index}"
        folder = f"{self._folder(request.prompt)}/" if self._by_prompt else ""
        return self._names.take(f"{folder}{stem}", f".{EXTENSIONS[image.mime_type]}")

    def _folder(self, prompt: str) -> str:
        key = hashlib.sha256(prompt.encode()).digest()[:16]
        if key not in self._folders:
            self._folders[key] = self._names.take(safe_name(prompt, _FOLDER_BYTES))
        return self._folders[key]

    def _failure(self, line: ReadLine, error: JobError | None) -> dict[str, object]:
        request = self._request_of(line).model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        told = error.model_dump(mode="json") if error else None
        return {**_line(line), "state": line.record.state.value, "error": told, "request": request}


def _line(line: ReadLine) -> dict[str, object]:
    return {"custom_id": line.custom_id, "line": line.record.number, "job_id": line.record.job_id}


def _write(file: IO[bytes], record: object) -> None:
    file.write(json.dumps(record, ensure_ascii=False).encode(errors="replace") + b"\n")
