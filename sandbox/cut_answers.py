"""Answers that go wrong on the wire: connections closed before or in the middle of an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, cast

from starlette.concurrency import iterate_in_threadpool
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from sandbox.file_store import StoredFile

_EXTENSION: Final = "imagequeue.sandbox.close"


class ClosableProtocol(H11Protocol):
    """Uvicorn's HTTP protocol that lets the application close the connection, which ASGI has no message for."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Offer the transport's `close` to every request of the connection."""
        super().connection_made(transport)
        self.app = _closable(self.app, transport.close)


def _closable(app: ASGIApp, close: Callable[[], None]) -> ASGIApp:
    async def with_close(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "extensions": {**scope.get("extensions", {}), _EXTENSION: close}}, receive, send)

    return with_close


def close_connection(scope: Scope) -> None:
    """Close the connection, after what was already sent; `receive` then tells of a disconnect."""
    cast(Callable[[], None], scope["extensions"][_EXTENSION])()


async def _hang_up(scope: Scope, receive: Receive) -> None:
    """Close the connection and wait until it is closed."""
    close_connection(scope)
    while (await receive())["type"] != "http.disconnect":
        pass


class DroppedAnswer(Response):
    """The connection is closed without a byte."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Close."""
        await _hang_up(scope, receive)


class HalfAnswer(Response):
    """Headers and the first half of the body, then the connection is closed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send half, then close."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body[: len(self.body) // 2])
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await _hang_up(scope, receive)


class FileAnswer(Response):
    """The bytes of a file, read while they are sent; when `cut`, the first half, then the connection is closed."""

    def __init__(self, file: StoredFile, headers: Mapping[str, str]) -> None:
        length = {"content-length": str(file.size)}
        super().__init__(media_type="application/octet-stream", headers={**headers, **length})
        self.file = file
        self.cut = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send, then close if it is cut."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        left = self.file.size // 2 if self.cut else self.file.size
        async for piece in iterate_in_threadpool(self.file.pieces()):
            await send({"type": "http.response.body", "body": piece[:left], "more_body": True})
            left -= min(left, len(piece))
            if not left:
                break
        if self.cut:
            await _hang_up(scope, receive)
        else:
            await send({"type": "http.response.body", "body": b""})
