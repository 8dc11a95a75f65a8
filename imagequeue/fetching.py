"""Fetching a URL for somebody else into a file: only from public addresses, never too much, never too long.

The name is looked up once for each hop, all its addresses are judged, and the connection goes to the judged address:
there is no second look-up that could answer otherwise. TLS still checks the certificate against the name.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import httpcore2
import httpx2

from imagequeue.errors import InputFault, InvalidInput
from imagequeue.fetch_rules import IPAddress, Target, check_url, forbidden, is_public, parse_origins
from imagequeue.input_images import MAX_INPUT_BYTES
from imagequeue.settings import Settings

MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_OK: Final = 200
_CONNECT_SECONDS: Final = 5.0
"""For one address, so that a dead one leaves time for the others."""
_HEADERS: Final = (
    (b"User-Agent", b"imagequeue"),
    (b"Accept", b"image/png, image/webp, image/jpeg"),
    (b"Accept-Encoding", b"identity"),
    (b"Connection", b"close"),
)
_UPLOAD_INSTEAD: Final = "Try again later, or upload the image with POST /v1/uploads."

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


class Fetcher:
    """Fetches URLs by the rules of fetch_rules.

    Args:
        settings: for `input_origins` and `input_fetch_seconds`.
        resolver: how names are looked up.
        tls: how certificates are checked; default: against the system's authorities.
    """

    def __init__(self, settings: Settings, resolver: Resolve = resolve, tls: ssl.SSLContext | None = None) -> None:
        self._seconds = settings.input_fetch_seconds
        self._resolve = resolver
        self._tls = tls
        self.origins = parse_origins(settings.input_origins)

    def fetch(self, url: str, path: Path, field: str) -> None:
        """Write what a URL answers to `path`; redirects are followed, each judged like the first URL.

        Raises:
            InvalidInput: one of the `url_*` codes; what has come so far stays in `path`.
        """
        deadline = time.monotonic() + self._seconds
        text = url
        try:
            for _ in range(MAX_REDIRECTS + 1):
                target = check_url(text, self.origins, field)
                location = self._ask(target, path, deadline, field)
                if location is None:
                    return
                text = _joined(target.url, location, field)
        except (httpcore2.TimeoutException, TimeoutError) as error:
            problem = f"fetching the URL may take {self._seconds:g} seconds; it took longer"
            raise InvalidInput(InputFault.URL_TIMEOUT, field, problem, _UPLOAD_INSTEAD) from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError, socket.gaierror) as error:
            problem = "the URL's server does not answer as a web server does"
            raise InvalidInput(InputFault.URL_UNREACHABLE, field, problem, _UPLOAD_INSTEAD) from error
        raise forbidden(field, f"a URL may redirect {MAX_REDIRECTS} times; this does so more often")

    def _ask(self, target: Target, path: Path, deadline: float, field: str) -> str | None:
        """One request: where it redirects to, or None when the answer is in the file."""
        backend = _JudgingBackend(target, self._resolve, deadline, field)
        url = httpcore2.URL(
            scheme=target.url.raw_scheme, host=target.url.raw_host, port=target.url.port, target=target.url.raw_path
        )
        with (
            httpcore2.ConnectionPool(ssl_context=self._tls, network_backend=backend) as pool,
            pool.stream("GET", url, headers=[(b"Host", target.url.netloc), *_HEADERS]) as response,
        ):
            headers = {name.lower(): value for name, value in response.headers}
            if response.status in _REDIRECTS and b"location" in headers:
                return headers[b"location"].decode("latin-1")
            if response.status != _OK:
                problem = f"the URL must answer with status 200; it answered {response.status}"
                raise InvalidInput(InputFault.URL_BAD_STATUS, field, problem, "Check that it works without a login.")
            _save(response, headers.get(b"content-length", b"0"), path, field)
            return None


def _save(response: httpcore2.Response, announced: bytes, path: Path, field: str) -> None:
    if announced.isdigit() and int(announced) >= MAX_INPUT_BYTES:
        raise _too_large(field)
    size = 0
    with path.open("wb") as file:
        for chunk in response.iter_stream():
            size += len(chunk)
            if size >= MAX_INPUT_BYTES:
                raise _too_large(field)
            file.write(chunk)


def _too_large(field: str) -> InvalidInput:
    problem = f"an image must be smaller than {MAX_INPUT_BYTES:,} bytes; the URL has more"
    return InvalidInput(InputFault.URL_TOO_LARGE, field, problem, "Scale it down, or save it as JPEG or WebP.")


def _joined(url: httpx2.URL, location: str, field: str) -> str:
    try:
        return str(url.join(location))
    except httpx2.InvalidURL as error:
        raise forbidden(field, "the URL redirects to something that is no URL") from error


class _JudgingBackend(httpcore2.NetworkBackend):
    """Connects to judged addresses of one target, and lets no step outlast the deadline."""

    def __init__(self, target: Target, resolver: Resolve, deadline: float, field: str) -> None:
        self._target = target
        self._resolve = resolver
        self._deadline = deadline
        self._field = field
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
            raise forbidden(self._field, "the URL's host has an address that is not on the public internet")
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
