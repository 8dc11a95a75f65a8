"""The queue over HTTP, for Python programs and for the command line."""

from __future__ import annotations

import hashlib
import json
import math
import secrets
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

import httpx2

from imagequeue.api_answers import ApiProblem, ApiUnreachable, Readiness, StoredInput, not_served, parsed, problem
from imagequeue.api_connection import FIRST_PAUSE_SECONDS, ApiConnection
from imagequeue.jobs import JobState, JobType
from imagequeue.key_client import KeyClient
from imagequeue.requests import ContinueSessionRequest, EditRequest, GenerateRequest, StartSessionRequest
from imagequeue.saving import DamagedDownload, move_to_free_name, plain_name, saved_already
from imagequeue.session_views import SessionPage, SessionView
from imagequeue.views import ImageView, JobPage, JobView, image_path

__all__ = ["ApiProblem", "ApiUnreachable", "Client", "DamagedDownload", "Readiness"]

LONGEST_WAIT_SECONDS: Final = 90.0
"""The API's own limit for one waiting request."""
_UPDATE_SECONDS: Final = 1.0
"""How often a waiter who wants to see the position is told of it."""
_MARGIN_SECONDS: Final = 30.0
"""How much later than asked an answer may come before the connection counts as dead."""
_CHUNK_BYTES: Final = 1 << 20


