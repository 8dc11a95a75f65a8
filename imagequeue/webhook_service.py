"""Webhooks, as API and command line use them: a part of the one door, ImageQueue."""

from __future__ import annotations

from itertools import islice

from imagequeue.errors import DeliveryNotFound, EndpointNotFound, EndpointsFull, JobNotFound
from imagequeue.fetch_rules import parse_origins
from imagequeue.jobs import is_job_id
from imagequeue.queue import Dispatcher
from imagequeue.settings import Settings
from imagequeue.store.webhook_deliveries import WebhookDeliveryStore
from imagequeue.store.webhooks import WebhookStore
from imagequeue.webhook_rules import receiver_of, webhook_target
from imagequeue.webhook_views import (
    DeliveryPage,
    DeliveryView,
    EndpointList,
    EndpointRequest,
    EndpointView,
    SecretView,
    delivery_view,
    endpoint_view,
    secret_view,
)
from imagequeue.webhooks import MAX_ENDPOINTS, Delivery, DeliveryState, endpoint_id, is_delivery_id


class WebhookService:
    """Endpoints, secrets, deliveries. All belong to an owner; to others they do not exist."""

    def __init__(
        self,
        settings: Settings,
        webhooks: WebhookStore,
        deliveries: WebhookDeliveryStore,
        dispatcher: Dispatcher,
    ) -> None:
        self._origins = parse_origins(settings.webhook_origins)
        self._webhooks = webhooks
        self._deliveries = deliveries
        self._dispatcher = dispatcher

    def checked(self, url: str | None) -> str | None:
        """The webhook of a request, if it names one.

        Raises:
            InvalidRequest: nothing is ever sent there.
        """
        return None if url is None else str(webhook_target(url, self._origins, "webhook").url)

    def put_endpoint(self, request: EndpointRequest, *, owner: str) -> tuple[EndpointView, bool]:
        """Let a URL get the events of all of the owner's jobs; whether it is new.

        Raises:
            InvalidRequest: nothing is ever sent there.
            EndpointsFull: there are as many as there may be.
        """
        url = str(webhook_target(request.url, self._origins, "url").url)
        answer = self._webhooks.put_endpoint(owner, url, request.events)
        if answer == "full":
            raise EndpointsFull(
                f"There may be {MAX_ENDPOINTS} endpoints, and you have as many: remove one of them first."
            )
        stored = next(one for one in self._webhooks.endpoints(owner) if one.id == endpoint_id(url))
        return endpoint_view(stored), answer == "added"

    def endpoints(self, *, owner: str) -> EndpointList:
        """All of the owner's endpoints, oldest first."""
        return EndpointList(endpoints=tuple(map(endpoint_view, self._webhooks.endpoints(owner))))

    def remove_endpoint(self, identity: str, *, owner: str) -> None:
        """Forget an endpoint; what it was not told yet, it is not told any more.

        Raises:
            EndpointNotFound: there is none, or it belongs to somebody else.
        """
        if not self._webhooks.remove_endpoint(owner, identity):
            raise EndpointNotFound(identity)

    def secret(self, *, owner: str) -> SecretView:
        """The secret that signs what the owner's webhooks get."""
        return secret_view(self._webhooks.secrets(owner))

    def rotate_secret(self, *, owner: str) -> SecretView:
        """Put a new secret in use; the one before signs too for another day."""
        return secret_view(self._webhooks.rotate_secret(owner))

    def deliveries(
        self, *, owner: str, job_id: str | None, state: DeliveryState | None, cursor: str | None, limit: int
    ) -> DeliveryPage:
        """A page of the owner's deliveries, newest first, of one job or one state if asked for.

        Raises:
            JobNotFound: that is no id of a job.
        """
        if job_id is not None and not is_job_id(job_id):  # anything else could name another record's key
            raise JobNotFound(job_id)
        found = self._deliveries.listed(owner, job_id, cursor)
        page = list(islice((one for one in found if state in (None, one.state)), limit + 1))
        more = page[limit - 1].id if len(page) > limit else None
        return DeliveryPage(deliveries=tuple(map(delivery_view, page[:limit])), next_cursor=more)

    def redeliver(self, identity: str, *, owner: str) -> DeliveryView:
        """Send a delivery again now, under the same `webhook-id`, with all retries before it.

        Raises:
            DeliveryNotFound: there is none, or it belongs to somebody else.
        """
        delivery = self._owned(identity, owner)
        receiver = receiver_of(delivery.url)
        if not self._deliveries.again(delivery, receiver):
            raise DeliveryNotFound(identity)
        self._dispatcher.deliver(receiver)
        return delivery_view(self._owned(identity, owner))

    def _owned(self, identity: str, owner: str) -> Delivery:
        # Anything else could name another record's key.
        delivery = self._deliveries.get(identity) if is_delivery_id(identity) else None
        if delivery is None or delivery.owner != owner:
            raise DeliveryNotFound(identity)
        return delivery
