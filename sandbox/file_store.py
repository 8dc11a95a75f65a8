"""What `/v1/files` keeps until it is deleted, expires, or the sandbox ends: uploads in memory, outputs on the disk."""

from __future__ import annotations

import os
import tempfile
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from sandbox.api_errors import ApiError

MOST_BYTES: Final = 512 * 1024 * 1024
"""Of all uploaded files together; OpenAI's limit for a single one."""

MOST_FILES: Final = 10_000
OUTPUT_PURPOSE: Final = "batch_output"
_PIECE_BYTES: Final = 262_144


class DiskFile:
    """Bytes on the disk, appended until they are kept; the folder shows no file, so none is left behind."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - as long as this object
        weakref.finalize(self, self._file.close)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def append(self, piece: bytes) -> None:
        """Add bytes at the end."""
        rest = memoryview(piece)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._size += len(piece)

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset` on."""
        return os.pread(self._file.fileno(), size, offset)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file; times are seconds since 1970, `expires_at` None for a file that stays until it is deleted."""

    id: str
    filename: str
    purpose: str
    created_at: int
    expires_at: int | None
    source: bytes | DiskFile

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.source)

    @property
    def content(self) -> bytes:
        """All bytes."""
        return b"".join(self.pieces())

    def pieces(self) -> Iterator[bytes]:
        """The bytes, piece by piece."""
        if isinstance(self.source, bytes):
            yield self.source
            return
        for offset in range(0, self.size, _PIECE_BYTES):
            yield self.source.read(offset, _PIECE_BYTES)

    def described(self) -> dict[str, object]:
        """OpenAI's file object."""
        expiry = {} if self.expires_at is None else {"expires_at": self.expires_at}
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.size,
            "created_at": self.created_at,
            **expiry,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
        }


class FileStore:
    """At most 10,000 files, the uploads with 512 MiB in all; `clock` gives seconds since 1970."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._files: dict[str, StoredFile] = {}
        self._bytes = 0

    def add(self, content: bytes, filename: str, purpose: str, lifetime_seconds: int | None = None) -> StoredFile:
        """Keep a file under a new id.

        Raises:
            ApiError: 400 `file_storage_full`.
        """
        if not self._has_room_for(len(content)):
            self._forget_expired()
        if not self._has_room_for(len(content)):
            message = f"This sandbox keeps at most {MOST_FILES} files with {MOST_BYTES} bytes in all. Delete some."
            raise ApiError(message, code="file_storage_full", param="file")
        self._bytes += len(content)
        return self._keep(content, filename, purpose, lifetime_seconds)

    def add_output(self, output: DiskFile, filename: str, lifetime_seconds: int | None = None) -> StoredFile:
        """Keep what a batch gave; it does not count among the uploads."""
        return self._keep(output, filename, OUTPUT_PURPOSE, lifetime_seconds)

    def get(self, file_id: str) -> StoredFile | None:
        """The file, or None."""
        file = self._files.get(file_id)
        return None if file is None or self._is_expired(file) else file

    def delete(self, file_id: str) -> bool:
        """Forget a file; False when there is none."""
        found = self.get(file_id) is not None
        file = self._files.pop(file_id, None)
        self._bytes -= len(file.source) if file and isinstance(file.source, bytes) else 0
        return found

    def files(self) -> list[StoredFile]:
        """All files, oldest first."""
        self._forget_expired()
        return list(self._files.values())

    def clear(self) -> None:
        """Forget all."""
        self._files.clear()
        self._bytes = 0

    def _keep(self, source: bytes | DiskFile, filename: str, purpose: str, lifetime_seconds: int | None) -> StoredFile:
        now = int(self._clock())
        expires_at = None if lifetime_seconds is None else now + lifetime_seconds
        stored = StoredFile(f"file-{uuid.uuid4().hex[:24]}", filename, purpose, now, expires_at, source)
        self._files[stored.id] = stored
        return stored

    def _has_room_for(self, size: int) -> bool:
        return len(self._files) < MOST_FILES and self._bytes + size <= MOST_BYTES

    def _is_expired(self, file: StoredFile) -> bool:
        return file.expires_at is not None and file.expires_at <= self._clock()

    def _forget_expired(self) -> None:
        for file in [file for file in self._files.values() if self._is_expired(file)]:
            self.delete(file.id)
