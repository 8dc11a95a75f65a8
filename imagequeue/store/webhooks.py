"""An owner's webhook endpoints and secrets in Redis."""

from __future__ import annotations

import json
from typing import Final, Literal, cast

from imagequeue.store.connection import RedisClient, translated
from imagequeue.store.keys import Keys
from imagequeue.store.scripts import Scripts
from imagequeue.webhooks import (
    MAX_ENDPOINTS,
    MAX_SECRETS,
    SECRET_OVERLAP_MS,
    Endpoint,
    EventType,
    Secret,
    endpoint_id,
    new_secret,
)

_IN_USE: Final = float("inf")


class WebhookStore:
    """The records of endpoints and secrets. Every method raises StoreUnavailable when Redis does not answer."""

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)

    def put_endpoint(self, owner: str, url: str, events: tuple[EventType, ...]) -> Literal["added", "replaced", "full"]:
        """Store an endpoint, in the place of the one of the same URL if there is one."""
        arguments = [endpoint_id(url), url, ",".join(events), MAX_ENDPOINTS]
        answer = self._scripts.run("webhook_endpoint", self._keys.for_webhook_owner(owner), arguments)
        return cast("Literal['added', 'replaced', 'full']", answer)

    def endpoints(self, owner: str) -> list[Endpoint]:
        """All endpoints of an owner, oldest first."""
        with translated():
            stored = self._client.hgetall(self._keys.webhook_endpoints(owner))
            disabled = self._client.hgetall(self._keys.webhook_disabled(owner)) if stored else {}
        found = [_endpoint(text, disabled) for text in stored.values()]
        return sorted(found, key=lambda endpoint: (endpoint.created_at, endpoint.id))

    def disable_endpoint(self, owner: str, endpoint: str, reason: str) -> None:
        """Let an endpoint get nothing any more, until it is put again."""
        with translated():
            self._client.hset(self._keys.webhook_disabled(owner), endpoint, reason)

    def remove_endpoint(self, owner: str, endpoint: str) -> bool:
        """Forget an endpoint; False when there is none of this id."""
        with translated():
            self._client.hdel(self._keys.webhook_disabled(owner), endpoint)
            return bool(self._client.hdel(self._keys.webhook_endpoints(owner), endpoint))

    def secrets(self, owner: str) -> list[Secret]:
        """The secrets that sign now, the one in use first; the first call makes it."""
        return self._secrets(owner, rotate=False)

    def rotate_secret(self, owner: str) -> list[Secret]:
        """Put a new secret in use; those before sign for a day more."""
        return self._secrets(owner, rotate=True)

    def _secrets(self, owner: str, *, rotate: bool) -> list[Secret]:
        arguments = [new_secret(), int(rotate), SECRET_OVERLAP_MS, MAX_SECRETS]
        answer = self._scripts.run("webhook_secrets", self._keys.for_webhook_owner(owner), arguments)
        listed = cast("list[str]", answer)
        pairs = reversed(list(zip(listed[::2], map(float, listed[1::2]), strict=True)))
        return [Secret(secret=secret, valid_until=None if until == _IN_USE else int(until)) for secret, until in pairs]


def _endpoint(text: str, disabled: dict[str, str]) -> Endpoint:
    data = json.loads(text)
    return Endpoint.model_validate({**data, "events": data["events"].split(","), "disabled": disabled.get(data["id"])})
