"""What the stdio bridge remembers: where a job's images are to be saved, and where a session's last one was."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from imagequeue.jobs import is_job_id
from imagequeue.sessions import is_session_id

_KEPT_SECONDS: Final = 30 * 86_400
_TIDY_EVERY_SECONDS: Final = 3600.0
"""Looking at every file at every call would take longer than all else that a call does here."""


class Place(BaseModel):
    """Where the images of a job or a session go; `path` and `job_id` of the session's last one, once it is saved."""

    model_config = ConfigDict(frozen=True)

    folder: str
    job_id: str | None = None
    path: str | None = None


class Memory:
    """One small file a job or session, because another bridge may go on with it. What cannot be written is not kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tidied = -math.inf

    def choose(self, record_id: str, folder: Path) -> None:
        """Note where the images of a job, or of a new session, are to be saved."""
        self._write(record_id, Place(folder=str(folder)))

    def saved(self, session_id: str, job_id: str, path: Path) -> None:
        """Note where a turn's image was saved."""
        self._write(session_id, Place(folder=str(path.parent), job_id=job_id, path=str(path)))

    def folder(self, record_id: str) -> str | None:
        """Where the images of a job or session go; None when this machine does not know."""
        place = self._read(record_id)
        return place.folder if place else None

    def image_path(self, session_id: str, job_id: str | None) -> str | None:
        """The file with the session's image that this job made; None when it is not there."""
        place = self._read(session_id)
        known = place is not None and place.job_id == job_id and place.path is not None and Path(place.path).is_file()
        return place.path if place and known else None

    def _write(self, record_id: str, place: Place) -> None:
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._folder / f"{record_id}.json").write_text(place.model_dump_json())
            if time.monotonic() > self._tidied + _TIDY_EVERY_SECONDS:
                self._tidied = time.monotonic()
                self._tidy()

    def _tidy(self) -> None:
        for old in self._folder.glob("*_*.json"):
            if old.stat().st_mtime < time.time() - _KEPT_SECONDS:
                old.unlink(missing_ok=True)

    def _read(self, record_id: str) -> Place | None:
        if not (is_session_id(record_id) or is_job_id(record_id)):  # it becomes a file's name
            return None
        try:
            return Place.model_validate_json((self._folder / f"{record_id}.json").read_bytes())
        except (OSError, ValidationError):
            return None
