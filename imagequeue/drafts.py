"""From a validated request to a job that can be stored: images resolved, webhook checked, settings applied."""

from __future__ import annotations

from imagequeue.jobs import Lane, NewJob
from imagequeue.requests import EditRequest, JobRequest
from imagequeue.settings import Settings
from imagequeue.sources import Sources
from imagequeue.submission import Terms
from imagequeue.webhook_service import WebhookService


class Drafts:
    """Makes drafts of jobs."""

    def __init__(self, settings: Settings, sources: Sources, webhooks: WebhookService) -> None:
        self._settings = settings
        self._sources = sources
        self._webhooks = webhooks

    def draft(self, request: JobRequest, terms: Terms, lane: Lane, custom_id: str | None = None) -> NewJob:
        """A job of this request, which is not stored yet; `custom_id` is what a batch's manifest calls its line.

        Raises:
            InvalidInput: an image cannot be used.
            InvalidRequest: the webhook cannot be used.
            StoreUnavailable, ObjectsUnavailable: Redis or S3 does not answer.
        """
        webhook = self._webhooks.checked(request.webhook)
        if isinstance(request, EditRequest):
            request = self._sources.resolve(request, terms.owner)
        return NewJob(
            request=request.model_copy(update={"webhook": None}),
            webhook=webhook,
            owner=terms.owner,
            key_id=terms.key_id,
            idempotency=terms.idempotency,
            lane=lane,
            model=self._settings.model,
            on_unknown_outcome=request.on_unknown_outcome or self._settings.on_unknown_outcome,
            retention_ms=self._settings.retention_ms,
            custom_id=custom_id,
        )
