"""The id of every request, its line in the log, and the headers that every answer has."""

from __future__ import annotations

import re
import secrets
import time
from typing import Final, cast

import structlog
from flask import Flask, Response, g, request

REQUEST_ID: Final = "X-Request-Id"
_SANE_ID: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}", re.ASCII)
_log = structlog.stdlib.get_logger(__name__)


def register_request_log(app: Flask) -> None:
    """Give every request an id and every answer its common headers."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    given = request.headers.get(REQUEST_ID, "")
    g.request_id = given if _SANE_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
    g.began = time.monotonic()
    structlog.contextvars.clear_contextvars()  # the thread has served others before
    structlog.contextvars.bind_contextvars(request_id=g.request_id)


def _end(response: Response) -> Response:
    response.headers[REQUEST_ID] = cast("str", g.request_id)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"
    _log.debug(
        "request",
        method=request.method,
        path=request.path,
        status=response.status_code,
        seconds=round(time.monotonic() - cast("float", g.began), 4),
    )
    return response
