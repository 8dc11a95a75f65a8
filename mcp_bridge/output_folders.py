"""Where the stdio bridge saves images: not where the system or secrets are, and never over another file."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
import tempfile
from pathlib import Path
from typing import Final

from platformdirs import user_config_path

from imagequeue.errors import ImageQueueError
from imagequeue.requests import shown
from imagequeue.saving import DamagedDownload, move_to_free_name, plain_name, saved_already
from imagequeue.views import ImageView
from mcp_bridge.door import Door
from mcp_bridge.local_files import SECRET_NAMES

_SYSTEM_FOLDERS: Final = (
    *("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr", "/var"),
    *("/Applications", "/Library", "/System", "/private/etc", "/private/var"),
    *("C:\\Windows", "C:\\Program Files", "C:\\Program Files (x86)", "C:\\ProgramData"),
)


class OutputDirRefused(ImageQueueError):
    """Images are not saved there."""

    code = "output_dir_refused"


class OutputFolders:
    """Chooses the folder of a call.

    Args:
        base: what relative paths start from, and what the default folder is named after.
        default: where images go when the call names no folder.
    """

    def __init__(self, base: Path, default: Path) -> None:
        self._base = base
        self.default = default

    def folder(self, asked: str | None) -> Path:
        """The folder to save in, made if it is missing.

        Raises:
            OutputDirRefused: it must not or cannot be written.
        """
        if asked and "\0" in asked:
            raise OutputDirRefused("output_dir: a path has no NUL character.")
        wanted = self._base / Path(asked).expanduser() if asked else self.default
        real = Path(os.path.realpath(wanted))
        if reason := _forbidden(real, self._base):
            raise OutputDirRefused(f"output_dir: {shown(str(real))} {reason}; no images are saved there.")
        try:
            real.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputDirRefused(f"output_dir: {shown(str(real))} cannot be made: {error.strerror}.") from error
        if not os.access(real, os.W_OK | os.X_OK):
            raise OutputDirRefused(f"output_dir: {shown(str(real))} cannot be written.")
        return real


def default_folder(base: Path, setting: Path | None) -> Path:
    """The setting's folder, else one for the project in the user's config folder."""
    if setting:
        return base / setting.expanduser()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", base.name).strip(".-") or "images"
    digest = hashlib.sha256(str(base).encode()).hexdigest()[:8]  # two projects may have one name
    return user_config_path("imagequeue") / "images" / f"{name}-{digest}"


async def save(door: Door, job_id: str, image: ImageView, folder: Path) -> Path:
    """Save an original in `folder` under its own name, or one with a number; a file with its very bytes is kept.

    Raises:
        DamagedDownload: it arrived with other bytes.
        OSError: it cannot be written.
    """
    name = plain_name(image.filename) or f"{job_id}-{image.index}"
    if present := await asyncio.to_thread(saved_already, folder / name, image):
        return present
    draft = folder / f".{name}.{secrets.token_hex(4)}.part"
    try:
        await door.save(job_id, image.index, draft)
        if await asyncio.to_thread(_sha256, draft) != image.sha256:
            raise DamagedDownload(f"{image.filename} arrived damaged: its sha256 is not the one that was stored.")
        return await asyncio.to_thread(move_to_free_name, draft, folder / name)
    finally:
        draft.unlink(missing_ok=True)


def _forbidden(folder: Path, base: Path) -> str | None:
    if SECRET_NAMES.intersection(folder.parts):
        return "is a folder for keys or programs"
    own = (Path.home(), base, Path(tempfile.gettempdir()))
    if any(_below(folder, root) for root in own if root != Path(root.anchor)):
        return None
    if folder == Path(folder.anchor) or any(_below(folder, Path(system)) for system in _SYSTEM_FOLDERS):
        return "belongs to the system"
    return None


def _below(folder: Path, root: Path) -> bool:
    return folder.is_relative_to(os.path.realpath(root))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
