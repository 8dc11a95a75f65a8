"""The folder that a batch is saved into: which batch that is, and how far it is saved."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from imagequeue.archive_names import safe_name
from imagequeue.batch_views import ResultLine
from imagequeue.errors import Misconfigured
from imagequeue.saving import draft_of
from imagequeue.views import ImageView

if sys.platform != "win32":
    import fcntl

STATE_FILE: Final = ".imagequeue-batch.json"
RESULTS_FILE: Final = "results.jsonl"


class FolderState(BaseModel):
    """What the state file remembers."""

    model_config = ConfigDict(frozen=True)

    batch_id: str | None = None  # None: the answer to the submit has not come yet
    manifest: str | None = None  # digest of what was submitted for this folder; None: the batch was made elsewhere
    options: dict[str, Any] = {}  # that it was submitted with
    submitted_at: float = 0.0  # seconds since 1970
    position: int | None = None  # in the order of finishing; all lines up to this one are saved
    saved: int = 0  # images, by then
    renamed: dict[str, str] = {}  # "job/index" to name, where a file of another content had the usual one


class BatchFolder:
    """One batch's folder, for this process alone. It serves many threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._changing = threading.Lock()
        self.state = self._read()

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Generator[Self]:
        """The folder, which is made if it is missing.

        Raises:
            Misconfigured: another process saves into it, or its state file is none.
            OSError: it cannot be written.
        """
        path.mkdir(parents=True, exist_ok=True)
        with _alone(path):
            folder = cls(path)
            folder.note()
            yield folder

    def note(self, **changes: object) -> None:
        """Change what is remembered, on the disk, too; nothing is written while there is nothing to remember."""
        with self._changing:
            self.state = self.state.model_copy(update=changes)
            if self.state == FolderState():
                with draft_of(self._state_file) as draft:
                    draft.touch()  # whether it could be written is to be known before money is spent
                return
            with draft_of(self._state_file) as draft:
                draft.write_text(self.state.model_dump_json(indent=1))
                draft.replace(self._state_file)

    def forget(self) -> None:
        """Remember nothing: nothing was submitted."""
        with self._changing:
            self.state = FolderState()
            self._state_file.unlink(missing_ok=True)

    def note_name(self, job_id: str, image: ImageView, name: str) -> None:
        """Remember that an image has not its usual name; written with the next note."""
        with self._changing:
            renamed = {**self.state.renamed, f"{job_id}/{image.index}": name}
            self.state = self.state.model_copy(update={"renamed": renamed})

    def file_of(self, result: ResultLine, image: ImageView) -> Path:
        """Where an image of a line is, or belongs: the name that images.zip has for it, unless that was taken."""
        renamed = self.state.renamed.get(f"{result.job_id}/{image.index}")
        number = f"-{image.index}" if len(result.images) > 1 else ""
        suffix = PurePath(image.filename).suffix
        return self.path / (renamed or f"{safe_name(result.custom_id)}{number}{suffix}")

    @property
    def results(self) -> Path:
        """The file of results."""
        return self.path / RESULTS_FILE

    @property
    def _state_file(self) -> Path:
        return self.path / STATE_FILE

    def _read(self) -> FolderState:
        try:
            return FolderState.model_validate_json(self._state_file.read_bytes())
        except FileNotFoundError:
            return FolderState()
        except ValidationError as error:
            raise Misconfigured(
                f"{self._state_file} is damaged. Give another folder; or delete that file, and go on with "
                f"`imagequeue batch attach ID -o {self.path}`."
            ) from error


@contextmanager
def _alone(path: Path) -> Generator[None]:
    """Keep other processes out; the kernel does so no longer than this one lives."""
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise Misconfigured(f"Another command saves a batch into {path} now.") from error
    finally:
        os.close(descriptor)