class Client:
    """Submit, look, wait, cancel, download; edit sessions. One client serves many threads; close it when done.

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
            patience_seconds: how long `wait`, `upload` and `download` go on while the API is away or answers 503.
            transport: in place of the network.

        Raises:
            Misconfigured: `base_url` is not an http or https URL.
        """
        self._api = ApiConnection(
            base_url,
            api_key,
            timeout_seconds=timeout_seconds,
            patience_seconds=patience_seconds,
            transport=transport,
        )
        self.base_url = self._api.base_url
        self.keys = KeyClient(self._api)

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
        self._api.close()

    def submit(self, request: GenerateRequest | EditRequest | Mapping[str, object]) -> JobView:
        """Enqueue a job; returns as soon as it is stored.

        It is sent once: a request that may have been received is not repeated, because the job might be made twice.

        Raises:
            ApiUnreachable: `maybe_received` tells whether a job may exist all the same.
            ApiProblem: code `invalid_request`, with one violation for each broken rule; or an image cannot be used.
        """
        if isinstance(request, GenerateRequest | EditRequest):
            request = {"type": request.type, **request.model_dump(mode="json", exclude_unset=True)}
        return parsed(JobView, self._post("/v1/jobs", request))

    def upload(self, path: Path) -> str:
        """Send an image file; gives `upload:<sha256>`, by which requests name it.

        Raises:
            ApiProblem: it cannot be used as an input.
            OSError: it cannot be read.
        """

        def send() -> str:
            with path.open("rb") as file:
                return parsed(StoredInput, self._api.send("POST", "/v1/uploads", file=file)).image

        return self._api.patiently(send)

    def get(self, job_id: str) -> JobView:
        """Read a job."""
        return parsed(JobView, self._api.send("GET", _path("jobs", job_id)))

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
            job = self._api.patiently(lambda seconds=seconds: self._wait_once(job_id, seconds), deadline)
            if on_update:
                on_update(job)
            if job.state.terminal or time.monotonic() >= deadline:
                return job
            if time.monotonic() - asked_at < min(seconds, FIRST_PAUSE_SECONDS):
                # A server that is told to stop answers at once: do not ask it a thousand times.
                time.sleep(FIRST_PAUSE_SECONDS)

    def list(
        self,
        state: JobState | None = None,
        cursor: str | None = None,
        limit: int = 20,
        *,
        job_type: JobType | None = None,
        session_id: str | None = None,
    ) -> JobPage:
        """A page of at most `limit` (1 to 100) jobs, newest first, of one state, type or session if asked for."""
        params = _given(state=state, type=job_type, session=session_id, cursor=cursor, limit=limit)
        return parsed(JobPage, self._api.send("GET", "/v1/jobs", params=params))

    def cancel(self, job_id: str) -> JobView:
        """Cancel a queued job, or ask the worker of a running one to stop: the answer's state tells which.

        Raises:
            ApiProblem: code `job_finished`: it has ended already.
        """
        return parsed(JobView, self._api.send("POST", f"{_path('jobs', job_id)}/cancel"))

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

    def preview(self, job_id: str, image: ImageView) -> bytes:
        """The small form of an image: a WebP."""
        return self._api.patiently(lambda: self._preview_once(job_id, image))

    def start_session(self, request: StartSessionRequest | Mapping[str, object]) -> JobView:
        """Start an edit session; gives its first turn, with the `session_id`. It is sent once, as by `submit`."""
        return parsed(JobView, self._post("/v1/sessions", request))

    def add_turn(self, session_id: str, request: ContinueSessionRequest | Mapping[str, object]) -> JobView:
        """Add a turn, which runs when those before it have ended. It is sent once, as by `submit`.

        Raises:
            ApiProblem: code `session_ended`, `session_expired` or `session_full`.
        """
        return parsed(JobView, self._post(f"{_path('sessions', session_id)}/turns", request))

    def get_session(self, session_id: str) -> SessionView:
        """Read a session with all its turns."""
        return parsed(SessionView, self._api.send("GET", _path("sessions", session_id)))

    def list_sessions(self, cursor: str | None = None, limit: int = 20) -> SessionPage:
        """A page of at most `limit` (1 to 100) sessions, newest first."""
        params = _given(cursor=cursor, limit=limit)
        return parsed(SessionPage, self._api.send("GET", "/v1/sessions", params=params))

    def fork_session(self, session_id: str, turn: int | None = None) -> SessionView:
        """A new session that goes on from the image of a turn, by default the last that succeeded.

        Raises:
            ApiProblem: code `image_not_found`: that turn has no image.
        """
        return parsed(SessionView, self._post(f"{_path('sessions', session_id)}/fork", {"turn": turn}))

    def end_session(self, session_id: str) -> SessionView:
        """End a session: what waits is cancelled, a running turn finishes. Ending it again changes nothing."""
        return parsed(SessionView, self._api.send("POST", f"{_path('sessions', session_id)}/end"))

    def readiness(self) -> Readiness:
        """Whether Redis, S3 and a worker serve, as the API sees them."""
        response = self._api.answer("GET", "/readyz")
        if response.status_code not in (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE):
            raise problem(response)
        return parsed(Readiness, response)

    def _post(self, path: str, request: ContinueSessionRequest | Mapping[str, object]) -> httpx2.Response:
        if isinstance(request, ContinueSessionRequest):
            request = request.model_dump(mode="json", exclude_unset=True)
        return self._api.send("POST", path, content=json.dumps(dict(request), allow_nan=False))

    def _wait_once(self, job_id: str, seconds: int) -> JobView:
        silence = max(self._api.timeout_seconds, seconds + _MARGIN_SECONDS)
        params = {"wait": str(seconds)}
        return parsed(JobView, self._api.send("GET", _path("jobs", job_id), params=params, silence=silence))

    def _download_image(self, job_id: str, image: ImageView, folder: Path) -> Path:
        name = plain_name(image.filename) or f"{job_id}-{image.index}"
        if present := saved_already(folder / name, image):
            return present
        draft = folder / f".{name}.{secrets.token_hex(4)}.part"
        try:
            self._api.patiently(lambda: self._fetch(image_path(job_id, image.index), image, draft))
            return move_to_free_name(draft, folder / name)
        finally:
            draft.unlink(missing_ok=True)

    def _fetch(self, path: str, image: ImageView, draft: Path) -> None:
        digest = hashlib.sha256()
        with self._api.stream(path) as response:
            _check_served(response, image)
            with draft.open("wb") as file:
                for chunk in response.iter_bytes(_CHUNK_BYTES):
                    digest.update(chunk)
                    file.write(chunk)
        if digest.hexdigest() != image.sha256:
            raise DamagedDownload(f"{image.filename} arrived damaged: its sha256 is not the one that was stored.")

    def _preview_once(self, job_id: str, image: ImageView) -> bytes:
        with self._api.stream(f"{image_path(job_id, image.index)}?variant=preview") as response:
            _check_served(response, image)
            return response.read()


def _path(collection: str, record_id: str) -> str:
    # A dot segment would make the path of another resource.
    return f"/v1/{collection}/{quote(record_id, safe='').replace('.', '%2E')}"


def _given(**params: object) -> dict[str, str]:
    return {name: str(value) for name, value in params.items() if value is not None}


def _check_served(response: httpx2.Response, image: ImageView) -> None:
    if not response.is_success:
        response.read()
        raise not_served(response, image.filename)
