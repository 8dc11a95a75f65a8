"""The asynchronous HTTP connection behind the async client: thousands of waits, no thread of its own."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self, TypeVar

import httpx2

from imagequeue.api_answers import ApiProblem, ApiUnreachable, not_served
from imagequeue.api_calls import Call, nothing
from imagequeue.api_patience import Patience
from imagequeue.api_wire import (
    CHUNK_BYTES,
    PATIENCE_SECONDS,
    TIMEOUT_SECONDS,
    UNPROXIED,
    checked_url,
    key_header,
    request_of,
    result_of,
    shown_url,
    translated,
)

Result = TypeVar("Result")


class AsyncApiConnection:
    """Requests to one API. It serves many tasks of one event loop; close it when done.

    Every method raises `ApiUnreachable` when nothing answers and `ApiProblem` when the API refuses.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """Connect nothing yet; see `AsyncClient`."""
        url = checked_url(base_url)
        self.base_url = shown_url(url)
        self.timeout_seconds = timeout_seconds
        self.patience_seconds = patience_seconds
        self._headers = key_header(api_key)
        self._http = httpx2.AsyncClient(
            base_url=url,
            transport=transport,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),  # each wait holds one
            mounts=dict.fromkeys(UNPROXIED) if transport is None else None,
        )

    def with_key(self, api_key: str | None) -> Self:
        """The same connections with another key; closing either closes both."""
        other = copy.copy(self)
        other._headers = key_header(api_key)
        return other

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def do(self, call: Call[Result]) -> Result:
        """Send a call, once."""
        file = await asyncio.to_thread(call.file.read_bytes) if call.file else None
        with translated(self.base_url):
            response = await self._http.send(await self._request_of(call, file))
        return result_of(call, response)

    async def do_patiently(self, call: Call[Result], patience: Patience | None = None) -> Result:
        """Send a call, which must do no harm when it is repeated, until it is answered."""
        return await self.patiently(lambda: self.do(call), patience)

    async def submit(self, call: Call[Result]) -> Result:
        """Send a call with an Idempotency-Key; it is repeated when it may have been received."""
        return await self.do_patiently(call, Patience(self.patience_seconds, once_received=True))

    @asynccontextmanager
    async def stream(
        self, path: str, *, headers: Mapping[str, str] | None = None, silence: float | None = None
    ) -> AsyncGenerator[httpx2.Response]:
        """GET a path, following redirects; see `ApiConnection.stream`."""
        call = Call("GET", path, nothing, headers=headers or {})
        seconds = silence or self.timeout_seconds
        with translated(self.base_url):
            request = request_of(self._http, call, headers=self._headers, timeout_seconds=seconds)
            response = await self._http.send(request, stream=True, follow_redirects=True)
            try:
                yield response
            finally:
                await response.aclose()

    async def content(self, path: str, name: str) -> bytes:
        """What a path leads to; `name` is for errors."""
        async with self.stream(path) as response:
            body = await response.aread()
        if not response.is_success:
            raise not_served(response, name)
        return body

    async def save(self, path: str, name: str, file: Path) -> None:
        """Write what a path leads to into a file, piece by piece."""
        async with self.stream(path) as response:
            if not response.is_success:
                await response.aread()
                raise not_served(response, name)
            with await asyncio.to_thread(file.open, "wb") as written:
                async for chunk in response.aiter_bytes(CHUNK_BYTES):
                    await asyncio.to_thread(written.write, chunk)

    async def patiently(self, call: Callable[[], Awaitable[Result]], patience: Patience | None = None) -> Result:
        """Repeat `call`, which must do no harm when it is repeated, while the API is away or answers 503."""
        patience = patience or Patience(self.patience_seconds)
        while True:
            try:
                return await call()
            except (ApiUnreachable, ApiProblem) as error:
                pause = patience.pause_after(error)
            await asyncio.sleep(pause)

    async def _request_of(self, call: Call[Result], file: bytes | None) -> httpx2.Request:
        def build() -> httpx2.Request:
            return request_of(self._http, call, headers=self._headers, timeout_seconds=self.timeout_seconds, file=file)

        # A body may hold images of many megabytes: written elsewhere than in the loop that serves everybody.
        return build() if call.body is None else await asyncio.to_thread(build)
