"""The bridge over streamable HTTP: stateless, so that any replica answers any request."""

from __future__ import annotations

import gc
import sys

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from imagequeue.settings import Settings
from mcp_bridge.auth import KeyCheck
from mcp_bridge.bridge import Bridge
from mcp_bridge.doors import CallersDoor
from mcp_bridge.refusals import RefusalsInWords
from mcp_bridge.server import make_server

PATH = "/mcp"
_OWN_NAMES = ("127.0.0.1", "localhost", "[::1]")
_GRACE_SECONDS = 3
"""From SIGTERM to the end. Jobs go on, and the same call finds them again."""
_COLLECTOR = (20_000, 10, 10)
"""Objects until the next collection of garbage: by default 700. A call that waits is 600 objects, so a full collection,
which holds up everybody, would come with every few new calls; it takes 0.4 s where 1,000 wait."""
_SWITCH_SECONDS = 0.0005
"""How long a thread may compute while another one wants to, by default 5 ms: what wakes a call takes ten turns of three
threads, while a fourth one looks how the calls go that still wait."""
_KEEPALIVE_SECONDS = 30
"""Longer than clients keep idle connections (5 s is common): one that both end at once loses the request on it."""


def make_application(bridge: Bridge, doors: CallersDoor, settings: Settings) -> Starlette:
    """The bridge as an ASGI application."""
    server = make_server(bridge)

    @server.custom_route("/healthz", methods=["GET"])
    async def healthz(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        return JSONResponse({"status": "ok"})

    application = server.streamable_http_app(
        streamable_http_path=PATH,
        stateless_http=True,
        # Inputs of up to 8 × 50 MB come as URLs or uploads, never through here.
        max_request_body_size=settings.max_edit_body_bytes,
        transport_security=security(settings),
    )
    application.add_middleware(RefusalsInWords, words=_words(settings))
    application.add_middleware(KeyCheck, doors=doors, path=PATH)
    return application


def _words(settings: Settings) -> dict[int, str]:
    return {
        403: "This server does not answer web pages of this Origin. Whoever runs it can add it to "
        "IMAGEQUEUE_MCP_ALLOWED_ORIGINS.",
        413: f"body_too_large: a request may have {settings.max_edit_body_bytes:,} bytes. Nothing was spent.\n"
        "Next: Send each image to POST /v1/uploads of the REST API and give the upload:<sha256> that it answers, or "
        "give an http(s):// URL.",
        421: "This server does not answer for this Host. Whoever runs it can add it to IMAGEQUEUE_MCP_ALLOWED_HOSTS.",
    }


def security(settings: Settings) -> TransportSecuritySettings:
    """Which Host and Origin headers are answered: a web page must not reach a bridge on its reader's machine."""
    hosts = [part.strip() for part in (settings.mcp_allowed_hosts or "").split(",") if part.strip()]
    origins = [part.strip() for part in (settings.mcp_allowed_origins or "").split(",") if part.strip()]
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=[*_OWN_NAMES, *(f"{name}:*" for name in _OWN_NAMES), *hosts],
        allowed_origins=[f"http://{name}{port}" for name in _OWN_NAMES for port in ("", ":*")] + origins,
    )


async def serve(bridge: Bridge, doors: CallersDoor, settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    config = uvicorn.Config(
        make_application(bridge, doors, settings),
        host=settings.mcp_host,
        port=settings.mcp_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_keep_alive=_KEEPALIVE_SECONDS,
        server_header=False,
    )
    gc.freeze()  # what is there now stays
    gc.set_threshold(*_COLLECTOR)
    sys.setswitchinterval(_SWITCH_SECONDS)
    await uvicorn.Server(config).serve()
