"""The way through a REST API."""

from __future__ import annotations

from collections import OrderedDict

from imagequeue.api_answers import ApiProblem
from imagequeue.api_async_connection import AsyncApiConnection
from imagequeue.cli.api_address import api_key, api_url
from imagequeue.errors import Unauthorized
from imagequeue.key_views import CallerView
from imagequeue.settings import Settings, is_loopback
from mcp_bridge.door import Door
from mcp_bridge.doorkeeping import DOORS_KEPT, check_scopes
from mcp_bridge.remote import PATIENCE_SECONDS, RemoteDoor


class RemoteKeeper:
    """Through a REST API. Over HTTP, callers bring their own keys; the bridge's own one is not lent beyond loopback.

    Where the API of the stack on this machine is, and its key, may change while the bridge runs: both are looked up
    for each call.
    """

    def __init__(self, settings: Settings) -> None:
        self._lends_own_key = is_loopback(settings.mcp_host)
        self._apis: dict[str, AsyncApiConnection] = {}
        self._doors: OrderedDict[tuple[str, str | None], RemoteDoor] = OrderedDict()
        self._admitted: set[tuple[str, str | None]] = set()

    async def own(self) -> Door:
        """See Doorkeeper."""
        return self._door(api_url(), api_key())

    async def admit(self, secret: str | None) -> Door:
        """See Doorkeeper. A key that was good is asked for again by the API itself at each request."""
        if secret is None and not self._lends_own_key:
            raise Unauthorized("An API key is needed: send it as 'Authorization: Bearer iq_…'.")
        asked = (api_url(), secret or api_key())
        door = self._door(*asked)
        if asked not in self._admitted:
            caller = await _caller(door)
            if caller.key is None and not self._lends_own_key:  # it trusts this machine, not whoever comes through us
                raise Unauthorized("Nobody has an API key for the queue behind this bridge yet: see 'imagequeue keys'.")
            check_scopes(frozenset(caller.scopes))
            self._admitted.add(asked)
        return door

    async def close(self) -> None:
        """See Doorkeeper."""
        for api in self._apis.values():
            await api.aclose()

    def _door(self, url: str, key: str | None) -> RemoteDoor:
        if url not in self._apis:
            self._apis[url] = AsyncApiConnection(url, patience_seconds=PATIENCE_SECONDS)
        if (url, key) not in self._doors:
            self._doors[url, key] = RemoteDoor(self._apis[url].with_key(key))
            if len(self._doors) > DOORS_KEPT:
                self._admitted.discard(self._doors.popitem(last=False)[0])
        self._doors.move_to_end((url, key))
        return self._doors[url, key]


async def _caller(door: RemoteDoor) -> CallerView:
    try:
        return await door.caller()
    except ApiProblem as error:
        if error.code == Unauthorized.code:
            raise Unauthorized(error.detail) from error
        raise
