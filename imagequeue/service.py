"""ImageQueue: the one door to the queue, for the API, the MCP bridge and the command line."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Final, Literal

from imagequeue.api_keys import LOCAL_OWNER
from imagequeue.batch_service import BatchService
from imagequeue.cancelling import Cancelling
from imagequeue.drafts import Drafts
from imagequeue.errors import ImageNotFound
from imagequeue.estimate_service import EstimateService
from imagequeue.event_service import EventService
from imagequeue.health import PartHealth, part_healths
from imagequeue.inputs import InputStore
from imagequeue.job_records import JobRecords
from imagequeue.job_waiting import JobWaiting
from imagequeue.jobs import Image, Job, JobState, JobType, Lane, NewJob
from imagequeue.key_service import KeyService
from imagequeue.manifest_service import ManifestService, manifest_service
from imagequeue.objects import ObjectStore
from imagequeue.open_calls import OpenCall, OpenCalls
from imagequeue.partial_images import PartialImages
from imagequeue.queue import Dispatcher, make_celery
from imagequeue.rate_limits import LimiterState
from imagequeue.removal import Removal
from imagequeue.requests import JobRequest
from imagequeue.retrying import request_again
from imagequeue.reusing import Reusing
from imagequeue.session_records import SessionRecords
from imagequeue.session_service import SessionService
from imagequeue.settings import Settings
from imagequeue.sources import Sources
from imagequeue.store.api_keys import KeyStore
from imagequeue.store.archive import ArchiveStore
from imagequeue.store.connection import RedisClient, connect, refuse_eviction
from imagequeue.store.deliveries import DeliveryStore
from imagequeue.store.event_log import EventLog
from imagequeue.store.fleet import FleetStore
from imagequeue.store.input_uses import InputUses
from imagequeue.store.job_search import JobFilter
from imagequeue.store.jobs import JobStore
from imagequeue.store.keys import Keys
from imagequeue.store.limiter import LimiterStore
from imagequeue.store.open_calls import OpenCallStore
from imagequeue.store.removals import RemovalStore
from imagequeue.store.reuse import ReuseStore
from imagequeue.store.sessions import SessionStore
from imagequeue.store.usage import UsageStore
from imagequeue.store.webhook_deliveries import WebhookDeliveryStore
from imagequeue.store.webhooks import WebhookStore
from imagequeue.submission import LOCAL_TERMS, Submission, Submitted, Terms
from imagequeue.usage_reports import UsageReports
from imagequeue.views import JobPage, JobView, job_view
from imagequeue.waiting import ChangeReader, Listener
from imagequeue.webhook_service import WebhookService

_PROBE_POLL_SECONDS: Final = 0.1


class ImageQueue:
    """Submit, look, wait, cancel, fetch. Built by `open_queue`; close it when done."""

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        records: JobRecords,
        fleet: FleetStore,
        limiter: LimiterStore,
        objects: ObjectStore,
        dispatcher: Dispatcher,
        changes: ChangeReader,
        inputs: InputStore,
        drafts: Drafts,
        batches: BatchService,
        sessions: SessionService,
        submission: Submission,
        keys: KeyService,
        events: EventService,
        removal: Removal,
        usage: UsageReports,
        calls: OpenCalls,
        partials: PartialImages,
        webhooks: WebhookService,
        manifests: ManifestService,
        estimates: EstimateService,
        connections: Sequence[RedisClient],
    ) -> None:
        self._settings = settings
        self._store = store
        self._records = records
        self._fleet = fleet
        self._limiter = limiter
        self._objects = objects
        self._dispatcher = dispatcher
        self._changes = changes
        self._drafts = drafts
        self.batches = batches
        self.inputs = inputs
        self.sessions = sessions
        self.events = events
        self.calls = calls
        self.partials = partials
        self.webhooks = webhooks
        self.manifests = manifests
        self.estimates = estimates
        self._submission = submission
        self.keys = keys
        self._removal = removal
        self.usage = usage
        self._connections = connections
        self._waiting = JobWaiting(changes, settings.max_wait_seconds)

    def submit(self, request: JobRequest, terms: Terms = LOCAL_TERMS, lane: Lane = "interactive") -> Submitted:
        """Store a validated request as a queued job and tell the workers.

        Raises:
            InvalidInput: an image cannot be used.
            IdempotencyKeyReused, LimitReached: see Submission.submit.
            InvalidRequest: the webhook cannot be used.
            StoreUnavailable: nothing was stored, or the answer was lost; nothing is spent before a worker has it.
        """
        return self._submission.submit(terms, lambda: (self._drafts.draft(request, terms, lane), None))

    def retry(self, job_id: str, terms: Terms = LOCAL_TERMS) -> Submitted:
        """Submit the request of a job that failed or was cancelled once more, as a new job in the same lane.

        Raises:
            JobNotFound: there is none, or it belongs to somebody else.
            JobInSession, JobRunning, JobSucceeded: see request_again.
            InvalidInput: an image cannot be used any more.
            IdempotencyKeyReused, LimitReached, InvalidRequest, StoreUnavailable: see submit.
        """
        return self._submission.submit(terms, lambda: (self._again(job_id, terms), None))

    def submit_call(self, request: JobRequest, terms: Terms, *, again: bool) -> OpenCall:
        """Like `submit`, for a client that waits on its connection; see `calls`, which wants to hear how it ends.

        `again`: the client says that it sends the call once more, so that it gets the job that it has already. With an
        Idempotency-Key the call is known by that alone, also when it was answered.
        """
        if terms.idempotency:
            submitted = self.submit(request, terms)
            return OpenCall(submitted.job, token="", reattached=submitted.replayed)
        return self.calls.submit(self._drafts.draft(request, terms, "interactive"), again=again)

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
        return self._records.get(job_id, owner)

    def view(self, job: Job) -> JobView:
        """The job as clients see it, with its place in the queue."""
        return self._views([job])[0]

    def wait(self, job_id: str, seconds: float, *, owner: str = LOCAL_OWNER) -> Job:
        """Return the job once it has ended, or as it is after `seconds` (the setting caps them) or `stop_waiting`."""
        (job,) = self._waiting.wait([job_id], lambda ids: [self.get(one, owner=owner) for one in ids], seconds)
        return job

    def wait_for(
        self, job_ids: Sequence[str], seconds: float, *, any_of: bool = False, owner: str = LOCAL_OWNER
    ) -> JobPage:
        """The owner's jobs of these ids once all, or `any_of` them, have ended, or as they are after `seconds`.

        Ids of no job, and those of somebody else's, are `missing` in the answer, and are not waited for.
        """
        read = partial(self._records.get_owned, owner=owner)
        jobs = self._waiting.wait(job_ids, read, seconds, any_of=any_of)
        found = {job.id for job in jobs}
        missing = tuple(job_id for job_id in job_ids if job_id not in found)
        return JobPage(jobs=self._views(jobs), next_cursor=None, missing=missing)

    def listening(self, job_id: str, listener: Listener) -> AbstractContextManager[None]:
        """Call `listener` at every change of the job while the block runs; register first, read the job afterwards."""
        return self._changes.listening(job_id, listener)

    @property
    def stopping(self) -> bool:
        """Whether the process is to end: whoever waits should stop."""
        return self._waiting.stopping

    def stop_waiting(self) -> None:
        """Let every wait, now and from now on, return the jobs as they are, and every stream of events end."""
        self._waiting.stop()
        self.batches.stopping = True
        self.events.stop()
        self._changes.wake_all()

    def list(
        self,
        *,
        state: JobState | None = None,
        job_type: JobType | None = None,
        session_id: str | None = None,
        batch_id: str | None = None,
        cursor: str | None = None,
        limit: int,
        owner: str = LOCAL_OWNER,
    ) -> JobPage:
        """A page of the owner's jobs, newest first, of one state, type, session or batch if asked for.

        Raises:
            SessionNotFound, BatchNotFound: no such session or batch, or it belongs to somebody else.
        """
        among = None if session_id is None else self.sessions.turn_job_ids(session_id, owner=owner)
        if batch_id is not None:
            among = self.batches.job_ids(batch_id, owner=owner)
        wanted = JobFilter(owner, state, job_type, among)
        ids = self._records.newest_ids(wanted, cursor, limit + 1)
        jobs = self._views(self._records.get_many(ids[:limit]))
        return JobPage(jobs=jobs, next_cursor=ids[limit - 1] if len(ids) > limit else None)

    def cancel(self, job_id: str, *, owner: str = LOCAL_OWNER) -> Job:
        """Cancel a queued job at once, or ask for a running one; the answer's state tells which.

        Raises:
            JobFinished: it has ended already.
        """
        return Cancelling(self._store, self._records, self._dispatcher).cancel(job_id, owner)

    def delete(self, job_id: str, *, owner: str = LOCAL_OWNER) -> None:
        """Delete a job that has ended, with its images and all that is known of it but what it cost.

        Raises:
            JobRunning: it has not ended.
            ImageInUse: an active session goes on from its image.
        """
        self._removal.remove_job(self.get(job_id, owner=owner))

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
            content_type=image.preview_mime_type if preview else image.mime_type,
            filename=image.preview_filename if preview else image.filename,
            seconds=self._settings.presigned_url_seconds,
        )

    def image_bytes(
        self, job_id: str, index: int, variant: Literal["original", "preview"], *, owner: str = LOCAL_OWNER
    ) -> bytes:
        """An image, or its preview, which is a JPEG, or a WebP where the image is transparent.

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
        return part_healths(self._fleet, self._objects, self._limiter, self._settings.lease_ms)

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
        self._records.close()
        for connection in self._connections:
            connection.close()

    def _views(self, jobs: Sequence[Job]) -> tuple[JobView, ...]:
        ended = all(job.state.terminal for job in jobs)  # nothing holds them back: no need to ask what does
        limiter = LimiterState() if ended else self._limiter.state()
        positions = self._store.positions(jobs)
        return tuple(job_view(job, position, limiter) for job, position in zip(jobs, positions, strict=True))

    def _again(self, job_id: str, terms: Terms) -> NewJob:
        job = self.get(job_id, owner=terms.owner)
        request = request_again(job)
        # Who asks for another try knows how this one ended: an equal call must not lead back to it.
        self._submission.handed_over(job)
        return self._drafts.draft(request, terms, job.lane)

    def _image(self, job_id: str, index: int, owner: str) -> Image:
        job = self.get(job_id, owner=owner)
        if not 0 <= index < len(job.images):
            have = f"it has {len(job.images)}" if job.state.terminal else f"it is {job.state}"
            raise ImageNotFound(f"Job {job_id} has no image {index}: {have}.")
        return job.images[index]


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
    records = JobRecords(store, ArchiveStore(client, keys), objects)
    session_store = SessionStore(client, keys)
    session_records = SessionRecords(session_store, objects)
    removal = Removal(RemovalStore(client, keys), store, records, session_records, objects)
    inputs = InputStore(objects, settings, InputUses(client, keys))
    sources = Sources(inputs, records)
    reusing = Reusing(ReuseStore(client, keys, store), records, objects)
    submission = Submission(store, records, DeliveryStore(client, keys), reusing, dispatcher)
    webhooks = WebhookService(settings, WebhookStore(client, keys), WebhookDeliveryStore(client, keys), dispatcher)
    sessions = SessionService(
        settings, store, records, session_store, session_records, limiter, submission, sources, removal, webhooks
    )
    changes, fleet = ChangeReader(reading, keys.changes), FleetStore(client, keys)
    key_service = KeyService(settings, KeyStore(client, keys))
    manifests = manifest_service(settings, objects, sources, webhooks)
    cancels = Cancelling(store, records, dispatcher)
    batches = BatchService.on(client, settings, objects, records, manifests.store, limiter, changes, webhooks, cancels)
    return ImageQueue(
        settings=settings,
        store=store,
        records=records,
        fleet=fleet,
        limiter=limiter,
        objects=objects,
        dispatcher=dispatcher,
        changes=changes,
        inputs=inputs,
        drafts=Drafts(settings, sources, webhooks),
        batches=batches,
        sessions=sessions,
        submission=submission,
        keys=key_service,
        events=EventService(EventLog(client, keys), store, limiter, sessions, batches.records, changes),
        removal=removal,
        usage=UsageReports(UsageStore(client, keys)),
        calls=OpenCalls(submission, OpenCallStore(client, keys)),
        partials=PartialImages(objects, settings.presigned_url_seconds),
        webhooks=webhooks,
        manifests=manifests,
        estimates=EstimateService(settings, limiter, fleet, key_service),
        connections=(client, reading),
    )
