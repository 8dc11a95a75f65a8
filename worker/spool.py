"""The spool: one folder on this worker's disk for each attempt, from the first input byte to the job's end.

A paid answer rests here until it is in S3. Beside its images lies a note that says what they are, so that whoever works
on this disk next can store them, even if the process that received them is gone.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from imagequeue.errors import OutcomeUnknown
from imagequeue.inputs import CHECK_PREFIX
from imagequeue.jobs import Applied, Frozen, JobInput, Usage

_NOTE: Final = "answer.json"
_INPUT_NAMES: Final = ("input-", "mask")
_MEMORY_DISK: Final = Path("/dev/shm")
"""Linux's disk in memory: what a full disk cannot take, it takes."""


@dataclass(frozen=True, slots=True)
class Painted:
    """What a call gave: undecoded image files, and what OpenAI says of them."""

    files: tuple[Path, ...]
    usage: Usage | None
    applied: Applied
    request_id: str | None
    notes: tuple[str, ...]


class AnswerNote(Frozen):
    """A paid answer on disk: all that is needed to end its job without another call."""

    job_id: str
    attempt: int
    files: tuple[Path, ...]
    usage: Usage | None
    applied: Applied
    request_id: str | None
    notes: tuple[str, ...]
    output_format: str
    inputs: tuple[JobInput, ...]

    @property
    def painted(self) -> Painted:
        """The answer as the call gave it."""
        return Painted(self.files, self.usage, self.applied, self.request_id, self.notes)


class Spool:
    """The folders of all attempts under one root."""

    def __init__(self, root: Path, min_free_bytes: int) -> None:
        self.root = root
        self._min_free_bytes = min_free_bytes

    def has_room(self) -> bool:
        """Whether the disk has room for one more answer; one that cannot be written has none."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            return shutil.disk_usage(self.root).free >= self._min_free_bytes
        except OSError:
            return False

    def folder(self, job_id: str, attempt: int) -> SpoolFolder:
        """The attempt's folder; it is made when it is missing.

        Raises:
            OSError: the disk does not take it.
        """
        folder = SpoolFolder(self.root / f"{job_id}.{attempt}")
        folder.path.mkdir(parents=True, exist_ok=True)
        return folder

    def clear_checks(self, older_seconds: float) -> None:
        """Delete folders of input images under check that nobody has touched for so long: their process is gone."""
        for path in self.root.glob(f"{CHECK_PREFIX}*") if self.root.is_dir() else ():
            if _age_seconds(path) > older_seconds:
                shutil.rmtree(path, ignore_errors=True)

    def left_behind(self) -> Iterator[tuple[str, int, SpoolFolder]]:
        """Job, attempt and folder of all that is on the disk."""
        for path in sorted(self.root.glob("job_*.*")) if self.root.is_dir() else ():
            job_id, _, attempt = path.name.partition(".")
            if attempt.isdecimal():
                yield job_id, int(attempt), SpoolFolder(path)


@dataclass(frozen=True, slots=True)
class SpoolFolder:
    """One attempt's files."""

    path: Path

    @property
    def holds_no_answer(self) -> bool:
        """Whether there is nothing but inputs: no piece of what OpenAI gave."""
        names = [path.name for path in self.path.iterdir()]
        return all(name.startswith(_INPUT_NAMES) for name in names) and not _in_memory(self.path).exists()

    @property
    def age_seconds(self) -> float:
        """How long ago a file was added or taken away."""
        return _age_seconds(self.path)

    def keep(self, note: AnswerNote) -> None:
        """Write the note of a whole answer, all or nothing.

        Raises:
            OSError: the disk does not take it; the images are still there.
        """
        unfinished = self.path / f"{_NOTE}.part"
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(note.model_dump_json())
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(self.path / _NOTE)

    def note(self) -> AnswerNote | None:
        """The note of a whole answer whose files are all there; None: there is none."""
        try:
            note = AnswerNote.model_validate_json((self.path / _NOTE).read_bytes())
        except (OSError, ValidationError):
            return None
        return note if all(file.is_file() for file in note.files) else None

    def remove(self) -> None:
        """Delete the folder and what it had in memory; it is no error when it is gone."""
        shutil.rmtree(self.path, ignore_errors=True)
        in_memory = _in_memory(self.path)
        if in_memory.is_dir():
            shutil.rmtree(in_memory, ignore_errors=True)
            with suppress(OSError):
                os.removedirs(in_memory.parent)


class OutputFile:
    """One image of an answer while it arrives. A disk that takes no more makes it move to memory: it is paid for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = 0
        try:
            self._file = path.open("wb", buffering=0)  # what the disk refuses is noticed with the piece at hand
        except OSError as error:
            self._file = self._opened_in_memory(error)

    def write(self, piece: bytes) -> None:
        """Append.

        Raises:
            OutcomeUnknown: neither disk nor memory takes it.
        """
        rest = memoryview(piece)
        while rest:
            try:
                count = self._file.write(rest)
            except OSError as error:
                self._move_to_memory(error)
                continue
            self._written += count
            rest = rest[count:]

    def close(self) -> None:
        """End the file."""
        self._file.close()

    def _move_to_memory(self, problem: OSError) -> None:
        full, on_disk = self._file, self.path
        self._file = self._opened_in_memory(problem)
        with on_disk.open("rb") as source:
            self._file.write(source.read(self._written))
        full.close()
        on_disk.unlink()

    def _opened_in_memory(self, problem: OSError) -> FileIO:
        lost = OutcomeUnknown(f"OpenAI's answer came, but the spool's disk did not take it: {problem}")
        if not _MEMORY_DISK.is_dir() or self.path.is_relative_to(_MEMORY_DISK):
            raise lost from problem
        moved = _in_memory(self.path)
        try:
            moved.parent.mkdir(parents=True, exist_ok=True)
            file = moved.open("wb", buffering=0)
        except OSError as error:
            raise lost from error
        self.path = moved
        return file


def _age_seconds(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _in_memory(path: Path) -> Path:
    """Where a path of the spool is in memory: the user's own place, under the same names."""
    return _MEMORY_DISK / f"imagequeue-{os.getuid()}" / path.absolute().relative_to("/")
