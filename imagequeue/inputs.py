"""From what a client names to stored, checked images.

An input lies in S3 under its sha256; a sidecar beside it, written last, holds what was found out about it and says
that it was checked. `uploads/` holds what clients put there themselves, unchecked until it is first used.
"""

from __future__ import annotations

import base64
import hashlib
import re
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imagequeue.errors import ImageNotFound, InputFault, InvalidInput, ObjectsUnavailable
from imagequeue.fetch_rules import check_url
from imagequeue.fetching import Fetcher
from imagequeue.input_images import EXTENSIONS, InputImage, check_size, inspect_image
from imagequeue.objects import ObjectStore
from imagequeue.requests import shown
from imagequeue.settings import Settings
from imagequeue.store.input_uses import InputUses

DECODES_AT_ONCE: Final = 2
"""In one process: the largest image takes 0.4 GB while it is decoded, and twice that when a colour is transparent."""
INPUT_PREFIX: Final = "inputs/"
STAGING_PREFIX: Final = "uploads/"
CHECK_PREFIX: Final = "input-"
"""Of the names of folders in the spool that hold inputs under check."""
_REMOVAL_SECONDS: Final = 10.0
"""How long a request waits for the removal of an input that it names to be over."""
_REMOVAL_POLL_SECONDS: Final = 0.1
_UPLOAD: Final = re.compile(r"upload:([0-9a-f]{64})")
_DATA_URL: Final = re.compile(r"data:([^;,]*)(?:;[^;,]*)*?;base64,(.*)", re.IGNORECASE | re.DOTALL)
_URL_SCHEMES: Final = ("http://", "https://")
_SOURCES: Final = (
    "Give upload:<sha256> (from POST /v1/uploads), an http(s) URL, a base64 data: URL, or job:<id>/<index>."
)


@dataclass(frozen=True, slots=True)
class PresignedUpload:
    """Where a client may PUT a file itself, and the headers that it has to send besides the usual Content-Length."""

    url: str
    headers: dict[str, str]
    expires_in_seconds: int


