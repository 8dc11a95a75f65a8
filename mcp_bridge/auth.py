"""Who calls over HTTP: the API key of a request."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from imagequeue.errors import Forbidden, ImageQueueError, Unauthorized
from mcp_bridge.door import Door
from mcp_bridge.doors import CallersDoor


class KeyCheck:
    """Asks every MCP request for its API key, and gives its calls the door of whoever has it."""

    def __init__(self, app: ASGIApp, doors: CallersDoor, path: str) -> None:
        self._app = app
        self._path = path
        self._doors = doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Called for each request."""
        if scope["type"] != "http" or scope["path"] != self._path:
            await self._app(scope, receive, send)
            return
        scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        secret = given.strip() if scheme.lower() == "bearer" else None
        try:
            found: Door | ImageQueueError = await self._doors.admit(secret)
        except (Unauthorized, Forbidden) as error:
            status = 401 if isinstance(error, Unauthorized) else 403
            headers = {"WWW-Authenticate": 'Bearer realm="imagequeue"'} if status == 401 else None
            answer = JSONResponse({"code": error.code, "detail": str(error)}, status, headers)
            await answer(scope, receive, send)
            return
        except ImageQueueError as error:  # the tools say so
            found = error
        with self._doors.opened(found):
            await self._app(scope, receive, send)
