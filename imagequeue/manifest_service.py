"""Manifests, as the API uses them: a part of the one door, ImageQueue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from imagequeue.manifests.lines import BadLine, ManifestLine
from imagequeue.manifests.requests import with_requests
from imagequeue.manifests.store import ManifestStore
from imagequeue.manifests.uploads import ManifestUploads
from imagequeue.objects import ObjectStore
from imagequeue.requests import EditRequest, JobRequest
from imagequeue.settings import Settings
from imagequeue.sources import Sources
from imagequeue.webhook_service import WebhookService


class ManifestService:
    """Judges the lines of manifests as a submit would judge their requests, and keeps those that pass.

    `store` has the validated manifests of batches, `uploads` those that clients put into S3.
    """

    def __init__(
        self, store: ManifestStore, uploads: ManifestUploads, sources: Sources, webhooks: WebhookService
    ) -> None:
        self.store = store
        self.uploads = uploads
        self._sources = sources
        self._webhooks = webhooks

    def judged(self, lines: Iterable[ManifestLine | BadLine]) -> Iterator[ManifestLine | BadLine]:
        """The lines; bad are also those with sources or webhooks that would be refused. Nothing is kept or fetched."""
        return with_requests(lines, self._judge)

    def acceptable(self, lines: Iterable[ManifestLine | BadLine]) -> Iterator[ManifestLine | BadLine]:
        """The same; images in data: URLs are checked and kept, and named as uploads. May raise ObjectsUnavailable."""
        return with_requests(lines, self._accept)

    def _judge(self, request: JobRequest) -> JobRequest:
        self._webhooks.checked(request.webhook)
        if isinstance(request, EditRequest):
            self._sources.check(request)
        return request

    def _accept(self, request: JobRequest) -> JobRequest:
        self._webhooks.checked(request.webhook)
        return self._sources.keep_data(request) if isinstance(request, EditRequest) else request


def manifest_service(
    settings: Settings, objects: ObjectStore, sources: Sources, webhooks: WebhookService
) -> ManifestService:
    """Manifests in one bucket."""
    uploads = ManifestUploads(objects, settings.s3_bucket, settings.max_manifest_bytes)
    return ManifestService(ManifestStore(objects, settings.spool_dir), uploads, sources, webhooks)
