"""Free TCP ports on the loopback address."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection

HOST = "127.0.0.1"

# Below the range that Linux (32768) and macOS (49152) take outgoing ports from, so that a remembered port is
# not lent to somebody's connection while the stack is stopped.
_CANDIDATES = range(20_000, 32_000)


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of the loopback address now."""
    if not 1 <= port <= 65_535:
        return False
    with socket.socket() as probe:
        # As servers do: without it, connections of the last run that linger in TIME_WAIT make the port look taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def choose_port(*preferred: int | None, avoid: Collection[int | None] = ()) -> int:
    """Return the first of `preferred` that is free, else any free port, but none of `avoid`.

    Raises:
        OSError: when 1,000 random ports were all taken.
    """
    wanted = [port for port in preferred if port is not None]
    for port in [*wanted, *random.sample(_CANDIDATES, 1_000)]:
        if port not in avoid and is_free(port):
            return port
    raise OSError("no free port on the loopback address")
