"""Reading a file from a request's body to disk, piece by piece: as multipart/form-data or as the body itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Final, cast

from flask import request
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import BadRequest
from werkzeug.formparser import FormDataParser

from api.request_body import MAX_DRAINED_BYTES, UnsupportedMediaType, read_some
from imagequeue.errors import ImageQueueError, InputFault, InvalidInput, InvalidRequest, Violation
from imagequeue.input_images import MAX_INPUT_BYTES, too_large
from imagequeue.requests import shown

FIELD: Final = "file"
MULTIPART: Final = "multipart/form-data"
_CHUNK_BYTES: Final = 64 * 1024
_ENVELOPE_BYTES: Final = 16 * 1024
"""What boundaries and part headers may add to a file."""
_BUFFER_BYTES: Final = 256 * 1024
"""What the parser may hold in memory: a field's value, or what it has not yet written to a file."""
_MAX_PARTS: Final = 8
_TYPES_BY_SUFFIX: Final = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".jpe": "image/jpeg",
    ".jfif": "image/jpeg",
    ".webp": "image/webp",
}
Refuse = Callable[[str], ImageQueueError]
"""From how much a body has to the error that its client gets."""
refuse_large_image: Final = partial(too_large, FIELD)
_SAYS_NOTHING: Final = ("", "application/octet-stream")


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A file from a request, and the MIME type that the client gave it."""

    path: Path
    declared_type: str | None


def receive_file(folder: Path) -> ReceivedFile:
    """Write the file that the current request brings into `folder`.

    Raises:
        UnsupportedMediaType: the body is neither multipart/form-data nor declared as an image, or is compressed.
        InvalidRequest: the form has not exactly one file, named `file`.
        InvalidInput: `input_too_large`, or `input_mislabelled` when name and declared type differ.
        BadRequest: the body was cut off, or is malformed.
    """
    if encoding := request.headers.get("Content-Encoding"):
        raise UnsupportedMediaType(f"The body must not be encoded; given Content-Encoding: {encoding}.")
    if (request.content_length or 0) > MAX_INPUT_BYTES + MAX_DRAINED_BYTES:
        raise too_large(FIELD, f"the body has {request.content_length:,}")  # reading on would help nobody
    if request.mimetype == MULTIPART:
        return _receive_part(folder)
    if request.mimetype.startswith("image/"):
        return _receive_body(folder / FIELD)
    given = request.mimetype or "no Content-Type"
    raise UnsupportedMediaType(
        f"Send {MULTIPART} with the image as {FIELD!r}, the image itself with its own type (image/png, image/jpeg, "
        f"image/webp), or application/json for a presigned PUT; given {given}."
    )


def _receive_body(path: Path) -> ReceivedFile:
    receive_body(path, MAX_INPUT_BYTES, refuse_large_image)
    return ReceivedFile(path, request.mimetype)


def receive_body(path: Path, most_bytes: int, refuse: Refuse) -> None:
    """Write the current request's body into a file.

    Raises:
        BadRequest: it was cut off.
        ImageQueueError: what `refuse` makes of a body of more than `most_bytes`.
    """
    stream = _LimitedStream(most_bytes, refuse)
    with path.open("wb") as file:
        while chunk := stream.read(_CHUNK_BYTES):
            file.write(chunk)


def receive_form(
    folder: Path, most_bytes: int, most_parts: int, refuse: Refuse
) -> tuple[list[tuple[str, str]], list[tuple[str, ReceivedFile]]]:
    """Write the files that the current request's form brings into `folder`; texts and files, each with its name.

    Raises:
        ImageQueueError: what `refuse` makes of a form of more than `most_bytes`.
        BadRequest: it was cut off, or is malformed.
        RequestEntityTooLarge: it has more than `most_parts`, or too much text.
    """
    opened: list[IO[bytes]] = []

    def open_part(*_given: object, **_named: object) -> IO[bytes]:
        opened.append((folder / str(len(opened))).open("wb+"))
        return opened[-1]

    parser = FormDataParser(
        stream_factory=open_part, max_form_memory_size=_BUFFER_BYTES, max_form_parts=most_parts, silent=False
    )
    stream = cast("IO[bytes]", _LimitedStream(most_bytes, refuse))
    try:
        _, form, files = parser.parse(stream, MULTIPART, request.content_length, request.mimetype_params)
    except ValueError as error:
        raise BadRequest("The multipart/form-data body is malformed or cut off.") from error
    finally:
        for file in opened:
            file.close()
    texts = list(form.items(multi=True))
    # The parser groups parts by name, so that their order does not tell which file is whose.
    kept = [(name, Path(cast("str", part.stream.name)), part) for name, part in files.items(multi=True)]
    return texts, [(name, ReceivedFile(path, _declared_type(part))) for name, path, part in kept]


def _receive_part(folder: Path) -> ReceivedFile:
    texts, files = receive_form(folder, MAX_INPUT_BYTES + _ENVELOPE_BYTES, _MAX_PARTS, refuse_large_image)
    names = [name for name, _ in files]
    if names != [FIELD] or texts:
        given = ", ".join(shown(name) for name in [*names, *(name for name, _ in texts)]) or "nothing"
        example = f'one part with name="{FIELD}" and a file name'
        raise InvalidRequest([Violation(FIELD, "the form must have one file and nothing else", given, example)])
    return files[0][1]


def _declared_type(part: FileStorage) -> str | None:
    by_name = _TYPES_BY_SUFFIX.get(PurePosixPath(part.filename or "").suffix.lower())
    declared = part.mimetype
    if declared in _SAYS_NOTHING:
        return by_name
    if by_name and declared.startswith("image/") and declared not in (by_name, "image/jpg"):
        problem = f"it is declared as {shown(declared)} but named {shown(part.filename)}"
        raise InvalidInput(InputFault.MISLABELLED, FIELD, problem, "Give it the name and the type that its bytes have.")
    return declared


class _LimitedStream:
    """The request's body; at its limit, or when it is cut off, it refuses to go on rather than ends."""

    def __init__(self, limit: int, refuse: Refuse) -> None:
        self._limit = limit
        self._refuse = refuse
        self._size = 0

    def read(self, count: int) -> bytes:
        chunk = read_some(count)
        self._size += len(chunk)
        if self._size > self._limit:
            raise self._refuse("the body has more")
        if not chunk and self._size < (request.content_length or 0):
            raise BadRequest(f"The body was cut off after {self._size:,} of {request.content_length:,} bytes.")
        return chunk
