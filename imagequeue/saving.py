"""Files that appear under their name only when they are whole, and never in place of another one."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from imagequeue.errors import ImageQueueError
from imagequeue.views import ImageView


class DamagedDownload(ImageQueueError):
    """What was downloaded is not what was stored; nothing was saved."""

    code = "damaged_download"


def wanted_path(folder: Path, job_id: str, image: ImageView) -> Path:
    """Where an image of a job goes; the folder is made if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder / (plain_name(image.filename) or f"{job_id}-{image.index}")


@contextmanager
def draft_of(wanted: Path) -> Generator[Path]:
    """A hidden name beside the wanted one, for a file that is not whole yet; it is gone after the block."""
    draft = wanted.with_name(f".{wanted.name}.{secrets.token_hex(4)}.part")
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def keep(draft: Path, wanted: Path, image: ImageView) -> Path:
    """Give a draft that holds the image the wanted name, or the next free one.

    Raises:
        DamagedDownload: it does not hold the image.
    """
    if not _holds(draft, image):
        raise DamagedDownload(f"{image.filename} arrived damaged: its sha256 is not the one that was stored.")
    return move_to_free_name(draft, wanted)


def plain_name(filename: str) -> str:
    """The name without anything that could lead out of the folder or hide the file."""
    return filename.replace("\\", "/").rpartition("/")[2].replace("\0", "").lstrip(".")


def saved_already(wanted: Path, image: ImageView) -> Path | None:
    """The file under this name, or a numbered one beside it, that holds the image's very bytes."""
    for present in _numbered(wanted):
        if not present.exists():
            return None
        if _holds(present, image):
            return present
    raise AssertionError("numbers do not end")


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    number = 0
    while True:
        number += 1
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def _holds(path: Path, image: ImageView) -> bool:
    if not path.is_file() or path.stat().st_size != image.size_bytes:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == image.sha256


def move_to_free_name(draft: Path, wanted: Path) -> Path:
    """Rename `draft` to `wanted`, or with `-1`, `-2` … before the suffix when that name is taken."""
    for candidate in _numbered(wanted):
        try:
            candidate.touch(exist_ok=False)  # reserves the name against every other program
        except FileExistsError:
            continue
        return draft.replace(candidate)
    raise AssertionError("numbers do not end")
