"""Files that appear under their name only when they are whole, and never in place of another one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from imagequeue.errors import ImageQueueError
from imagequeue.views import ImageView


class DamagedDownload(ImageQueueError):
    """What was downloaded is not what was stored; nothing was saved."""

    code = "damaged_download"


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
