"""The queue over HTTP, for programs on asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from imagequeue import api_calls as calls
from imagequeue.api_answers import ApiProblem, ApiUnreachable, Readiness
from imagequeue.api_async_connection import AsyncApiConnection
from imagequeue.api_calls import AnyJobRequest, AnySessionRequest, AnyTurnRequest
from imagequeue.api_events import ServerEvent, follow_async
from imagequeue.api_patience import LONGEST_WAIT_SECONDS, UPDATE_SECONDS, Patience, Waiting
from imagequeue.api_wire import PATIENCE_SECONDS, TIMEOUT_SECONDS
from imagequeue.batch_client import AsyncBatchClient
from imagequeue.jobs import JobState, JobType
from imagequeue.key_client import AsyncKeyClient
from imagequeue.manifest_client import AsyncManifestClient
from imagequeue.saving import DamagedDownload, draft_of, keep, saved_already, wanted_path
from imagequeue.session_views import SessionPage, SessionView
from imagequeue.usage_reports import Grouping, UsageReport
from imagequeue.views import ImageView, JobPage, JobView, PartialImageView, image_path, partial_image_path
from imagequeue.webhook_client import AsyncWebhookClient

__all__ = ["ApiProblem", "ApiUnreachable", "AsyncClient", "DamagedDownload", "Readiness", "ServerEvent"]


class AsyncClient:
    """`imagequeue.client.Client` for asyncio: the same methods, arguments and errors, to be awaited.

    It serves many tasks of one event loop; close it when done. A cancelled call is given up; a submit may have been
    received all the same, and the same `idempotency_key` finds its job.
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
        """Connect nothing yet; the arguments are those of `Client`.

        Raises:
            Misconfigured: `base_url` is not an http or https URL.
        """
        self._api = AsyncApiConnection(
            base_url,
            api_key,
            timeout_seconds=timeout_seconds,
            patience_seconds=patience_seconds,
            transport=transport,
        )
        self.base_url = self._api.base_url
        self.keys = AsyncKeyClient(self._api)
        self.webhooks = AsyncWebhookClient(self._api)
        self.manifests = AsyncManifestClient(self._api)
        self.batches = AsyncBatchClient(self._api)

    async def __aenter__(self) -> Self:
        """Return the client itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._api.aclose()

    async def submit(self, request: AnyJobRequest, *, idempotency_key: str | None = None) -> JobView:
        """Enqueue a job; returns as soon as it is stored. See `Client.submit`."""
        return await self._api.submit(calls.submit(request, calls.idempotent(idempotency_key)))

    async def upload(self, path: Path) -> str:
        """Send an image file; gives `upload:<sha256>`, by which requests name it."""
        return await self._api.do_patiently(calls.upload(path))

    async def get(self, job_id: str) -> JobView:
        """Read a job."""
        return await self._api.do(calls.get_job(job_id))

    async def wait(
        self,
        job_id: str,
        timeout_seconds: float | None = None,
        on_update: Callable[[JobView], None] | None = None,
    ) -> JobView:
        """Return the job once it has ended, or as it is after `timeout_seconds`. See `Client.wait`."""
        waiting = Waiting(timeout_seconds, UPDATE_SECONDS if on_update else LONGEST_WAIT_SECONDS)
        while True:
            call = calls.wait_for_job(job_id, waiting.next_seconds())
            job = await self._api.do_patiently(call, Patience(self._api.patience_seconds, waiting.deadline))
            if on_update:
                on_update(job)
            pause = waiting.pause()
            if job.state.terminal or pause is None:
                return job
            await asyncio.sleep(pause)

    async def wait_for(
        self, job_ids: Sequence[str], timeout_seconds: float | None = None, *, any_of: bool = False
    ) -> JobPage:
        """Return 1 to 100 jobs once all, or one of them, have ended. See `Client.wait_for`."""
        waiting = Waiting(timeout_seconds)
        while True:
            call = calls.wait_for_jobs(job_ids, waiting.next_seconds(), any_of=any_of)
            page = await self._api.do_patiently(call, Patience(self._api.patience_seconds, waiting.deadline))
            pause = waiting.pause()
            if calls.have_ended(page, any_of=any_of) or pause is None:
                return page
            await asyncio.sleep(pause)

    def events(
        self, job_id: str | None = None, *, session_id: str | None = None, last_event_id: str | None = None
    ) -> AsyncGenerator[ServerEvent]:
        """Follow a job to its end, or a session, or without either everything. See `Client.events`.

        Whoever leaves it early closes it (`contextlib.aclosing`), and its connection with it.
        """
        return follow_async(self._api, calls.events_path(job_id, session_id), last_event_id)

    async def list(
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
        return await self._api.do(calls.list_jobs(state, cursor, limit, job_type, session_id, batch_id))

    async def cancel(self, job_id: str) -> JobView:
        """Cancel a queued job, or ask the worker of a running one to stop. See `Client.cancel`."""
        return await self._api.do(calls.cancel(job_id))

    async def retry(self, job_id: str, *, idempotency_key: str | None = None) -> JobView:
        """Submit the request of a job that failed or was cancelled as a new job. See `Client.retry`."""
        return await self._api.submit(calls.retry(job_id, calls.idempotent(idempotency_key)))

    async def delete(self, job_id: str) -> None:
        """Delete a job that has ended, with its images. See `Client.delete`."""
        await self._api.do(calls.delete_job(job_id))

    async def usage(
        self, first_day: date | None = None, last_day: date | None = None, group: Grouping = "day"
    ) -> UsageReport:
        """What jobs that ended in these days (UTC, both included) came to; by default those of the last 30 days."""
        return await self._api.do(calls.usage(first_day, last_day, group))

    async def download(self, job: JobView, folder: Path) -> list[Path]:
        """Save the job's images in `folder`, whole or not at all, and over no other file. See `Client.download`."""
        wanted = [await asyncio.to_thread(wanted_path, folder, job.id, image) for image in job.images]
        return [await self.download_image(job.id, *each) for each in zip(job.images, wanted, strict=True)]

    async def download_image(self, job_id: str, image: ImageView, wanted: Path) -> Path:
        """See `Client.download_image`."""
        if present := await asyncio.to_thread(saved_already, wanted, image):
            return present
        with draft_of(wanted) as draft:
            path = image_path(job_id, image.index)
            await self._api.patiently(lambda: self._api.save(path, image.filename, draft))
            return await asyncio.to_thread(keep, draft, wanted, image)

    async def preview(self, job_id: str, image: ImageView) -> bytes:
        """The small form of an image: a JPEG, or a WebP where it is transparent."""
        path = f"{image_path(job_id, image.index)}?variant=preview"
        return await self._api.patiently(lambda: self._api.content(path, image.filename))

    async def partial_image(self, job_id: str, partial: PartialImageView) -> bytes:
        """A preview of a job's unfinished image, as OpenAI gave it."""
        path = partial_image_path(job_id, partial.partial_index)
        return await self._api.patiently(lambda: self._api.content(path, "preview"))

    async def start_session(self, request: AnySessionRequest, *, idempotency_key: str | None = None) -> JobView:
        """Start an edit session; gives its first turn, with the `session_id`. It is repeated as by `submit`."""
        return await self._api.submit(calls.start_session(request, calls.idempotent(idempotency_key)))

    async def add_turn(
        self, session_id: str, request: AnyTurnRequest, *, idempotency_key: str | None = None
    ) -> JobView:
        """Add a turn, which runs when those before it have ended. See `Client.add_turn`."""
        return await self._api.submit(calls.add_turn(session_id, request, calls.idempotent(idempotency_key)))

    async def get_session(self, session_id: str) -> SessionView:
        """Read a session with all its turns."""
        return await self._api.do(calls.get_session(session_id))

    async def list_sessions(self, cursor: str | None = None, limit: int = 20) -> SessionPage:
        """A page of at most `limit` (1 to 100) sessions, newest first."""
        return await self._api.do(calls.list_sessions(cursor, limit))

    async def fork_session(self, session_id: str, turn: int | None = None) -> SessionView:
        """A new session that goes on from the image of a turn. See `Client.fork_session`."""
        return await self._api.do(calls.fork_session(session_id, turn))

    async def end_session(self, session_id: str) -> SessionView:
        """End a session: what waits is cancelled, a running turn finishes. Ending it again changes nothing."""
        return await self._api.do(calls.end_session(session_id))

    async def delete_session(self, session_id: str) -> None:
        """Delete a session that is over, with all its turns and their images. See `Client.delete_session`."""
        await self._api.do(calls.delete_session(session_id))

    async def readiness(self) -> Readiness:
        """Whether Redis, S3 and a worker serve, as the API sees them."""
        return await self._api.do(calls.readiness())
