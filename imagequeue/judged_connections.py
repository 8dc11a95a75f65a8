"""Connections to whatever URL somebody else names: only to public addresses, and never for too long.

The name is looked up once for each connection, all its addresses are judged, and the connection goes to a judged
address: there is no second look-up that could answer otherwise. TLS still checks the certificate against the name.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import httpcore2

from imagequeue.fetch_rules import IPAddress, Refuse, Target, is_public

_CONNECT_SECONDS: Final = 5.0
"""For one address, so that a dead one leaves time for the others."""

Resolve = Callable[[str, int], list[IPAddress]]
"""From host and port to addresses; raises socket.gaierror."""


def resolve(host: str, port: int) -> list[IPAddress]:
    """Ask the system for all addresses of a host.

    Raises:
        socket.gaierror: it has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # A scope (`%eth0`) belongs to link-local addresses, which are judged without it.
    return [ipaddress.ip_address(str(address[0]).partition("%")[0]) for *_, address in found]


def pool_url(target: Target) -> httpcore2.URL:
    """The target's URL as httpcore2 takes it."""
    url = target.url
    return httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


class JudgingBackend(httpcore2.NetworkBackend):
    """Connects to judged addresses of one target, and lets no step outlast the deadline."""

    def __init__(self, target: Target, resolver: Resolve, deadline: float, refuse: Refuse) -> None:
        self._target = target
        self._resolve = resolver
        self._deadline = deadline
        self._refuse = refuse
        self._sockets = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """Called by the pool: connect to the first of the target's addresses that answers."""
        failure: Exception = socket.gaierror("the name has no address")
        for address in self._judged_addresses():
            seconds = min(_left(self._deadline), _CONNECT_SECONDS)
            try:
                stream = self._sockets.connect_tcp(str(address), self._target.port, seconds)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return _TimedStream(stream, self._deadline)
        raise failure

    def _judged_addresses(self) -> list[IPAddress]:
        target = self._target
        addresses = _within(_left(self._deadline), lambda: self._resolve(target.host, target.port))
        # One private address among public ones is how a name is made to lead inside by chance: refuse them all.
        if not target.trusted and not all(is_public(address) for address in addresses):
            raise self._refuse("the URL's host has an address that is not on the public internet")
        return addresses


class _TimedStream(httpcore2.NetworkStream):
    """A connection whose every step ends by the deadline: a server that sends byte by byte gains no time."""

    def __init__(self, stream: httpcore2.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Called by the pool."""
        return self._stream.read(max_bytes, _left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Called by the pool."""
        self._stream.write(buffer, _left(self._deadline))

    def close(self) -> None:
        """Called by the pool."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        """Called by the pool, with the URL's host: certificates are checked against the name."""
        stream = self._stream.start_tls(ssl_context, server_hostname, _left(self._deadline))
        return _TimedStream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """Called by the pool."""
        return self._stream.get_extra_info(info)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline has passed")
    return left


def _within(seconds: float, look_up: Callable[[], list[IPAddress]]) -> list[IPAddress]:
    """The system's resolver cannot be told a deadline: it is left behind in its thread when it takes longer."""
    answers: queue.SimpleQueue[list[IPAddress] | socket.gaierror] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(look_up())
        except socket.gaierror as error:
            answers.put(error)
        except UnicodeError as error:  # a name that the resolver cannot spell
            answers.put(socket.gaierror(str(error)))

    threading.Thread(target=run, name="resolver", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty as error:
        raise TimeoutError("the name was not looked up in time") from error
    if isinstance(answer, socket.gaierror):
        raise answer
    return answer
