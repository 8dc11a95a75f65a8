"""What the stdio bridge remembers of sessions: where their images were saved on this machine."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from imagequeue.sessions import is_session_id

_KEPT_SECONDS: Final = 30 * 86_400


class Saved(BaseModel):
    """Where a session's last image lies."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    path: str


class SessionMemory:
    """One small file a session, because another bridge may go on with it. What cannot be written is not remembered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def remember(self, session_id: str, job_id: str, path: Path) -> None:
        """Note where a turn's image was saved, and forget sessions that nobody touched for a month."""
        if not is_session_id(session_id):
            return
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._folder / f"{session_id}.json").write_text(Saved(job_id=job_id, path=str(path)).model_dump_json())
            for old in self._folder.glob("ses_*.json"):
                if old.stat().st_mtime < time.time() - _KEPT_SECONDS:
                    old.unlink(missing_ok=True)

    def folder(self, session_id: str) -> str | None:
        """Where the session's images have been saved; None when this machine does not know."""
        saved = self._read(session_id)
        return str(Path(saved.path).parent) if saved else None

    def image_path(self, session_id: str, job_id: str | None) -> str | None:
        """The file with the image that this job made; None when it is not there."""
        saved = self._read(session_id)
        return saved.path if saved and saved.job_id == job_id and Path(saved.path).is_file() else None

    def _read(self, session_id: str) -> Saved | None:
        if not is_session_id(session_id):
            return None
        try:
            return Saved.model_validate_json((self._folder / f"{session_id}.json").read_bytes())
        except (OSError, ValidationError):
            return None
