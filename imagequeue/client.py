"""The queue over HTTP, for Python programs and for the command line."""

from __future__ import annotations

import hashlib
import json
import math
import random
import secrets
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import quote

import httpx2

from imagequeue.api_answers import ApiProblem, ApiUnreachable, Readiness, parsed, problem
from imagequeue.errors import Misconfigured
from imagequeue.jobs import JobState
from imagequeue.requests import GenerateRequest
from imagequeue.saving import DamagedDownload, move_to_free_name, plain_name, saved_already
from imagequeue.views import ImageView, JobPage, JobView, image_path

__all__ = ["ApiProblem", "ApiUnreachable", "Client", "DamagedDownload", "Readiness"]

LONGEST_WAIT_SECONDS: Final = 90.0
"""The API's own limit for one waiting request."""
_UPDATE_SECONDS: Final = 1.0
"""How often a waiter who wants to see the position is told of it."""
_MARGIN_SECONDS: Final = 30.0
"""How much later than asked an answer may come before the connection counts as dead."""
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 5.0
_CHUNK_BYTES: Final = 1 << 20
UNPROXIED: Final = ("all://127.0.0.1", "all://localhost", "all://[::1]")
"""A proxy from the environment cannot reach this machine's own servers."""

Result = TypeVar("Result")


