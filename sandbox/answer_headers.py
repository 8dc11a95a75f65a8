"""The headers that every answer carries."""

from __future__ import annotations

import time
import uuid
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SANDBOX_HEADER: Final = "x-imagequeue-sandbox"
"""Tells a client that the image was painted, not bought."""


def standard_headers(request_id: str, milliseconds: int) -> dict[str, str]:
    """Request id and time taken under OpenAI's names, and the mark of the sandbox."""
    return {"x-request-id": request_id, "openai-processing-ms": str(milliseconds), SANDBOX_HEADER: "painted"}


class AnswerHeaders:
    """Middleware that gives each request an id (`request.state.request_id`) and each answer the standard headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id, started = f"req_{uuid.uuid4().hex}", time.monotonic()
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                milliseconds = round((time.monotonic() - started) * 1000)
                for name, value in standard_headers(request_id, milliseconds).items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)