class InputStore:
    """Checks, keeps and hands out input images. Every method may raise ObjectsUnavailable.

    Args:
        objects: where they are kept.
        settings: for the folder of files under check, and for how long inputs and presigned URLs live.
        uses: where uses are noted, so that retention deletes nothing that is just being used; without it none is.
        fetcher: fetches URLs; default: by the settings.
    """

    def __init__(
        self,
        objects: ObjectStore,
        settings: Settings,
        uses: InputUses | None = None,
        fetcher: Fetcher | None = None,
    ) -> None:
        self._objects = objects
        self._uses = uses
        self._retention_ms = settings.retention_ms
        self._spool = settings.spool_dir
        self._presigned_seconds = settings.presigned_url_seconds
        self._fetcher = fetcher or Fetcher(settings)
        self._decoding = threading.BoundedSemaphore(DECODES_AT_ONCE)

    @contextmanager
    def folder(self) -> Generator[Path]:
        """A folder for files under check, gone with all of them when the block ends."""
        self._spool.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._spool, prefix=CHECK_PREFIX) as folder:
            yield Path(folder)

    def kept_until(self) -> int:
        """Until when an input that is used now is kept at least (ms)."""
        return int(time.time() * 1000) + self._retention_ms

    def store_file(self, path: Path, declared_type: str | None, field: str) -> InputImage:
        """Check a file and keep it.

        Args:
            path: of the file, which stays as it is.
            declared_type: the MIME type that the client says it has; None when it says nothing.
            field: how errors call the input.

        Raises:
            InvalidInput: it cannot be used.
        """
        image = self._inspected(path, field, declared_type)
        self._keep(path, image)
        return image

    def resolve(self, source: str, field: str) -> str:
        """Turn what a client names into what a job may hold: `upload:<sha256>`, checked, or an http(s) URL.

        `job:<id>/<index>` is for whoever can look jobs up (see `adopt`), and is refused here.

        Raises:
            InvalidInput: it names no image in a way that is taken, or the image cannot be used.
        """
        if is_data_url(source):
            return self._resolve_data_url(source, field)
        if _is_url(source):
            check_url(source, self._fetcher.origins, field)
            return source
        if match := _UPLOAD.fullmatch(source):
            if self._use(match[1]) is None:
                self._take_staged(match[1], field)
            return source
        raise _no_source(source, field)

    def check(self, source: str, field: str) -> None:
        """Judge what a client names by its form alone: nothing is looked up, fetched or kept.

        Raises:
            InvalidInput: it names no image in a way that is taken.
        """
        if is_data_url(source):
            _data_content(source, field)
        elif _is_url(source):
            check_url(source, self._fetcher.origins, field)
        elif not _UPLOAD.fullmatch(source):
            raise _no_source(source, field)

    def describe(self, source: str, field: str = "image") -> InputImage:
        """What was found out about `upload:<sha256>`.

        Raises:
            InvalidInput: `input_missing`, or `input_bad_source` for any other source.
        """
        match = _UPLOAD.fullmatch(source)
        if match is None:
            raise InvalidInput(InputFault.BAD_SOURCE, field, f"{shown(source)} is no stored image", _SOURCES)
        image = self._find(match[1])
        if image is None:
            raise _missing(match[1], field)
        return image

    def fetch_to(self, source: str, folder: Path, name: str, field: str | None = None) -> tuple[Path, InputImage]:
        """Get an image's exact bytes as `folder/name.<png|jpg|webp>`; one from a URL is checked and kept now.

        Args:
            source: as `resolve` gave it.
            folder: an existing folder.
            name: of the file, without extension.
            field: how errors call the input; default: the name.

        Raises:
            InvalidInput: it is gone, is not what it was, cannot be fetched or cannot be used.
        """
        field, path = field or name, folder / name
        if _is_url(source):
            self._fetcher.fetch(source, path, field)
            # Many servers declare images wrongly, and the client that gives the URL declares nothing.
            image = self.store_file(path, None, field)
        else:
            image = self.describe(source, field)
            self._read_back(input_key(image.sha256), image.sha256, path, field)
        return path.rename(path.with_name(f"{name}.{EXTENSIONS[image.mime_type]}")), image

    def adopt(self, key: str, sha256: str, field: str = "image") -> str:
        """Make an input of an object that is in S3 for another reason, such as a job's output.

        Args:
            key: of the object.
            sha256: of its bytes, hexadecimal.
            field: how errors call the input.

        Returns:
            `upload:<sha256>`; the object may be deleted then.

        Raises:
            InvalidInput: it is gone, has other bytes, or cannot be used.
        """
        if self._use(sha256) is None:
            with self.folder() as folder:
                self._read_back(key, sha256, folder / "object", field)
                self.store_file(folder / "object", None, field)
        return f"upload:{sha256}"

    def presigned_upload(self, sha256: str, size_bytes: int, content_type: str) -> PresignedUpload:
        """Let a client PUT a file itself; it is checked when `upload:<sha256>` is first used.

        Args:
            sha256: of the file, hexadecimal.
            size_bytes: of the file.
            content_type: that the client will send.

        Raises:
            InvalidInput: `input_empty` or `input_too_large`.
        """
        check_size(size_bytes, "size_bytes")
        seconds = self._presigned_seconds
        url = self._objects.presigned_put(
            _staging_key(sha256), content_type=content_type, size_bytes=size_bytes, seconds=seconds
        )
        return PresignedUpload(url, {"Content-Type": content_type}, seconds)

    def _resolve_data_url(self, source: str, field: str) -> str:
        declared_type, content = _data_content(source, field)
        with self.folder() as folder:
            path = folder / "data"
            path.write_bytes(content)
            return f"upload:{self.store_file(path, declared_type, field).sha256}"

    def _take_staged(self, sha256: str, field: str) -> None:
        """Check what a client has put under `uploads/`, and keep the very bytes that were checked.

        A copy inside S3 could copy others: the presigned URL still works.
        """
        staged = _staging_key(sha256)
        with self.folder() as folder:
            try:
                check_size(self._objects.size(staged), field)
                self._download(staged, sha256, folder / "staged", field)
            except ImageNotFound:
                # Perhaps another request has just taken it.
                if self._use(sha256) is None:
                    raise _missing(sha256, field) from None
                return
            self.store_file(folder / "staged", None, field)
        self._objects.delete(staged)

    def _find(self, sha256: str) -> InputImage | None:
        body = self._objects.find_bytes(sidecar_key(sha256))
        return InputImage.model_validate_json(body) if body else None

    def _use(self, sha256: str) -> InputImage | None:
        """Find an input that is to be used: it is kept for the whole retention time from now on."""
        self._note_use(sha256)
        try:
            body, used_at = self._objects.get_dated(sidecar_key(sha256))
        except ImageNotFound:
            return None
        image = InputImage.model_validate_json(body)
        if time.time() * 1000 - used_at > touch_after_ms(self._retention_ms):
            self._put_sidecar(image)
        return image

    def _note_use(self, sha256: str) -> None:
        """Wait until nobody deletes the input, and prevent that anybody begins to."""
        deadline = time.monotonic() + _REMOVAL_SECONDS
        while self._uses and self._uses.use(sha256) == "leaving":
            if time.monotonic() > deadline:
                raise ObjectsUnavailable(f"The old input {sha256} is being deleted. Send the request again.")
            time.sleep(_REMOVAL_POLL_SECONDS)

    def _inspected(self, path: Path, field: str, declared_type: str | None) -> InputImage:
        with self._decoding:
            return inspect_image(path, field, declared_type)

    def _keep(self, path: Path, image: InputImage) -> None:
        if self._use(image.sha256) is not None:
            return
        filename = f"{image.sha256}.{EXTENSIONS[image.mime_type]}"
        self._objects.put_file(input_key(image.sha256), path, content_type=image.mime_type, filename=filename)
        self._put_sidecar(image)

    def _put_sidecar(self, image: InputImage) -> None:
        self._objects.put_bytes(
            sidecar_key(image.sha256),
            image.model_dump_json().encode(),
            content_type="application/json",
            filename=f"{image.sha256}.json",
        )

    def _read_back(self, key: str, sha256: str, path: Path, field: str) -> None:
        try:
            self._download(key, sha256, path, field)
        except ImageNotFound as error:
            raise _missing(sha256, field) from error

    def _download(self, key: str, sha256: str, path: Path, field: str) -> None:
        self._objects.get_file(key, path)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            problem = f"the stored bytes must have the sha256 {sha256}; they have {found}"
            raise InvalidInput(InputFault.HASH_MISMATCH, field, problem, "Upload the file again.")


