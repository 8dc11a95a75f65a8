"""What the transport refuses before any tool is asked, in words: the SDK answers with a bare status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mcp.types import INVALID_REQUEST
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_JSON: Final = "application/json"


class RefusalsInWords:
    """Gives refusals the body of a JSON-RPC error, which clients show.

    Args:
        app: the application.
        words: what to say for each status, where the application itself says it not in JSON.
    """

    def __init__(self, app: ASGIApp, words: Mapping[int, str]) -> None:
        self._app = app
        self._words = words

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        replaced = False

        async def sending(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and (words := self._said(message)):
                replaced = True
                error = {"jsonrpc": "2.0", "id": None, "error": {"code": INVALID_REQUEST, "message": words}}
                await JSONResponse(error, message["status"])(scope, receive, send)
            elif not replaced:
                await send(message)

        await self._app(scope, receive, sending)

    def _said(self, start: Message) -> str | None:
        in_json = Headers(raw=start["headers"]).get("content-type", "").startswith(_JSON)
        return None if in_json else self._words.get(start["status"])
