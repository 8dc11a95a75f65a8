"""Webhooks over HTTP: a part of the clients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from imagequeue.api_async_connection import AsyncApiConnection
from imagequeue.api_calls import Call, answering, given, nothing, path_of
from imagequeue.api_connection import ApiConnection
from imagequeue.webhook_views import DeliveryPage, DeliveryView, EndpointList, EndpointView, SecretView
from imagequeue.webhooks import DeliveryState, EventType

_ENDPOINTS: Final = Call("GET", "/v1/webhooks/endpoints", answering(EndpointList))
_SECRET: Final = Call("GET", "/v1/webhooks/secret", answering(SecretView))
_ROTATE_SECRET: Final = Call("POST", "/v1/webhooks/secret/rotate", answering(SecretView))


class WebhookClient:
    """Endpoints, the secret and deliveries. Its methods raise what those of `Client` do."""

    def __init__(self, api: ApiConnection) -> None:
        self._api = api

    def add_endpoint(self, url: str, events: Sequence[EventType] = ()) -> EndpointView:
        """Let a URL get these events, or all, of all of your jobs; it replaces the endpoint of that URL.

        Raises:
            ApiProblem: code `invalid_request` or `webhook_endpoints_full`.
        """
        return self._api.do(_add_endpoint(url, events))

    def endpoints(self) -> EndpointList:
        """All of your endpoints, oldest first."""
        return self._api.do(_ENDPOINTS)

    def remove_endpoint(self, endpoint_id: str) -> None:
        """Remove an endpoint.

        Raises:
            ApiProblem: code `webhook_endpoint_not_found`.
        """
        self._api.do(_remove_endpoint(endpoint_id))

    def secret(self) -> SecretView:
        """The secret that signs your webhooks."""
        return self._api.do(_SECRET)

    def rotate_secret(self) -> SecretView:
        """Put a new secret in use; the one before signs too for 24 hours."""
        return self._api.do(_ROTATE_SECRET)

    def deliveries(
        self,
        job_id: str | None = None,
        state: DeliveryState | None = None,
        cursor: str | None = None,
        limit: int = 20,
    ) -> DeliveryPage:
        """A page of at most `limit` (1 to 100) deliveries, newest first, of one job or state if asked for."""
        return self._api.do(_deliveries(job_id, state, cursor, limit))

    def redeliver(self, delivery_id: str) -> DeliveryView:
        """Send a delivery again now.

        Raises:
            ApiProblem: code `webhook_delivery_not_found`.
        """
        return self._api.do(_redeliver(delivery_id))


class AsyncWebhookClient:
    """`WebhookClient` for asyncio."""

    def __init__(self, api: AsyncApiConnection) -> None:
        self._api = api

    async def add_endpoint(self, url: str, events: Sequence[EventType] = ()) -> EndpointView:
        """See WebhookClient."""
        return await self._api.do(_add_endpoint(url, events))

    async def endpoints(self) -> EndpointList:
        """See WebhookClient."""
        return await self._api.do(_ENDPOINTS)

    async def remove_endpoint(self, endpoint_id: str) -> None:
        """See WebhookClient."""
        await self._api.do(_remove_endpoint(endpoint_id))

    async def secret(self) -> SecretView:
        """See WebhookClient."""
        return await self._api.do(_SECRET)

    async def rotate_secret(self) -> SecretView:
        """See WebhookClient."""
        return await self._api.do(_ROTATE_SECRET)

    async def deliveries(
        self,
        job_id: str | None = None,
        state: DeliveryState | None = None,
        cursor: str | None = None,
        limit: int = 20,
    ) -> DeliveryPage:
        """See WebhookClient."""
        return await self._api.do(_deliveries(job_id, state, cursor, limit))

    async def redeliver(self, delivery_id: str) -> DeliveryView:
        """See WebhookClient."""
        return await self._api.do(_redeliver(delivery_id))


def _add_endpoint(url: str, events: Sequence[EventType]) -> Call[EndpointView]:
    body = {"url": url, **({"events": list(events)} if events else {})}
    return Call("POST", "/v1/webhooks/endpoints", answering(EndpointView), body=body)


def _remove_endpoint(endpoint_id: str) -> Call[None]:
    return Call("DELETE", path_of("webhooks/endpoints", endpoint_id), nothing)


def _deliveries(job_id: str | None, state: DeliveryState | None, cursor: str | None, limit: int) -> Call[DeliveryPage]:
    params = given(job=job_id, state=state, cursor=cursor, limit=limit)
    return Call("GET", "/v1/webhooks/deliveries", answering(DeliveryPage), params=params)


def _redeliver(delivery_id: str) -> Call[DeliveryView]:
    return Call("POST", f"{path_of('webhooks/deliveries', delivery_id)}/redeliver", answering(DeliveryView))