def is_data_url(source: str) -> bool:
    """Whether a source is the image itself."""
    return source[:5].lower() == "data:"


def _is_url(source: str) -> bool:
    return source[:8].lower().startswith(_URL_SCHEMES)


def _data_content(source: str, field: str) -> tuple[str | None, bytes]:
    """The declared type, if there is one, and the bytes in a data: URL."""
    match = _DATA_URL.fullmatch(source)
    try:
        if match:
            return match[1] or None, base64.b64decode(match[2], validate=True)
    except ValueError:  # binascii.Error, or letters that are no ASCII
        pass
    problem = f"{shown(source)} is not a base64 data: URL"
    raise InvalidInput(InputFault.BAD_SOURCE, field, problem, "Write data:image/png;base64,<the image>.")


def _no_source(source: str, field: str) -> InvalidInput:
    job = source.startswith("job:")
    problem = f"{shown(source)} " + ("is not the output of a job" if job else "is no image source")
    return InvalidInput(InputFault.BAD_SOURCE, field, problem, _SOURCES)


def _missing(sha256: str, field: str) -> InvalidInput:
    problem = f"there is no upload {sha256}"
    return InvalidInput(InputFault.MISSING, field, problem, "Upload the image with POST /v1/uploads first.")


def input_key(sha256: str) -> str:
    """Where an input's bytes are in S3."""
    return f"{INPUT_PREFIX}{sha256}"


def sidecar_key(sha256: str) -> str:
    """Where is what was found out about an input; its time in S3 tells when the input was last used."""
    return f"{INPUT_PREFIX}{sha256}.json"


def touch_after_ms(retention_ms: int) -> int:
    """How old a sidecar's time may be before a use writes it anew."""
    return retention_ms // 10


def _staging_key(sha256: str) -> str:
    return f"{STAGING_PREFIX}{sha256}"
