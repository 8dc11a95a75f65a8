"""ImageQueue: the one door to the queue, for the API, the MCP bridge and the command line."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from imagequeue.api_keys import LOCAL_OWNER
from imagequeue.errors import ImageNotFound, ImageQueueError, JobNotFound
from imagequeue.inputs import InputStore
from imagequeue.jobs import Image, Job, JobState, JobType, Lane, NewJob, is_job_id
from imagequeue.key_service import KeyService
from imagequeue.objects import ObjectStore
from imagequeue.queue import Dispatcher, make_celery
from imagequeue.requests import EditRequest, JobRequest
from imagequeue.session_service import SessionService
from imagequeue.settings import Settings
from imagequeue.sources import Sources
from imagequeue.store.api_keys import KeyStore
from imagequeue.store.connection import RedisClient, connect, refuse_eviction
from imagequeue.store.deliveries import DeliveryStore
from imagequeue.store.fleet import FleetStore
from imagequeue.store.job_search import JobFilter, newest_job_ids
from imagequeue.store.jobs import JobStore
from imagequeue.store.keys import Keys
from imagequeue.store.limiter import LimiterStore
from imagequeue.store.sessions import SessionStore
from imagequeue.submission import LOCAL_TERMS, Submission, Submitted, Terms
from imagequeue.views import JobPage, JobView, job_view
from imagequeue.waiting import ChangeReader, Listener

PREVIEW_MIME_TYPE: Final = "image/webp"
_REREAD_SECONDS: Final = 5.0
"""A waiter looks at the record this often even if nothing wakes it: a net, not the mechanism."""
_PROBE_POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class PartHealth:
    """Whether one part serves, and what to do when it does not."""

    ok: bool
    detail: str


class ImageQueue:
    """Submit, look, wait, cancel, fetch. Built by `open_queue`; close it when done."""

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        fleet: FleetStore,
        limiter: LimiterStore,
        objects: ObjectStore,
        dispatcher: Dispatcher,
        changes: ChangeReader,
        inputs: InputStore,
        sources: Sources,
        sessions: SessionService,
        submission: Submission,
        keys: KeyService,
        connections: Sequence[RedisClient],
    ) -> None:
        self._settings = settings
        self._store = store
        self._fleet = fleet
        self._limiter = limiter
        self._objects = objects
        self._dispatcher = dispatcher
        self._changes = changes
        self._sources = sources
        self.inputs = inputs
        self.sessions = sessions
        self._submission = submission
        self.keys = keys
        self._connections = connections
        self._stopping = False

    def submit(self, request: JobRequest, terms: Terms = LOCAL_TERMS, lane: Lane = "interactive") -> Submitted:
        """Store a validated request as a queued job and tell the workers.

        Raises:
            InvalidInput: an image cannot be used.
            IdempotencyKeyReused, LimitReached: see Submission.submit.
            StoreUnavailable: nothing was stored, or the answer was lost; nothing is spent before a worker has it.
        """
        return self._submission.submit(terms, lambda: (self._new_job(request, terms, lane), None))

    def handed_over(self, job_id: str, *, owner: str = LOCAL_OWNER) -> None:
        """Note that a job's result has reached whoever asked for it: the same call from now on is a new one.

        Raises:
            JobNotFound: there is none, or it belongs to somebody else.
        """
        self._submission.handed_over(self.get(job_id, owner=owner))

    def get(self, job_id: str, *, owner: str = LOCAL_OWNER) -> Job:
        """Read a job.

        Raises:
            JobNotFound: there is none, or it belongs to somebody else.
        """
        # Anything else could name another record's key.
        job = self._store.get(job_id) if is_job_id(job_id) else None
        if job is None or job.owner != owner:
            raise JobNotFound(job_id)
        return job

    def view(self, job: Job) -> JobView:
        """The job as clients see it, with its place in the queue."""
        return self._views([job])[0]

    def look(self, job_ids: Sequence[str], *, owner: str = LOCAL_OWNER) -> tuple[JobView, ...]:
        """Those of the jobs that the owner has, in the order of the ids: three round trips to Redis for them all."""
        jobs = self._store.get_many([job_id for job_id in job_ids if is_job_id(job_id)])
        return self._views([job for job in jobs if job.owner == owner])

    def wait(self, job_id: str, seconds: float, *, owner: str = LOCAL_OWNER) -> Job:
        """Return the job once it has ended, or as it is after `seconds` (the setting caps them) or `stop_waiting`."""
        job = self.get(job_id, owner=owner)
        if job.state.terminal or seconds <= 0:
            return job
        deadline = time.monotonic() + min(seconds, self._settings.max_wait_seconds)
        changed = threading.Event()
        with self._changes.listening(job_id, lambda _job_id, _event: changed.set()):
            while True:
                changed.clear()
                job = self.get(job_id, owner=owner)
                remaining = deadline - time.monotonic()
                if job.state.terminal or remaining <= 0 or self._stopping:
                    return job
                changed.wait(min(remaining, _REREAD_SECONDS))

    def listening(self, job_id: str, listener: Listener) -> AbstractContextManager[None]:
        """Call `listener` at every change of the job while the block runs; register first, read the job afterwards."""
        return self._changes.listening(job_id, listener)

    def stop_waiting(self) -> None:
        """Let every `wait`, now and from now on, return the job as it is: the process is to end."""
        self._stopping = True
        self._changes.wake_all()

    def list(
        self,
        *,
        state: JobState | None = None,
        job_type: JobType | None = None,
        session_id: str | None = None,
        cursor: str | None = None,
        limit: int,
        owner: str = LOCAL_OWNER,
    ) -> JobPage:
        """A page of the owner's jobs, newest first, of one state, type or session if asked for.

        Raises:
            SessionNotFound: no such session, or it belongs to somebody else.
        """
        among = None if session_id is None else self.sessions.turn_job_ids(session_id, owner=owner)
        wanted = JobFilter(owner, state, job_type, among)
        ids = list(islice(newest_job_ids(self._store, wanted, cursor, limit + 1), limit + 1))
        jobs = self._views(self._store.get_many(ids[:limit]))
        return JobPage(jobs=jobs, next_cursor=ids[limit - 1] if len(ids) > limit else None)

    def cancel(self, job_id: str, *, owner: str = LOCAL_OWNER) -> Job:
        """Cancel a queued job at once, or ask for a running one; the answer's state tells which.

        Raises:
            JobFinished: it has ended already.
        """
        ending = self._store.cancel(self.get(job_id, owner=owner))
        if ending.next_job_id:
            self._dispatcher.dispatch(ending.next_job_id, "interactive")
        return self._store.get(job_id)

    def image_url(
        self, job_id: str, index: int, variant: Literal["original", "preview"], *, owner: str = LOCAL_OWNER
    ) -> str:
        """A fresh presigned URL of an image.

        Raises:
            ImageNotFound: the job has no such image, or not yet.
        """
        image = self._image(job_id, index, owner)
        preview = variant == "preview"
        return self._objects.presigned_url(
            image.preview_key if preview else image.key,
            content_type=PREVIEW_MIME_TYPE if preview else image.mime_type,
            filename=f"{image.filename}.preview.webp" if preview else image.filename,
            seconds=self._settings.presigned_url_seconds,
        )

    def image_bytes(
        self, job_id: str, index: int, variant: Literal["original", "preview"], *, owner: str = LOCAL_OWNER
    ) -> bytes:
        """An image, or its preview, which is a WebP.

        Raises:
            ImageNotFound: the job has no such image, or not yet.
        """
        image = self._image(job_id, index, owner)
        return self._objects.get_bytes(image.preview_key if variant == "preview" else image.key)

    def save_image(self, job_id: str, index: int, path: Path, *, owner: str = LOCAL_OWNER) -> None:
        """Write an original to a file, piece by piece.

        Raises:
            ImageNotFound: the job has no such image, or not yet.
        """
        self._objects.get_file(self._image(job_id, index, owner).key, path)

    def health(self) -> Mapping[str, PartHealth]:
        """Whether Redis, S3, a worker and OpenAI serve."""
        return {
            "redis": self._redis_health(),
            "s3": self._s3_health(),
            "workers": self._worker_health(),
            "openai": self._openai_health(),
        }

    def probe_messages(self, timeout_seconds: float) -> str | None:
        """The name of a worker that received a message just sent; None when none did in time.

        Raises:
            StoreUnavailable: the broker did not take the message.
        """
        nonce = secrets.token_hex(8)
        self._dispatcher.send_probe(nonce)
        deadline = time.monotonic() + timeout_seconds
        pause = threading.Event()
        while (worker := self._fleet.probe_answer(nonce)) is None and time.monotonic() < deadline:
            pause.wait(_PROBE_POLL_SECONDS)
        return worker

    def close(self) -> None:
        """Stop the reader and close all connections."""
        self._changes.close()
        self._dispatcher.close()
        for connection in self._connections:
            connection.close()

    def _new_job(self, request: JobRequest, terms: Terms, lane: Lane) -> NewJob:
        if isinstance(request, EditRequest):
            request = self._sources.resolve(request, terms.owner)
        return NewJob(
            request=request,
            owner=terms.owner,
            key_id=terms.key_id,
            idempotency=terms.idempotency,
            lane=lane,
            model=self._settings.model,
            on_unknown_outcome=request.on_unknown_outcome or self._settings.on_unknown_outcome,
        )

    def _views(self, jobs: Sequence[Job]) -> tuple[JobView, ...]:
        places, limiter = self._store.positions(jobs), self._limiter.state()
        return tuple(job_view(job, places[job.id], limiter) for job in jobs)

    def _image(self, job_id: str, index: int, owner: str) -> Image:
        job = self.get(job_id, owner=owner)
        if not 0 <= index < len(job.images):
            have = f"it has {len(job.images)}" if job.state.terminal else f"it is {job.state}"
            raise ImageNotFound(f"Job {job_id} has no image {index}: {have}.")
        return job.images[index]

    def _redis_health(self) -> PartHealth:
        try:
            self._fleet.ping()
        except ImageQueueError as error:
            return PartHealth(False, f"{error} Check IMAGEQUEUE_REDIS_URL and that Redis runs.")
        return PartHealth(True, "answers")

    def _s3_health(self) -> PartHealth:
        try:
            self._objects.ping()
        except ImageQueueError as error:
            return PartHealth(False, f"{error} Check IMAGEQUEUE_S3_ENDPOINT, IMAGEQUEUE_S3_BUCKET and AWS_*.")
        return PartHealth(True, "answers")

    def _worker_health(self) -> PartHealth:
        try:
            workers = self._fleet.live_workers(self._settings.lease_ms)
        except ImageQueueError as error:
            return PartHealth(False, str(error))
        if not workers:
            return PartHealth(False, "No worker gave a sign of life. Start one: imagequeue worker")
        return PartHealth(True, f"{len(workers)} alive")

    def _openai_health(self) -> PartHealth:
        """What the last calls told: nothing is asked of OpenAI here."""
        try:
            reason = self._limiter.state().reason
        except ImageQueueError as error:
            return PartHealth(False, str(error))
        return PartHealth(True, "takes calls") if reason is None else PartHealth(False, f"Jobs wait for {reason}")


def open_queue(settings: Settings) -> ImageQueue:
    """Connect everything that `settings` names.

    Raises:
        Misconfigured: Redis would evict records, or a URL is wrong.
        StoreUnavailable: Redis does not answer.
    """
    client, reading = connect(settings.redis_url), connect(settings.redis_url, max_connections=1)
    refuse_eviction(client)
    keys = Keys(settings.key_prefix)
    store, limiter = JobStore(client, keys), LimiterStore(client, keys)
    objects, dispatcher = ObjectStore(settings), Dispatcher(make_celery(settings), store)
    inputs = InputStore(objects, settings)
    sources = Sources(inputs, store)
    submission = Submission(store, DeliveryStore(client, keys), dispatcher)
    return ImageQueue(
        settings=settings,
        store=store,
        fleet=FleetStore(client, keys),
        limiter=limiter,
        objects=objects,
        dispatcher=dispatcher,
        changes=ChangeReader(reading, keys.changes),
        inputs=inputs,
        sources=sources,
        sessions=SessionService(settings, store, SessionStore(client, keys), limiter, submission, sources),
        submission=submission,
        keys=KeyService(settings, KeyStore(client, keys)),
        connections=(client, reading),
    )
