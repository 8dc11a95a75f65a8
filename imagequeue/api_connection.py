"""The HTTP connection behind the client: sends calls, and is patient where one may be repeated."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

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


class ApiConnection:
    """Requests to one API. It serves many threads; close it when done.

    Every method raises `ApiUnreachable` when nothing answers and `ApiProblem` when the API refuses.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """Connect nothing yet; see `Client`."""
        url = checked_url(base_url)
        self.base_url = shown_url(url)
        self.timeout_seconds = timeout_seconds
        self.patience_seconds = patience_seconds
        self._headers = key_header(api_key)
        self._http = httpx2.Client(
            base_url=url, transport=transport, mounts=dict.fromkeys(UNPROXIED) if transport is None else None
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def do(self, call: Call[Result]) -> Result:
        """Send a call, once."""
        with call.file.open("rb") if call.file else nullcontext() as file, translated(self.base_url):
            request = request_of(
                self._http, call, headers=self._headers, timeout_seconds=self.timeout_seconds, file=file
            )
            response = self._http.send(request)
        return result_of(call, response)

    def do_patiently(self, call: Call[Result], patience: Patience | None = None) -> Result:
        """Send a call, which must do no harm when it is repeated, until it is answered."""
        return self.patiently(lambda: self.do(call), patience)

    def submit(self, call: Call[Result]) -> Result:
        """Send a call with an Idempotency-Key; it is repeated when it may have been received."""
        return self.do_patiently(call, Patience(self.patience_seconds, once_received=True))

    @contextmanager
    def stream(
        self, path: str, *, headers: Mapping[str, str] | None = None, silence: float | None = None
    ) -> Generator[httpx2.Response]:
        """GET a path, following redirects; the answer's body is read within the block.

        Args:
            path: from the API's address on.
            headers: besides the key.
            silence: seconds without a byte until the connection counts as dead; by default the client's timeout.
        """
        call = Call("GET", path, nothing, headers=headers or {})
        seconds = silence or self.timeout_seconds
        with translated(self.base_url):
            request = request_of(self._http, call, headers=self._headers, timeout_seconds=seconds)
            response = self._http.send(request, stream=True, follow_redirects=True)
            try:
                yield response
            finally:
                response.close()

    def content(self, path: str, name: str) -> bytes:
        """What a path leads to; `name` is for errors."""
        with self.stream(path) as response:
            body = response.read()
        if not response.is_success:
            raise not_served(response, name)
        return body

    def save(self, path: str, name: str, file: Path) -> None:
        """Write what a path leads to into a file, piece by piece."""
        with self.stream(path) as response:
            if not response.is_success:
                response.read()
                raise not_served(response, name)
            with file.open("wb") as written:
                for chunk in response.iter_bytes(CHUNK_BYTES):
                    written.write(chunk)

    def patiently(self, call: Callable[[], Result], patience: Patience | None = None) -> Result:
        """Repeat `call`, which must do no harm when it is repeated, while the API is away or answers 503."""
        patience = patience or Patience(self.patience_seconds)
        while True:
            try:
                return call()
            except (ApiUnreachable, ApiProblem) as error:
                pause = patience.pause_after(error)
            time.sleep(pause)
