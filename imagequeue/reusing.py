"""`reuse: true`: a request that was served before gets copies of those images, at no cost."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Final

from imagequeue.errors import ImageNotFound, JobNotFound
from imagequeue.job_records import JobRecords
from imagequeue.jobs import Image, Job, NewJob, image_filename
from imagequeue.objects import ObjectStore, job_folder
from imagequeue.requests import REUSE_NOTE, TurnRequest
from imagequeue.store.jobs import Stored
from imagequeue.store.reuse import Reused, ReuseStore, new_reuse_field, resolved_fingerprint
from imagequeue.views import utc

_SIDECAR: Final = "job.json"


class Reusing:
    """Serves requests with the images of earlier ones."""

    def __init__(self, store: ReuseStore, records: JobRecords, objects: ObjectStore) -> None:
        self._store = store
        self._records = records
        self._objects = objects

    def store(self, new: NewJob) -> Stored | None:
        """Store a job that has succeeded with copies of an equal one's images.

        None: it does not ask for that, or there is no such job.

        Nothing of it depends on the earlier job from then on. If this dies halfway, retention deletes the copies.

        Raises:
            IdempotencyKeyReused, LimitReached: see Submission.submit.
            StoreUnavailable, ObjectsUnavailable: repeat it.
        """
        reused = self.copied(new)
        return self._store.store(reused) if reused else None

    def copied(self, new: NewJob) -> Reused | None:
        """The job with copies of an equal one's images, to be stored; None as above."""
        for earlier in self._equals(new):
            if reused := self._from(earlier, new):
                return reused
        return None

    def serves(self, new: NewJob) -> bool:
        """Whether there is an equal job to copy from, by its record."""
        return any(True for _ in self._equals(new))

    def _equals(self, new: NewJob) -> Iterator[Job]:
        """The jobs whose images may serve, newest first; none unless the request asks for that."""
        if isinstance(new.request, TurnRequest) or not new.request.reuse or not new_reuse_field(new):
            return
        for job_id in self._store.earlier(new):
            if earlier := self._readable(job_id, new):
                yield earlier

    def _readable(self, job_id: str, new: NewJob) -> Job | None:
        try:
            job = self._records.get(job_id, new.owner)
        except JobNotFound:
            return None
        return job if resolved_fingerprint(job) == new.fingerprint else None

    def _from(self, earlier: Job, new: NewJob) -> Reused | None:
        # A folder of its own: whoever does the same at the same time, under the same id, has another.
        folder = f"{job_folder(new.id)}reused-{secrets.token_hex(4)}/"
        self._store.begin_copies(folder)
        try:
            images = tuple(self._copy(image, new, folder) for image in earlier.images)
        except ImageNotFound:  # just deleted
            return None
        with suppress(ImageNotFound):  # it says who made the images; nothing needs it
            self._copy_object(f"{PurePosixPath(earlier.images[0].key).parent}/{_SIDECAR}", folder)
        note = f"{REUSE_NOTE}the images are copies of those of {earlier.id}, made by an equal request at "
        note += f"{utc(earlier.finished_at or 0):%Y-%m-%dT%H:%M:%SZ}; no call was made, and nothing is paid."
        others = [note for note in earlier.notes if not note.startswith(REUSE_NOTE)]
        return Reused(new, earlier, images, folder, (*others, note))

    def _copy(self, image: Image, new: NewJob, folder: str) -> Image:
        extension = PurePosixPath(image.key).suffix[1:]
        return image.model_copy(
            update={
                "key": self._copy_object(image.key, folder),
                "preview_key": self._copy_object(image.preview_key, folder),
                "filename": image_filename(new.id, new.request.filename_prefix, image.index, extension),
            }
        )

    def _copy_object(self, key: str, folder: str) -> str:
        target = f"{folder}{PurePosixPath(key).name}"
        self._objects.copy(key, target)
        return target
