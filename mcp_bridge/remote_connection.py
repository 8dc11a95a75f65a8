"""The asynchronous HTTP connection behind the remote door: thousands of waits, no thread of its own."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

import httpx2

from imagequeue.api_answers import ApiProblem, ApiUnreachable, not_served, problem
from imagequeue.api_connection import (
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    UNPROXIED,
    checked_url,
    shown_url,
    translated,
)

TIMEOUT_SECONDS: Final = 30.0
"""Longest silence of the API beyond a wait that was asked for."""
PATIENCE_SECONDS: Final = 8.0
"""How long what may be repeated goes on while the API is away or answers 503: a restart takes less, and a model
that is told so can do something else."""
_ANSWERED: Final = frozenset({"session_full", "too_many_jobs_in_flight", "too_many_jobs_per_minute"})
"""Refusals that pass, but not by asking again at once."""
_CHUNK_BYTES: Final = 1 << 18
Result = TypeVar("Result")


class RemoteConnection:
    """Requests to one API with one key. Every method raises ApiUnreachable without it, ApiProblem when it refuses.

    Args:
        http: to that API, see `connect_to`.
        api_key: sent as a bearer token.
    """

    def __init__(self, http: httpx2.AsyncClient, api_key: str | None) -> None:
        self.base_url = shown_url(http.base_url)
        self._http = http
        self._key = {"Authorization": f"Bearer {api_key}"} if api_key else dict[str, str]()

    async def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
        prefer: str | None = None,
        wait: float = 0,
    ) -> httpx2.Response:
        """Send a request; `wait` is how many seconds the API was asked to wait."""
        headers = self._key | ({} if body is None else {"Content-Type": "application/json"})
        if prefer:
            headers["Prefer"] = prefer
        content = None if body is None else await asyncio.to_thread(json.dumps, dict(body), allow_nan=False)
        timeout = httpx2.Timeout(TIMEOUT_SECONDS, read=TIMEOUT_SECONDS + wait)
        with translated(self.base_url):
            response = await self._http.request(
                method, path, params=params, content=content, headers=headers, timeout=timeout
            )
        return _checked(response)

    async def upload(self, file: Path) -> httpx2.Response:
        """Send an image file."""
        body = await asyncio.to_thread(file.read_bytes)
        with translated(self.base_url):
            files = {"file": ("image", body, "application/octet-stream")}
            response = await self._http.post("/v1/uploads", files=files, headers=self._key)
        return _checked(response)

    async def image(self, path: str) -> bytes:
        """What a path leads to, wholly."""
        with translated(self.base_url):
            response = await self._http.get(path, headers=self._key, follow_redirects=True)
        if not response.is_success:
            raise not_served(response, path)
        return response.content

    async def save(self, path: str, file: Path) -> None:
        """Write what a path leads to into a file, piece by piece."""
        with translated(self.base_url):
            async with self._http.stream("GET", path, headers=self._key, follow_redirects=True) as response:
                if not response.is_success:
                    await response.aread()
                    raise not_served(response, path)
                with file.open("wb") as written:
                    async for chunk in response.aiter_bytes(_CHUNK_BYTES):
                        await asyncio.to_thread(written.write, chunk)

    async def patiently(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """Repeat `call`, which must do no harm when it is repeated, while the API is away or answers 503."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await call()
            except (ApiUnreachable, ApiProblem) as error:
                if not error.retryable or error.code in _ANSWERED or time.monotonic() + pause > give_up:
                    raise
            await asyncio.sleep(pause * random.uniform(0.75, 1.25))
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def connect_to(base_url: str) -> httpx2.AsyncClient:
    """A client of the API at `base_url`, without `/v1`; it sends no key by itself.

    Raises:
        Misconfigured: `base_url` is not an http or https URL.
    """
    return httpx2.AsyncClient(
        base_url=checked_url(base_url),
        timeout=TIMEOUT_SECONDS,
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),  # each wait holds one
        mounts=dict.fromkeys(UNPROXIED),
    )


def _checked(response: httpx2.Response) -> httpx2.Response:
    if not response.is_success:
        raise problem(response)
    return response
