"""Calls as HTTP requests, and the network's errors as ours, for the sync and the async connection alike."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import BinaryIO, Final, TypeVar

import httpx2

from imagequeue.api_answers import ApiUnreachable, problem
from imagequeue.api_calls import Call
from imagequeue.errors import Misconfigured

TIMEOUT_SECONDS: Final = 30.0
PATIENCE_SECONDS: Final = 60.0
UNPROXIED: Final = ("all://127.0.0.1", "all://localhost", "all://[::1]")
"""A proxy from the environment cannot reach this machine's own servers."""
CHUNK_BYTES: Final = 1 << 20

Result = TypeVar("Result")


def key_header(api_key: str | None) -> dict[str, str]:
    """How an API key is sent."""
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


def request_of(
    http: httpx2.Client | httpx2.AsyncClient,
    call: Call[Result],
    *,
    headers: Mapping[str, str],
    timeout_seconds: float,
    file: BinaryIO | bytes | None = None,
) -> httpx2.Request:
    """The request of a call.

    Args:
        http: by whose address, cookies and defaults it is made.
        call: what is asked.
        headers: besides those of the call.
        timeout_seconds: longest silence beyond the wait that the call asks for.
        file: what is in `call.file`.
    """
    kind = call.file_type if call.body is None else "application/json"
    content = json.dumps(call.body, allow_nan=False) if call.body is not None else file if call.file_type else None
    return http.build_request(
        call.method,
        call.path,
        params=call.params,
        content=content,
        files=None if file is None or call.file_type else {"file": ("image", file, "application/octet-stream")},
        headers={**headers, **({"Content-Type": kind} if kind else {}), **call.headers},
        timeout=httpx2.Timeout(timeout_seconds, read=timeout_seconds + call.wait_seconds),
    )


def result_of(call: Call[Result], response: httpx2.Response) -> Result:
    """What the API answered.

    Raises:
        ApiProblem: it refused or failed.
    """
    if not response.is_success and response.status_code not in call.accepts:
        raise problem(response)
    return call.read(response)


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
