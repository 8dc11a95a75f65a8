"""Previews of unfinished images, for whoever looks at a running job."""

from __future__ import annotations

from pathlib import PurePosixPath

from imagequeue.errors import ImageNotFound
from imagequeue.jobs import Job, PartialImage
from imagequeue.objects import ObjectStore


class PartialImages:
    """Hands out previews. Both methods may raise ObjectsUnavailable."""

    def __init__(self, objects: ObjectStore, presigned_seconds: int) -> None:
        self._objects = objects
        self._presigned_seconds = presigned_seconds

    def url(self, job: Job, partial_index: int) -> str:
        """A fresh presigned URL of the newest preview of this number.

        Raises:
            ImageNotFound: the job has no such preview, or not yet.
        """
        partial = job.partial_image(partial_index)
        if partial is None:
            have = f"it asked for {job.request.partial_images}, {len(job.partial_images)} came, and it is {job.state}"
            raise ImageNotFound(f"Job {job.id} has no partial image {partial_index}: {have}.")
        return self._objects.presigned_url(
            partial.key,
            content_type=partial.mime_type,
            filename=f"{job.id}-{PurePosixPath(partial.key).name}",
            seconds=self._presigned_seconds,
        )

    def read(self, partial: PartialImage) -> bytes:
        """A preview's file.

        Raises:
            ImageNotFound: it is gone.
        """
        return self._objects.get_bytes(partial.key)
