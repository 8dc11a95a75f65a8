"""Saves the images of a batch while its lines end: several at once, in bounded memory, again from where it stopped."""

from __future__ import annotations

import json
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from imagequeue.api_answers import ApiProblem
from imagequeue.batch_views import BatchView, ResultLine
from imagequeue.batches import LineState
from imagequeue.cli.batch_folder import BatchFolder
from imagequeue.client import Client
from imagequeue.saving import draft_of
from imagequeue.views import ImageView

AT_ONCE: Final = 8
"""Downloads."""
_PAGE: Final = 200
"""Lines held in memory at once."""
_TOLD: Final = 10


@dataclass(slots=True)
class Ending:
    """How the lines of a batch came out, as far as it is told."""

    unsuccessful: list[ResultLine] = field(default_factory=list[ResultLine])  # the first of them
    missing: int = 0  # images that are no longer there to be saved


class Saver:
    """A thread that follows a batch's results and saves the images; to be used in a `with` block."""

    def __init__(self, client: Client, folder: BatchFolder, batch_id: str) -> None:
        self._client = client
        self._folder = folder
        self._batch_id = batch_id
        self._seen: object = None
        self._stopping = False
        self._last = False
        self._woken = threading.Event()
        self._counting = threading.Lock()
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="save")
        self._thread = threading.Thread(target=self._run, name="saver", daemon=True)
        self._error: Exception | None = None
        self.saved = folder.state.saved
        self.missing = 0

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop, at the latest when the downloads in flight are done."""
        self._stopping = True
        self._woken.set()
        self._pool.shutdown(cancel_futures=True)
        self._thread.join()

    def look(self, batch: BatchView) -> None:
        """Go after what has ended, if anything has; raises what has kept an image from being saved."""
        if self._error:
            raise self._error
        seen = batch.counts
        if seen != self._seen:
            self._seen = seen
            self._woken.set()

    def finish(self) -> None:
        """Save what has ended until now, and end; raises what has kept an image from being saved."""
        self._last = True
        self._woken.set()
        self._thread.join()
        if self._error:
            raise self._error

    def write_results(self) -> Ending:
        """Write how the lines ended, with the files, in the manifest's order; images that are not there are saved."""
        ending = Ending()
        with draft_of(self._folder.results) as draft:
            with (
                draft.open("w", encoding="utf-8") as written,
                closing(self._client.batches.results(self._batch_id)) as results,
            ):
                while page := list(islice(results, _PAGE)):
                    for result in page:
                        if result.state is not LineState.SUCCEEDED and len(ending.unsuccessful) < _TOLD:
                            ending.unsuccessful.append(result)
                    self.missing += self._save_all([one for one in _images(page) if not self._is_there(*one)])
                    written.writelines(self._line(result) for result in page)
            draft.replace(self._folder.results)
        self._folder.note()
        ending.missing = self.missing
        return ending

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._woken.wait()
                self._woken.clear()
                last = self._last
                self._catch_up()
                if last:
                    return
        except Exception as error:  # told to whoever looks or finishes
            self._error = error

    def _catch_up(self) -> None:
        while not self._stopping:
            position = self._folder.state.position
            with closing(self._client.batches.results(self._batch_id, order="finished", after=position)) as results:
                page = list(islice(results, _PAGE))
            if not page:
                return
            self._save_all(_images(page))
            if not self._stopping:
                self._folder.note(position=page[-1].position, saved=self.saved)

    def _save_all(self, images: list[tuple[ResultLine, ImageView]]) -> int:
        """Save images; gives how many are no longer there."""
        saving: list[Future[bool]] = []
        try:
            saving += [self._pool.submit(self._save, *one) for one in images]
            return sum(not each.result() for each in saving)
        finally:
            for each in saving:
                each.cancel()

    def _save(self, result: ResultLine, image: ImageView) -> bool:
        wanted = self._folder.file_of(result, image)
        job_id = str(result.job_id)
        try:
            file = self._client.download_image(job_id, image, wanted)
        except ApiProblem as error:
            if error.code in ("job_not_found", "image_not_found"):  # deleted meanwhile
                return False
            raise
        if file != wanted:
            self._folder.note_name(job_id, image, file.name)
        with self._counting:
            self.saved += 1
        return True

    def _is_there(self, result: ResultLine, image: ImageView) -> bool:
        """Whether the file is there and as long as it should be; what it holds was checked when it was saved."""
        file = self._folder.file_of(result, image)
        return file.is_file() and file.stat().st_size == image.size_bytes

    def _line(self, result: ResultLine) -> str:
        files = [self._folder.file_of(result, image) for image in result.images]
        return json.dumps({**result.model_dump(mode="json"), "files": _names(files)}, ensure_ascii=False) + "\n"


def _images(page: list[ResultLine]) -> list[tuple[ResultLine, ImageView]]:
    return [(result, image) for result in page for image in result.images]


def _names(files: list[Path]) -> list[str]:
    return [file.name for file in files if file.exists()]
