"""API keys over HTTP: the part of the clients that administrators use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from imagequeue.api_async_connection import AsyncApiConnection
from imagequeue.api_calls import Call, answering, path_of
from imagequeue.api_connection import ApiConnection
from imagequeue.key_views import CallerView, IssuedKeyView, KeyList, KeyView

CURRENT: Final = Call("GET", "/v1/keys/current", answering(CallerView))
_ALL: Final = Call("GET", "/v1/keys", answering(KeyList))


class KeyClient:
    """Make, list, limit, rotate, revoke. Every method raises ApiUnreachable and ApiProblem as the client's do."""

    def __init__(self, api: ApiConnection) -> None:
        self._api = api

    def current(self) -> CallerView:
        """Who this client is."""
        return self._api.do(CURRENT)

    def create(self, request: Mapping[str, Any]) -> IssuedKeyView:
        """Make a key; `request` has the fields of KeyRequest."""
        return self._api.do(_create(request))

    def all(self) -> KeyList:
        """All keys."""
        return self._api.do(_ALL)

    def get(self, key_id: str) -> KeyView:
        """Look at a key."""
        return self._api.do(_get(key_id))

    def limit(self, key_id: str, limits: Mapping[str, Any]) -> KeyView:
        """Replace a key's limits."""
        return self._api.do(_limit(key_id, limits))

    def rotate(self, key_id: str, *, grace_seconds: float = 0) -> IssuedKeyView:
        """Give a key a new secret."""
        return self._api.do(_rotate(key_id, grace_seconds))

    def revoke(self, key_id: str) -> KeyView:
        """Refuse a key from now on."""
        return self._api.do(_revoke(key_id))


class AsyncKeyClient:
    """`KeyClient` for asyncio."""

    def __init__(self, api: AsyncApiConnection) -> None:
        self._api = api

    async def current(self) -> CallerView:
        """See KeyClient."""
        return await self._api.do(CURRENT)

    async def create(self, request: Mapping[str, Any]) -> IssuedKeyView:
        """See KeyClient."""
        return await self._api.do(_create(request))

    async def all(self) -> KeyList:
        """See KeyClient."""
        return await self._api.do(_ALL)

    async def get(self, key_id: str) -> KeyView:
        """See KeyClient."""
        return await self._api.do(_get(key_id))

    async def limit(self, key_id: str, limits: Mapping[str, Any]) -> KeyView:
        """See KeyClient."""
        return await self._api.do(_limit(key_id, limits))

    async def rotate(self, key_id: str, *, grace_seconds: float = 0) -> IssuedKeyView:
        """See KeyClient."""
        return await self._api.do(_rotate(key_id, grace_seconds))

    async def revoke(self, key_id: str) -> KeyView:
        """See KeyClient."""
        return await self._api.do(_revoke(key_id))


def _create(request: Mapping[str, Any]) -> Call[IssuedKeyView]:
    return Call("POST", "/v1/keys", answering(IssuedKeyView), body=dict(request))


def _get(key_id: str) -> Call[KeyView]:
    return Call("GET", path_of("keys", key_id), answering(KeyView))


def _limit(key_id: str, limits: Mapping[str, Any]) -> Call[KeyView]:
    return Call("POST", f"{path_of('keys', key_id)}/limits", answering(KeyView), body={"limits": limits})


def _rotate(key_id: str, grace_seconds: float) -> Call[IssuedKeyView]:
    body = {"grace_seconds": grace_seconds}
    return Call("POST", f"{path_of('keys', key_id)}/rotate", answering(IssuedKeyView), body=body)


def _revoke(key_id: str) -> Call[KeyView]:
    return Call("POST", f"{path_of('keys', key_id)}/revoke", answering(KeyView))
