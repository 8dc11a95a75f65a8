"""The queue over HTTP, for Python programs and for the command line."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from imagequeue import api_calls as calls
from imagequeue.api_answers import ApiProblem, ApiUnreachable, Readiness
from imagequeue.api_calls import AnyJobRequest, AnySessionRequest, AnyTurnRequest
from imagequeue.api_connection import ApiConnection
from imagequeue.api_events import ServerEvent, follow
from imagequeue.api_patience import LONGEST_WAIT_SECONDS, UPDATE_SECONDS, Patience, Waiting
from imagequeue.api_wire import PATIENCE_SECONDS, TIMEOUT_SECONDS
from imagequeue.batch_client import BatchClient
from imagequeue.jobs import JobState, JobType
from imagequeue.key_client import KeyClient
from imagequeue.manifest_client import ManifestClient
from imagequeue.saving import DamagedDownload, draft_of, keep, saved_already, wanted_path
from imagequeue.session_views import SessionPage, SessionView
from imagequeue.usage_reports import Grouping, UsageReport
from imagequeue.views import ImageView, JobPage, JobView, PartialImageView, image_path, partial_image_path
from imagequeue.webhook_client import WebhookClient

__all__ = ["ApiProblem", "ApiUnreachable", "Client", "DamagedDownload", "Readiness", "ServerEvent"]


class Client:
    """Submit, look, wait, cancel, download; edit sessions; webhooks. It serves many threads; close it when done.

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
        """Connect nothing yet.

        Args:
            base_url: the API's address, without `/v1`.
            api_key: sent as a bearer token.
            timeout_seconds: longest silence of the API beyond a wait that was asked for.
            patience_seconds: how long `wait`, `upload`, `download` and the like go on while the API is away or answers
                503, and a submit whose answer was lost.
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
        self.webhooks = WebhookClient(self._api)
        self.manifests = ManifestClient(self._api)
        self.batches = BatchClient(self._api)

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

    def submit(self, request: AnyJobRequest, *, idempotency_key: str | None = None) -> JobView:
        """Enqueue a job; returns as soon as it is stored.

        A request whose answer was lost is repeated for `patience_seconds`, with the same Idempotency-Key, so that one
        job is made. Where nothing listens in the first place, the error comes at once.

        Args:
            request: what is wanted.
            idempotency_key: 1 to 255 visible ASCII characters of your own, by which this very request, sent again by
                another call within 24 hours, gets the same job; by default a new one for each call.

        Raises:
            ApiUnreachable: `maybe_received` tells whether a job may exist all the same.
            ApiProblem: code `invalid_request`, with one violation for each broken rule; an image cannot be used; a
                limit of the key is reached; `idempotency_key_reused`.
        """
        return self._api.submit(calls.submit(request, calls.idempotent(idempotency_key)))

    def upload(self, path: Path) -> str:
        """Send an image file; gives `upload:<sha256>`, by which requests name it.

        Raises:
            ApiProblem: it cannot be used as an input.
            OSError: it cannot be read.
        """
        return self._api.do_patiently(calls.upload(path))

    def get(self, job_id: str) -> JobView:
        """Read a job."""
        return self._api.do(calls.get_job(job_id))

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
        waiting = Waiting(timeout_seconds, UPDATE_SECONDS if on_update else LONGEST_WAIT_SECONDS)
        while True:
            call = calls.wait_for_job(job_id, waiting.next_seconds())
            job = self._api.do_patiently(call, Patience(self._api.patience_seconds, waiting.deadline))
            if on_update:
                on_update(job)
            pause = waiting.pause()
            if job.state.terminal or pause is None:
                return job
            time.sleep(pause)

    def wait_for(
        self, job_ids: Sequence[str], timeout_seconds: float | None = None, *, any_of: bool = False
    ) -> JobPage:
        """Return 1 to 100 jobs once all have ended, or as they are after `timeout_seconds`; patient as `wait`.

        Args:
            job_ids: the jobs, in whose order they come. Those that are no jobs of yours are in `missing`, and not
                waited for.
            timeout_seconds: None waits for ever.
            any_of: return when one of them has ended.
        """
        waiting = Waiting(timeout_seconds)
        while True:
            call = calls.wait_for_jobs(job_ids, waiting.next_seconds(), any_of=any_of)
            page = self._api.do_patiently(call, Patience(self._api.patience_seconds, waiting.deadline))
            pause = waiting.pause()
            if calls.have_ended(page, any_of=any_of) or pause is None:
                return page
            time.sleep(pause)

    def events(
        self, job_id: str | None = None, *, session_id: str | None = None, last_event_id: str | None = None
    ) -> Generator[ServerEvent]:
        """Follow a job to its end, or a session, or without either everything; see docs/guides/events.md.

        Lost connections, restarts of the API and 503s are bridged for `patience_seconds` each, and no event is lost
        with them.

        Args:
            job_id: the job.
            session_id: the session, instead of a job.
            last_event_id: id of an event from an earlier call, to go on after it.
        """
        return follow(self._api, calls.events_path(job_id, session_id), last_event_id)

    def list(
        self,
        state: JobState | None = None,
        cursor: str | None = None,
        limit: int = 20,
        *,
        job_type: JobType | None = None,
        session_id: str | None = None,
        batch_id: str | None = None,
    ) -> JobPage:
        """A page of at most `limit` (1 to 100) jobs, newest first, only those that match what is given."""
        return self._api.do(calls.list_jobs(state, cursor, limit, job_type, session_id, batch_id))

    def cancel(self, job_id: str) -> JobView:
        """Cancel a queued job, or ask the worker of a running one to stop: the answer's state tells which.

        Raises:
            ApiProblem: code `job_finished`: it has ended already.
        """
        return self._api.do(calls.cancel(job_id))

    def retry(self, job_id: str, *, idempotency_key: str | None = None) -> JobView:
        """Submit the request of a job that failed or was cancelled as a new job, once, as by `submit`.

        Raises:
            ApiProblem: code `job_succeeded`, `job_running` or `job_in_session`.
        """
        return self._api.submit(calls.retry(job_id, calls.idempotent(idempotency_key)))

    def delete(self, job_id: str) -> None:
        """Delete a job that has ended, with its images; what it cost stays in `usage`.

        Raises:
            ApiProblem: code `job_running`: it has not ended; `image_in_use`: a session goes on from its image.
        """
        self._api.do(calls.delete_job(job_id))

    def usage(
        self, first_day: date | None = None, last_day: date | None = None, group: Grouping = "day"
    ) -> UsageReport:
        """What jobs that ended in these days (UTC, both included) came to; by default those of the last 30 days."""
        return self._api.do(calls.usage(first_day, last_day, group))

    def download(self, job: JobView, folder: Path) -> list[Path]:
        """Save the job's images in `folder`, which is made if it is missing.

        A file appears under its name only when it is whole and its sha256 is right. Another file of that name is
        kept, and `-1`, `-2` … added; a file that already holds the image is returned as it is.

        Raises:
            DamagedDownload: the bytes are not the ones that were stored.
            OSError: the folder cannot be written.
        """
        return [self.download_image(job.id, image, wanted_path(folder, job.id, image)) for image in job.images]

    def download_image(self, job_id: str, image: ImageView, wanted: Path) -> Path:
        """Save one image under a name of your own, or the next free one beside it; raises as `download`."""
        if present := saved_already(wanted, image):
            return present
        with draft_of(wanted) as draft:
            path = image_path(job_id, image.index)
            self._api.patiently(lambda: self._api.save(path, image.filename, draft))
            return keep(draft, wanted, image)

    def preview(self, job_id: str, image: ImageView) -> bytes:
        """The small form of an image: a JPEG, or a WebP where it is transparent."""
        path = f"{image_path(job_id, image.index)}?variant=preview"
        return self._api.patiently(lambda: self._api.content(path, image.filename))

    def partial_image(self, job_id: str, partial: PartialImageView) -> bytes:
        """A preview of a job's unfinished image, as OpenAI gave it."""
        path = partial_image_path(job_id, partial.partial_index)
        return self._api.patiently(lambda: self._api.content(path, "preview"))

    def start_session(self, request: AnySessionRequest, *, idempotency_key: str | None = None) -> JobView:
        """Start an edit session; gives its first turn, with the `session_id`. It is repeated as by `submit`."""
        return self._api.submit(calls.start_session(request, calls.idempotent(idempotency_key)))

    def add_turn(self, session_id: str, request: AnyTurnRequest, *, idempotency_key: str | None = None) -> JobView:
        """Add a turn, which runs when those before it have ended. It is repeated as by `submit`.

        Raises:
            ApiProblem: code `session_ended`, `session_expired` or `session_full`.
        """
        return self._api.submit(calls.add_turn(session_id, request, calls.idempotent(idempotency_key)))

    def get_session(self, session_id: str) -> SessionView:
        """Read a session with all its turns."""
        return self._api.do(calls.get_session(session_id))

    def list_sessions(self, cursor: str | None = None, limit: int = 20) -> SessionPage:
        """A page of at most `limit` (1 to 100) sessions, newest first."""
        return self._api.do(calls.list_sessions(cursor, limit))

    def fork_session(self, session_id: str, turn: int | None = None) -> SessionView:
        """A new session that goes on from the image of a turn, by default the last that succeeded. It is sent once.

        Raises:
            ApiProblem: code `image_not_found`: that turn has no image.
        """
        return self._api.do(calls.fork_session(session_id, turn))

    def end_session(self, session_id: str) -> SessionView:
        """End a session: what waits is cancelled, a running turn finishes. Ending it again changes nothing."""
        return self._api.do(calls.end_session(session_id))

    def delete_session(self, session_id: str) -> None:
        """Delete a session that is over, with all its turns and their images.

        Raises:
            ApiProblem: code `session_active`, `job_running` or `image_in_use`.
        """
        self._api.do(calls.delete_session(session_id))

    def readiness(self) -> Readiness:
        """Whether Redis, S3 and a worker serve, as the API sees them."""
        return self._api.do(calls.readiness())
