"""Which files of this machine the stdio bridge reads: images in folders that a user keeps pictures in."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from imagequeue.errors import ImageQueueError, InputFault, InvalidInput
from imagequeue.requests import shown

_NOT_PATHS: Final = ("http://", "https://", "data:", "upload:", "job:")
_PICTURE_FOLDERS: Final = ("Pictures", "Downloads", "Desktop")
SECRET_NAMES: Final = frozenset(
    {
        ".ssh",
        ".gnupg",
        ".aws",
        ".azure",
        ".kube",
        ".docker",
        ".password-store",
        ".git",
        "gcloud",
        "Keychains",
        "keyrings",
    }
)
"""Folders that hold keys, or that programs run from: nothing is read from there or written to."""


def is_path(source: str) -> bool:
    """Whether an image source names a file of this machine."""
    return not source[:8].lower().startswith(_NOT_PATHS)


class PathRefused(ImageQueueError):
    """The file lies where the bridge does not read."""

    code = "path_refused"


class LocalFiles:
    """Reads below some folders only, wherever links lead.

    Args:
        roots: the folders; those that do not exist are passed over.
        base: what relative paths start from.
    """

    def __init__(self, roots: Sequence[Path], base: Path) -> None:
        self._base = base
        self._roots = tuple(dict.fromkeys(Path(os.path.realpath(root)) for root in roots))

    def find(self, source: str, field: str) -> Path:
        """The file that a path or a file: URL names.

        Raises:
            PathRefused: it lies outside the folders, or where secrets are.
            InvalidInput: there is no such file.
        """
        real = Path(os.path.realpath(self._base / _path_of(source, field)))
        # First whether it may be read, then whether it exists: who may not look shall not learn.
        if not any(real.is_relative_to(root) for root in self._roots) or SECRET_NAMES.intersection(real.parts):
            allowed = ", ".join(str(root) for root in self._roots)
            raise PathRefused(
                f"{field}: {shown(source)} lies outside the folders that images are read from: {allowed}. Copy it into "
                "one of them, or give a URL; the user can add folders with IMAGEQUEUE_MCP_ROOTS."
            )
        if not real.is_file():
            found = "is not a file" if real.exists() else "does not exist"
            raise InvalidInput(InputFault.MISSING, field, f"{shown(str(real))} {found}", "Check the path.")
        return real


def default_roots(base: Path, output_folder: Path, setting: str | None) -> list[Path]:
    """Where images are read from: the working folder, the home's picture folders, temp, what the user adds."""
    home = Path.home()
    temporary = [Path(tempfile.gettempdir()), *([Path("/tmp")] if os.name == "posix" else [])]
    # Some clients start their servers in the file system's root: that would be everything.
    working = [] if base == Path(base.anchor) else [base]
    added = [Path(part).expanduser() for part in (setting or "").split(os.pathsep) if part.strip()]
    return [*working, *(home / name for name in _PICTURE_FOLDERS), *temporary, output_folder, *added]


def _path_of(source: str, field: str) -> Path:
    if "\0" in source:
        raise PathRefused(f"{field}: a path has no NUL character.")
    if not source.lower().startswith("file:"):
        return Path(source).expanduser()
    try:
        url = urlsplit(source)
    except ValueError as error:
        raise PathRefused(f"{field}: {shown(source)} is not a file: URL.") from error
    if url.netloc not in ("", "localhost"):
        raise PathRefused(f"{field}: {shown(source)} names another machine; write file:///path/of/the/file.")
    return Path(url2pathname(url.path))
