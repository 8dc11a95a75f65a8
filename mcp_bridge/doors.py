"""Which way the bridge goes to the queue, and whose door a call gets.

A way is opened when it is first needed, or a little before: what it takes to import Redis, S3 and Celery is more than
all else that the bridge does until it serves.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

from imagequeue.errors import ImageQueueError
from imagequeue.settings import Settings
from mcp_bridge.door import Door
from mcp_bridge.doorkeeping import Doorkeeper

_door_of_call: ContextVar[Door | ImageQueueError] = ContextVar("door_of_call")


class Opening:
    """A way to the queue that is opened once, for all who want it then. When that fails, the next call tries again."""

    def __init__(self, opening: Callable[[], Awaitable[Doorkeeper]]) -> None:
        self._opening = opening
        self._opened: asyncio.Future[Doorkeeper] | None = None

    async def keeper(self) -> Doorkeeper:
        """The way, opened."""
        return await asyncio.shield(self.begin())  # others may wait for it, too

    def begin(self) -> asyncio.Future[Doorkeeper]:
        """Open it if it is not open, and go on meanwhile."""
        if self._opened is None:
            self._opened = asyncio.ensure_future(self._opening())
            self._opened.add_done_callback(self._forget_failure)
        return self._opened

    async def aclose(self) -> None:
        """Close it if it is open."""
        if self._opened is not None:
            await asyncio.wait([self._opened])
        if self._opened is not None:  # it did not fail
            await (await self._opened).close()

    def _forget_failure(self, opened: asyncio.Future[Doorkeeper]) -> None:
        if opened.cancelled() or opened.exception():
            self._opened = None


class OwnDoor:
    """On stdio, all calls come from whoever runs the bridge."""

    def __init__(self, way: Opening) -> None:
        self._way = way

    async def door(self) -> Door:
        """See Doors."""
        return await (await self._way.keeper()).own()

    def prepare(self) -> None:
        """See Doors."""
        self._way.begin()


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

    def prepare(self) -> None:
        """See Doors."""
        self._way.begin()

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
    open_way = _open_direct if goes_direct() else _open_remote

    async def opening() -> Doorkeeper:
        return await asyncio.to_thread(open_way, settings)

    return Opening(opening)


def goes_direct() -> bool:
    """Whether the environment leads straight to Redis."""
    return bool(not os.environ.get("IMAGEQUEUE_API_URL") and os.environ.get("IMAGEQUEUE_REDIS_URL"))


def _open_direct(settings: Settings) -> Doorkeeper:
    from imagequeue.service import open_queue  # noqa: PLC0415
    from mcp_bridge.direct_keeper import DirectKeeper  # noqa: PLC0415

    return DirectKeeper(open_queue(settings), settings)


def _open_remote(settings: Settings) -> Doorkeeper:
    from mcp_bridge.remote_keeper import RemoteKeeper  # noqa: PLC0415

    return RemoteKeeper(settings)
