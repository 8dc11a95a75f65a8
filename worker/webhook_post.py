"""One POST to a webhook's receiver: only to where it may lead, and never for longer than the deadline."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

import httpcore2

from imagequeue.errors import InvalidRequest
from imagequeue.fetch_rules import parse_origins
from imagequeue.judged_connections import JudgingBackend, Resolve, pool_url, resolve
from imagequeue.settings import Settings
from imagequeue.webhook_rules import refusal, webhook_target

_HEADERS: Final = ((b"User-Agent", b"imagequeue"), (b"Content-Type", b"application/json"), (b"Connection", b"close"))
_MOST_READ: Final = 16_384
"""Bytes of an answer's body. They mean nothing here; a receiver that is still writing would see a broken connection."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `status` is None when nothing did; `error` is None after a status of 200 to 299."""

    status: int | None
    error: str | None
    ms: int
    retry_after_seconds: float | None = None


class Poster:
    """Posts by the rules of webhook_rules.

    Args:
        settings: for `webhook_origins` and `webhook_timeout_seconds`.
        resolver: how names are looked up.
        tls: how certificates are checked; default: against the system's authorities.
    """

    def __init__(self, settings: Settings, resolver: Resolve = resolve, tls: ssl.SSLContext | None = None) -> None:
        self._origins = parse_origins(settings.webhook_origins)
        self.seconds = settings.webhook_timeout_seconds
        self._resolve = resolver
        self._tls = tls

    def post(self, url: str, headers: Mapping[str, str], body: str) -> Answer:
        """Send one request and read its answer. Redirects are not followed: the URL is to be corrected instead."""
        began = time.monotonic()
        status, retry_after = None, None
        try:
            status, retry_after = self._ask(url, headers, body.encode(), began + self.seconds)
            error = None if 200 <= status <= 299 else f"answered {status}"
        except InvalidRequest as refused:
            error = f"never sent: {refused.violations[0].rule}"
        except (httpcore2.TimeoutException, TimeoutError):
            error = f"no answer within {self.seconds:g} seconds"
        except (httpcore2.NetworkError, httpcore2.ProtocolError, socket.gaierror, OSError) as failed:
            error = f"no connection, or no answer as a web server gives: {failed}"
        return Answer(status, error, int(1000 * (time.monotonic() - began)), retry_after)

    def _ask(self, url: str, headers: Mapping[str, str], body: bytes, deadline: float) -> tuple[int, float | None]:
        target = webhook_target(url, self._origins, "url")
        backend = JudgingBackend(target, self._resolve, deadline, refusal(url, "url"))
        named = [(name.encode(), value.encode()) for name, value in headers.items()]
        length = (b"Content-Length", str(len(body)).encode())
        with (
            httpcore2.ConnectionPool(ssl_context=self._tls, network_backend=backend) as pool,
            pool.stream(
                "POST",
                pool_url(target),
                headers=[(b"Host", target.url.netloc), *_HEADERS, length, *named],
                content=body,
            ) as response,
        ):
            asked = next((value for name, value in response.headers if name.lower() == b"retry-after"), b"")
            left = _MOST_READ
            for chunk in response.iter_stream():
                left -= len(chunk)
                if left <= 0:
                    break
            return response.status, _seconds(asked.decode("latin-1"))


def _seconds(retry_after: str) -> float | None:
    """Seconds from Retry-After, which may be a date; None for nonsense."""
    if retry_after.isdigit():
        return float(retry_after[:10])
    try:
        return max(parsedate_to_datetime(retry_after).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return None
