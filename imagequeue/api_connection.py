"""The HTTP connection behind the client: errors translated, and patience where a request may be repeated."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import BinaryIO, Final, Self, TypeVar

import httpx2

from imagequeue.api_answers import ApiProblem, ApiUnreachable, problem
from imagequeue.errors import Misconfigured

FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 5.0
UNPROXIED: Final = ("all://127.0.0.1", "all://localhost", "all://[::1]")
"""A proxy from the environment cannot reach this machine's own servers."""

Result = TypeVar("Result")


class ApiConnection:
    """Requests to one API. It serves many threads; close it when done.

    Every method raises `ApiUnreachable` when nothing answers.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        timeout_seconds: float = 30.0,
        patience_seconds: float = 60.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """Connect nothing yet.

        Args:
            base_url: the API's address, without `/v1`.
            api_key: sent as a bearer token.
            timeout_seconds: longest silence of the API beyond a wait that was asked for.
            patience_seconds: how long what may be repeated goes on while the API is away or answers 503.
            transport: in place of the network.

        Raises:
            Misconfigured: `base_url` is not an http or https URL.
        """
        url = checked_url(base_url)
        self.base_url = shown_url(url)
        self.timeout_seconds = timeout_seconds
        self._patience_seconds = patience_seconds
        self._http = httpx2.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
            timeout=timeout_seconds,
            transport=transport,
            mounts=dict.fromkeys(UNPROXIED) if transport is None else None,
        )

    def __enter__(self) -> Self:
        """Return the connection itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: str | None = None,
        file: BinaryIO | None = None,
        silence: float | None = None,
    ) -> httpx2.Response:
        """Send a request and return the answer if it is a success.

        Args:
            method: of HTTP.
            path: from the API's address on.
            params: of the query.
            content: a JSON body.
            file: a form's file in place of a JSON body; its name and type stay untold.
            silence: seconds without a byte until the connection counts as dead; by default the client's timeout.

        Raises:
            ApiProblem: the API refused or failed.
        """
        response = self.answer(method, path, params=params, content=content, file=file, silence=silence)
        if not response.is_success:
            raise problem(response)
        return response

    def answer(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: str | None = None,
        file: BinaryIO | None = None,
        silence: float | None = None,
    ) -> httpx2.Response:
        """Like `send`, but whatever the answer is."""
        timeout = httpx2.Timeout(self.timeout_seconds, read=silence or self.timeout_seconds)
        headers = None if content is None else {"Content-Type": "application/json"}
        files = None if file is None else {"file": ("image", file, "application/octet-stream")}
        with translated(self.base_url):
            return self._http.request(
                method, path, params=params, content=content, files=files, headers=headers, timeout=timeout
            )

    @contextmanager
    def stream(self, path: str) -> Generator[httpx2.Response]:
        """GET a path, following redirects; the answer's body is read within the block."""
        with translated(self.base_url), self._http.stream("GET", path, follow_redirects=True) as response:
            yield response

    def patiently(self, call: Callable[[], Result], deadline: float = math.inf) -> Result:
        """Repeat `call`, which must do no harm when it is repeated, while the API is away or answers 503."""
        give_up = min(deadline, time.monotonic() + self._patience_seconds)
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return call()
            except (ApiUnreachable, ApiProblem) as error:
                if not error.retryable or time.monotonic() + pause > give_up:
                    raise
            time.sleep(pause * random.uniform(0.75, 1.25))
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


@contextmanager
def translated(base_url: str) -> Generator[None]:
    """The network's errors as ours; `base_url` is the API's address for people.

    Raises:
        ApiUnreachable: nothing answers, or no whole answer came.
    """
    try:
        yield
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
        message = (
            f"No imagequeue API answers at {base_url} ({error}). Start one on this machine with "
            "`imagequeue up`, or set IMAGEQUEUE_API_URL to the address of one that runs."
        )
        raise ApiUnreachable(message, maybe_received=False) from error
    except httpx2.TransportError as error:
        message = f"The API at {base_url} did not answer to the end ({type(error).__name__}: {error})."
        raise ApiUnreachable(message, maybe_received=True) from error


def shown_url(url: httpx2.URL) -> str:
    """An API's address for people: without a password."""
    return str(url.copy_with(userinfo=b"")).rstrip("/")


def checked_url(base_url: str) -> httpx2.URL:
    """Read an API's address.

    Raises:
        Misconfigured: it is not an http or https URL.
    """
    try:
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL as error:
        raise Misconfigured(f"The API's address is not a URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise Misconfigured(f"The API's address must look like http://127.0.0.1:8080, not {base_url!r}.")
    return url
