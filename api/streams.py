"""Answers that are made while they are sent."""

from __future__ import annotations

import socket
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from flask import Response, request

from imagequeue.errors import Unavailable

STALLED_SECONDS: Final = 30.0
"""How long a client may take nothing of what it is sent before it is cut off: it holds a thread."""
_log = structlog.stdlib.get_logger(__name__)


def the_connection() -> object:
    """The socket of the current request, if the server tells."""
    return request.environ.get("gunicorn.socket")


@contextmanager
def cut_off_if_stalled(connection: object) -> Generator[None]:
    """Within the block, sending fails once the client has taken nothing for a while."""
    if isinstance(connection, socket.socket):
        connection.settimeout(STALLED_SECONDS)
    try:
        yield
    finally:
        if isinstance(connection, socket.socket) and connection.fileno() >= 0:
            connection.settimeout(None)


def stream_answer(pieces: Iterator[bytes], mimetype: str) -> Response:
    """What `pieces` give. When they fail, the connection breaks: no client takes a part for the whole."""
    response = Response(_sent(pieces, the_connection()), mimetype=mimetype)
    response.headers["X-Accel-Buffering"] = "no"  # nginx would write it to its disk first
    return response


def _sent(pieces: Iterator[bytes], connection: object) -> Generator[bytes]:
    with cut_off_if_stalled(connection):
        try:
            yield from pieces
        except Unavailable as error:
            _log.warning("stream_interrupted", error=str(error))
            raise
