"""The way straight to Redis and S3. It takes the most to import, so it is imported when it is opened: see `doors`."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from imagequeue.api_keys import LOCAL_CALLER, Caller
from imagequeue.cli.api_address import named_api_key
from imagequeue.service import ImageQueue
from imagequeue.settings import Settings, is_loopback
from mcp_bridge.direct import THREADS, DirectDoor
from mcp_bridge.door import Door
from mcp_bridge.doorkeeping import DOORS_KEPT, check_scopes


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
        check_scopes(caller.scopes)
        return self._door_of(caller)

    def _door_of(self, caller: Caller) -> Door:
        """One door for all calls of a caller, because they look at their jobs together."""
        door = self._doors.setdefault(caller, DirectDoor(self._queue, self._pool, caller))
        self._doors.move_to_end(caller)
        if len(self._doors) > DOORS_KEPT:
            self._doors.popitem(last=False)
        return door
