"""Which way the bridge goes to the queue, and whose door a call gets. Ways are opened when they are first needed."""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Protocol

from imagequeue.api_answers import ApiProblem
from imagequeue.api_async_connection import AsyncApiConnection
from imagequeue.api_keys import LOCAL_CALLER, Caller, Scope
from imagequeue.cli.connection import api_key, api_url, named_api_key
from imagequeue.errors import Forbidden, ImageQueueError, Unauthorized
from imagequeue.key_service import is_loopback
from imagequeue.key_views import CallerView
from imagequeue.service import ImageQueue, open_queue
from imagequeue.settings import Settings
from mcp_bridge.direct import THREADS, DirectDoor
from mcp_bridge.door import Door
from mcp_bridge.remote import PATIENCE_SECONDS, RemoteDoor

_NEEDED: Final = frozenset({Scope.SUBMIT, Scope.READ})
_DOORS_KEPT: Final = 100
_door_of_call: ContextVar[Door | ImageQueueError] = ContextVar("door_of_call")


class Doorkeeper(Protocol):
    """One way to the queue, for anybody. Every method raises ImageQueueError when the queue cannot be reached."""

    async def own(self) -> Door:
        """The door of whoever runs the bridge."""
        ...

    async def admit(self, secret: str | None) -> Door:
        """The door of whoever calls with this API key, or with none.

        Raises:
            Unauthorized, Forbidden: the caller gets none.
        """
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class DirectKeeper:
    """Straight to Redis and S3."""

    def __init__(self, queue: ImageQueue, settings: Settings) -> None:
        self._queue = queue
        self._lends_own_key = is_loopback(settings.mcp_host)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="mcp-door")
        self._doors: OrderedDict[Caller, Door] = OrderedDict()

    async def own(self) -> Door:
        """See Doorkeeper. Who has Redis needs no key."""
        key = named_api_key()
        return await self._door(key) if key else self._door_of(LOCAL_CALLER)

    async def admit(self, secret: str | None) -> Door:
        """See Doorkeeper."""
        return await self._door(secret or (named_api_key() if self._lends_own_key else None))

    async def close(self) -> None:
        """See Doorkeeper."""
        await asyncio.to_thread(self._queue.close)
        self._pool.shutdown(wait=False)

    async def _door(self, secret: str | None) -> Door:
        loop = asyncio.get_running_loop()
        caller = await loop.run_in_executor(self._pool, self._queue.keys.caller, secret)
        _check_scopes(caller.scopes)
        return self._door_of(caller)

    def _door_of(self, caller: Caller) -> Door:
        """One door for all calls of a caller, because they look at their jobs together."""
        door = self._doors.setdefault(caller, DirectDoor(self._queue, self._pool, caller))
        self._doors.move_to_end(caller)
        if len(self._doors) > _DOORS_KEPT:
            self._doors.popitem(last=False)
        return door


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
            _check_scopes(frozenset(caller.scopes))
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
            if len(self._doors) > _DOORS_KEPT:
                self._admitted.discard(self._doors.popitem(last=False)[0])
        self._doors.move_to_end((url, key))
        return self._doors[url, key]


class Opening:
    """A way to the queue that is opened when it is first needed. When that fails, the next call tries again."""

    def __init__(self, opening: Callable[[], Awaitable[Doorkeeper]]) -> None:
        self._opening = opening
        self._lock = asyncio.Lock()
        self._keeper: Doorkeeper | None = None

    async def keeper(self) -> Doorkeeper:
        """The way, opened."""
        async with self._lock:
            if self._keeper is None:
                self._keeper = await self._opening()
            return self._keeper

    async def aclose(self) -> None:
        """Close it if it is open."""
        if self._keeper is not None:
            await self._keeper.close()


class OwnDoor:
    """On stdio, all calls come from whoever runs the bridge."""

    def __init__(self, way: Opening) -> None:
        self._way = way

    async def door(self) -> Door:
        """See Doors."""
        return await (await self._way.keeper()).own()


class CallersDoor:
    """Over HTTP, each call comes with a key of its own, or with none."""

    def __init__(self, way: Opening) -> None:
        self._way = way

    async def door(self) -> Door:
        """See Doors."""
        found = _door_of_call.get()
        if isinstance(found, ImageQueueError):
            raise found
        return found

    async def admit(self, secret: str | None) -> Door:
        """See Doorkeeper."""
        return await (await self._way.keeper()).admit(secret)

    @contextmanager
    def opened(self, found: Door | ImageQueueError) -> Generator[None]:
        """Calls within the block get this door, or this error."""
        token = _door_of_call.set(found)
        try:
            yield
        finally:
            _door_of_call.reset(token)


def choose_way(settings: Settings) -> Opening:
    """Straight to Redis when only IMAGEQUEUE_REDIS_URL names one, else through the API.

    The API is that of IMAGEQUEUE_API_URL, else that of the stack on this machine.
    """

    async def direct() -> Doorkeeper:
        return DirectKeeper(await asyncio.to_thread(open_queue, settings), settings)

    async def remote() -> Doorkeeper:
        return RemoteKeeper(settings)

    return Opening(direct if goes_direct() else remote)


def goes_direct() -> bool:
    """Whether the environment leads straight to Redis."""
    return bool(not os.environ.get("IMAGEQUEUE_API_URL") and os.environ.get("IMAGEQUEUE_REDIS_URL"))


async def _caller(door: RemoteDoor) -> CallerView:
    try:
        return await door.caller()
    except ApiProblem as error:
        if error.code == Unauthorized.code:
            raise Unauthorized(error.detail) from error
        raise


def _check_scopes(scopes: frozenset[Scope]) -> None:
    missing = ", ".join(sorted(_NEEDED - scopes))
    if missing:
        raise Forbidden(f"This API key cannot use the MCP tools: it lacks {missing}.")