class Client:
    """Submit, look, wait, cancel, download. One client serves many threads; close it when done.

    Every method raises `ApiUnreachable` when nothing answers and `ApiProblem` when the API refuses.
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
            patience_seconds: how long `wait` and `download` go on while the API is away or answers 503.
            transport: in place of the network.

        Raises:
            Misconfigured: `base_url` is not an http or https URL.
        """
        url = _checked_url(base_url)
        self.base_url = str(url.copy_with(userinfo=b"")).rstrip("/")  # for people: without a password
        self._timeout_seconds = timeout_seconds
        self._patience_seconds = patience_seconds
        self._http = httpx2.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
            timeout=timeout_seconds,
            transport=transport,
            mounts=dict.fromkeys(UNPROXIED) if transport is None else None,
        )

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(self, request: GenerateRequest | Mapping[str, object]) -> JobView:
        """Enqueue a job; returns as soon as it is stored.

        It is sent once: a request that may have been received is not repeated, because the job might be made twice.

        Raises:
            ApiUnreachable: `maybe_received` tells whether a job may exist all the same.
            ApiProblem: code `invalid_request`, with one violation for each broken rule.
        """
        if isinstance(request, GenerateRequest):
            request = {"type": request.type, **request.model_dump(mode="json", exclude_unset=True)}
        body = json.dumps(dict(request), allow_nan=False)
        return parsed(JobView, self._send("POST", "/v1/jobs", content=body))

    def get(self, job_id: str) -> JobView:
        """Read a job."""
        return parsed(JobView, self._send("GET", _job_path(job_id)))

    def wait(
        self,
        job_id: str,
        timeout_seconds: float | None = None,
        on_update: Callable[[JobView], None] | None = None,
    ) -> JobView:
        """Return the job once it has ended, or as it is after `timeout_seconds`.

        Restarts of the API and 503s are waited out for `patience_seconds` each.

        Args:
            job_id: the job.
            timeout_seconds: None waits for ever.
            on_update: called with the job about every second, and once more with its end.
        """
        deadline = math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds
        longest = _UPDATE_SECONDS if on_update else LONGEST_WAIT_SECONDS
        while True:
            asked_at = time.monotonic()
            seconds = max(0, math.ceil(min(longest, deadline - asked_at)))
            job = self._patiently(lambda seconds=seconds: self._wait_once(job_id, seconds), deadline)
            if on_update:
                on_update(job)
            if job.state.terminal or time.monotonic() >= deadline:
                return job
            if time.monotonic() - asked_at < min(seconds, _FIRST_PAUSE_SECONDS):
                # A server that is told to stop answers at once: do not ask it a thousand times.
                time.sleep(_FIRST_PAUSE_SECONDS)

    def list(self, state: JobState | None = None, cursor: str | None = None, limit: int = 20) -> JobPage:
        """A page of at most `limit` (1 to 100) jobs, newest first."""
        chosen = {"state": state, "cursor": cursor, "limit": limit}
        params = {name: str(value) for name, value in chosen.items() if value is not None}
        return parsed(JobPage, self._send("GET", "/v1/jobs", params=params))

    def cancel(self, job_id: str) -> JobView:
        """Cancel a queued job, or ask the worker of a running one to stop: the answer's state tells which.

        Raises:
            ApiProblem: code `job_finished`: it has ended already.
        """
        return parsed(JobView, self._send("POST", f"{_job_path(job_id)}/cancel"))

    def download(self, job: JobView, folder: Path) -> list[Path]:
        """Save the job's images in `folder`, which is made if it is missing.

        A file appears under its name only when it is whole and its sha256 is right. Another file of that name is
        kept, and `-1`, `-2` … added; a file that already holds the image is returned as it is.

        Raises:
            DamagedDownload: the bytes are not the ones that were stored.
            OSError: the folder cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        return [self._download_image(job.id, image, folder) for image in job.images]

    def readiness(self) -> Readiness:
        """Whether Redis, S3 and a worker serve, as the API sees them."""
        response = self._answer("GET", "/readyz")
        if response.status_code not in (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE):
            raise problem(response)
        return parsed(Readiness, response)

    def _wait_once(self, job_id: str, seconds: int) -> JobView:
        silence = max(self._timeout_seconds, seconds + _MARGIN_SECONDS)
        return parsed(JobView, self._send("GET", _job_path(job_id), params={"wait": str(seconds)}, silence=silence))

    def _download_image(self, job_id: str, image: ImageView, folder: Path) -> Path:
        name = plain_name(image.filename) or f"{job_id}-{image.index}"
        if present := saved_already(folder / name, image):
            return present
        draft = folder / f".{name}.{secrets.token_hex(4)}.part"
        try:
            self._patiently(lambda: self._fetch(image_path(job_id, image.index), image, draft))
            return move_to_free_name(draft, folder / name)
        finally:
            draft.unlink(missing_ok=True)

    def _fetch(self, path: str, image: ImageView, draft: Path) -> None:
        digest = hashlib.sha256()
        with self._translated(), self._http.stream("GET", path, follow_redirects=True) as response:
            if not response.is_success:
                response.read()
                raise _not_served(response, image) if response.history else problem(response)
            with draft.open("wb") as file:
                for chunk in response.iter_bytes(_CHUNK_BYTES):
                    digest.update(chunk)
                    file.write(chunk)
        if digest.hexdigest() != image.sha256:
            raise DamagedDownload(f"{image.filename} arrived damaged: its sha256 is not the one that was stored.")

    def _patiently(self, call: Callable[[], Result], deadline: float = math.inf) -> Result:
        """Repeat what only reads while the API is away."""
        give_up = min(deadline, time.monotonic() + self._patience_seconds)
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return call()
            except (ApiUnreachable, ApiProblem) as error:
                if not error.retryable or time.monotonic() + pause > give_up:
                    raise
            time.sleep(pause * random.uniform(0.75, 1.25))
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: str | None = None,
        silence: float | None = None,
    ) -> httpx2.Response:
        response = self._answer(method, path, params=params, content=content, silence=silence)
        if not response.is_success:
            raise problem(response)
        return response

    def _answer(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: str | None = None,
        silence: float | None = None,
    ) -> httpx2.Response:
        timeout = httpx2.Timeout(self._timeout_seconds, read=silence or self._timeout_seconds)
        headers = None if content is None else {"Content-Type": "application/json"}
        with self._translated():
            return self._http.request(method, path, params=params, content=content, headers=headers, timeout=timeout)

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            message = (
                f"No imagequeue API answers at {self.base_url} ({error}). Start one on this machine with "
                "`imagequeue up`, or set IMAGEQUEUE_API_URL to the address of one that runs."
            )
            raise ApiUnreachable(message, maybe_received=False) from error
        except httpx2.TransportError as error:
            message = f"The API at {self.base_url} did not answer to the end ({type(error).__name__}: {error})."
            raise ApiUnreachable(message, maybe_received=True) from error


def _checked_url(base_url: str) -> httpx2.URL:
    try:
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL as error:
        raise Misconfigured(f"The API's address is not a URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise Misconfigured(f"The API's address must look like http://127.0.0.1:8080, not {base_url!r}.")
    return url


def _job_path(job_id: str) -> str:
    # A dot segment would make the path of another resource.
    return f"/v1/jobs/{quote(job_id, safe='').replace('.', '%2E')}"


def _not_served(response: httpx2.Response, image: ImageView) -> ApiProblem:
    detail = f"The storage at {response.url.host} answered {response.status_code} for {image.filename}."
    return ApiProblem(response.status_code, "image_not_served", detail)
