"""Fetching a URL for somebody else into a file: only from public addresses, never too much, never too long."""

from __future__ import annotations

import socket
import ssl
import time
from functools import partial
from pathlib import Path
from typing import Final

import httpcore2
import httpx2

from imagequeue.errors import InputFault, InvalidInput
from imagequeue.fetch_rules import Target, check_url, forbidden, parse_origins
from imagequeue.input_images import MAX_INPUT_BYTES
from imagequeue.judged_connections import JudgingBackend, Resolve, pool_url, resolve
from imagequeue.settings import Settings

MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_OK: Final = 200
_HEADERS: Final = (
    (b"User-Agent", b"imagequeue"),
    (b"Accept", b"image/png, image/webp, image/jpeg"),
    (b"Accept-Encoding", b"identity"),
    (b"Connection", b"close"),
)
_UPLOAD_INSTEAD: Final = "Try again later, or upload the image with POST /v1/uploads."


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
        backend = JudgingBackend(target, self._resolve, deadline, partial(forbidden, field))
        with (
            httpcore2.ConnectionPool(ssl_context=self._tls, network_backend=backend) as pool,
            pool.stream("GET", pool_url(target), headers=[(b"Host", target.url.netloc), *_HEADERS]) as response,
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
