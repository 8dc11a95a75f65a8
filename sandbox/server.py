"""The sandbox image server: OpenAI's ways to gpt-image-2, painted with Pillow, free of charge.

It holds requests to OpenAI's rules, answers in OpenAI's form, claims tokens by OpenAI's formula, and fails on demand.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from sandbox.answer_headers import AnswerHeaders, standard_headers
from sandbox.api_errors import ApiError
from sandbox.app_state import Sandbox, SandboxConfig, request_id_of
from sandbox.cut_answers import ClosableProtocol, DroppedAnswer
from sandbox.endpoints import admin, batches, edits, files, generations, models, responses

_ENDPOINTS: Final = (generations, edits, responses, files, batches, models, admin)


def main(*, host: str, port: int, latency_seconds: float = 0.0, journal: Path | None = None) -> None:
    """Serve until SIGTERM or SIGINT; calls in flight are then answered 503 at once.

    Args:
        host: the address to listen on.
        port: the TCP port.
        latency_seconds: how long an answer takes at least.
        journal: a file to which each call is appended as JSON lines.

    Raises:
        SystemExit: at the end; 0 after a signal, 3 when the port is taken.
        OSError: the journal file cannot be opened.
        pydantic.ValidationError: `latency_seconds` is not within 0 and 3600.
    """
    for stop_signal in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop_signal, _leave)  # uvicorn raises the signal again when it has shut down
    app = create_app(SandboxConfig(latency_seconds=latency_seconds, journal=journal))
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=ClosableProtocol,
        log_level="warning",
        access_log=False,
        # Longer than any client keeps an idle connection, so that none is closed under a client about to use it.
        timeout_keep_alive=90,
        timeout_graceful_shutdown=2,
    )
    _Server(config, app.state.sandbox).run()


def create_app(config: SandboxConfig) -> Starlette:
    """Build the application, with its `Sandbox` at `app.state.sandbox`.

    Raises:
        OSError: the journal file cannot be opened.
    """
    app = Starlette(
        routes=[route for module in _ENDPOINTS for route in module.ROUTES],
        middleware=[Middleware(AnswerHeaders)],
        exception_handlers={
            ApiError: _refused,
            HTTPException: _no_such_endpoint,
            ClientDisconnect: _gone,
            Exception: _broken,
        },
        lifespan=_closing_sandbox,
    )
    app.state.sandbox = Sandbox.start(config)
    return app


class _Server(uvicorn.Server):
    """Ends the calls in flight before it waits for them."""

    def __init__(self, config: uvicorn.Config, sandbox: Sandbox) -> None:
        super().__init__(config)
        self._sandbox = sandbox

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._sandbox.stopping.set()
        await super().shutdown(sockets)


def _leave(signum: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


@asynccontextmanager
async def _closing_sandbox(app: Starlette) -> AsyncGenerator[None]:
    yield
    await app.state.sandbox.close()


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _no_such_endpoint(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        message, code = f"Not allowed to {request.method} on {request.url.path}.", "method_not_supported"
    else:
        message, code = f"Invalid URL ({request.method} {request.url.path}).", "unknown_url"
    return ApiError(message, status=error.status_code, code=code).response(error.headers)


async def _gone(request: Request, error: Exception) -> Response:
    """A client that left while it was sending; nobody reads the answer."""
    return DroppedAnswer()


async def _broken(request: Request, error: Exception) -> Response:
    """A defect of the sandbox; uvicorn logs the traceback."""
    answer = ApiError("The sandbox failed: its log says why.", status=500, kind="server_error", code="sandbox_broken")
    return answer.response(standard_headers(request_id_of(request), 0))
