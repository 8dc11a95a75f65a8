"""Which door the bridge takes, by its environment; opened at the first call, so that it starts without the queue."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

from imagequeue.cli.connection import api_url
from imagequeue.service import open_queue
from imagequeue.settings import Settings
from mcp_bridge.direct import DirectDoor
from mcp_bridge.door import Door
from mcp_bridge.remote import RemoteDoor
from mcp_bridge.remote_connection import RemoteConnection


class OneDoor:
    """One door for all calls. When it cannot be opened, the next call tries again."""

    def __init__(self, opening: Callable[[], Awaitable[Door]]) -> None:
        self._opening = opening
        self._lock = asyncio.Lock()
        self._door: Door | None = None

    async def door(self) -> Door:
        """See Doors."""
        async with self._lock:
            if self._door is None:
                self._door = await self._opening()
            return self._door

    async def close(self) -> None:
        """Close the door if it is open."""
        if self._door is not None:
            await self._door.close()


def choose_door(settings: Settings) -> Callable[[], Awaitable[Door]]:
    """How to open the door: straight to Redis when only IMAGEQUEUE_REDIS_URL names one, else through the API.

    The API is that of IMAGEQUEUE_API_URL, else that of the stack on this machine.
    """

    async def direct() -> Door:
        return DirectDoor(await asyncio.to_thread(open_queue, settings))

    async def remote() -> Door:
        return RemoteDoor(RemoteConnection(api_url(), os.environ.get("IMAGEQUEUE_API_KEY") or None))

    by_redis = not os.environ.get("IMAGEQUEUE_API_URL") and os.environ.get("IMAGEQUEUE_REDIS_URL")
    return direct if by_redis else remote
