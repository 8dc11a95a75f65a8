"""One job from its hint to its end: claim, gather the inputs, call, spool, store, finish."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from imagequeue.errors import ImageQueueError, InvalidInput, OutcomeUnknown, ProviderError, Unavailable
from imagequeue.jobs import AttemptOutcome, Claim, JobError
from imagequeue.settings import Settings
from imagequeue.store.attempts import AttemptStore, new_holder
from imagequeue.waiting import ChangeReader
from worker.calls import CallsInFlight
from worker.edit_routes import EditRoutes, Route
from worker.endings import ClaimLost, Endings
from worker.granter import Granter
from worker.heartbeat import Heartbeat
from worker.inputs import AtHand, InputGatherer, Prepared
from worker.openai_images import OpenAIImages
from worker.previews import OnPreview, PreviewStore
from worker.spool import AnswerNote, Painted, Spool, SpoolFolder

STOPPED: Final = JobError(
    code="worker_stopped",
    message="The worker was told to stop at once before it sent anything: another one takes the job.",
    retryable=True,
)
_FULL_DISK_PAUSE_SECONDS: Final = 1.0
_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Following:
    """The turn after one that has just ended here, with the folder that this one has left."""

    job_id: str
    left: SpoolFolder
    at_hand: AtHand


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs jobs, each in the calling thread; all share one loop, heartbeat and change reader."""

    settings: Settings
    worker: str
    store: AttemptStore
    inputs: InputGatherer
    openai: OpenAIImages
    edits: EditRoutes
    previews: PreviewStore
    spool: Spool
    calls: CallsInFlight
    endings: Endings
    granter: Granter
    heartbeat: Heartbeat
    changes: ChangeReader
    stopping: threading.Event

    def run(self, job_id: str) -> None:
        """Run the job if it is there to be taken; a stale or repeated hint does nothing.

        The next turn of its session follows in the same thread while other slots are free, when no other job waits for
        this one. It has no way through the broker, and its image is on this disk.
        """
        following = self._run(job_id, None)
        while following:
            left = following.left
            try:
                following = self._run(following.job_id, following.at_hand)
            finally:
                left.remove()

    def _run(self, job_id: str, at_hand: AtHand | None) -> _Following | None:
        if self.stopping.is_set() or not self._has_room():
            self.store.give_back(job_id)
            return None
        try:
            claim = self.store.claim(job_id, self.worker, new_holder(self.worker), self.settings.lease_ms)
        except Unavailable as error:  # the sweeper notices that the hint is gone
            _log.warning("hint_missed", job=job_id, error=str(error))
            return None
        if claim is None:
            _log.debug("hint_dropped", job=job_id)
            self.granter.wake()  # it may have been parked
            return None
        with self.heartbeat.holding(claim):
            return self._attempt(claim, at_hand)

    def resume(self, claim: Claim, note: AnswerNote, folder: SpoolFolder) -> None:
        """End a job whose answer was found on the spool, under a claim that adopted it."""
        with self.heartbeat.holding(claim):
            self._end(claim, note, folder)

    def _has_room(self) -> bool:
        if self.spool.has_room():
            return True
        _log.error("spool_disk_full", folder=str(self.spool.root), way_out="free space, or set IMAGEQUEUE_SPOOL_DIR")
        self.stopping.wait(_FULL_DISK_PAUSE_SECONDS)
        return False

    def _attempt(self, claim: Claim, at_hand: AtHand | None) -> _Following | None:
        folder = SpoolFolder(self.spool.root / f"{claim.job.id}.{claim.attempt}")
        try:
            note = self._answer(claim, folder, at_hand)
        except ClaimLost:
            _log.warning("claim_lost", job=claim.job.id, attempt=claim.attempt)
            note = None
        if note is None:
            folder.remove()
            return None
        # With a free slot, whatever the broker has is taken at once: nobody waits behind a session that goes on here.
        go_on = self.heartbeat.held < self.settings.worker_slots and not self.stopping.is_set()
        return self._end(claim, note, folder, go_on=go_on)

    def _answer(self, claim: Claim, folder: SpoolFolder, at_hand: AtHand | None) -> AnswerNote | None:
        """The paid answer, on the spool; None when the attempt has ended without one."""
        endings, called = self.endings, threading.Event()
        try:
            self.spool.folder(claim.job.id, claim.attempt)
            prepared = endings.persist(lambda: self.inputs.prepare(claim.job, folder.path, at_hand))
            with self.previews.of(claim) as on_preview:
                painted = self._call(claim, prepared, folder, called, on_preview)
                return self._spooled(claim, prepared, painted, folder)
        except InvalidInput as error:
            endings.refused(claim, JobError(code=error.code, message=str(error), retryable=error.retryable))
        except CancelledError:
            endings.cancelled(claim, called=called.is_set())
        except ProviderError as error:
            endings.failed(claim, error)
        except (OSError, ImageQueueError) as error:
            self._not_sent(claim, error, called=called.is_set())
        return None

    def _not_sent(self, claim: Claim, error: Exception, *, called: bool) -> None:
        """Disk, Redis or S3 failed this worker before the request left; after that, OpenAI may have served it."""
        _log.error("attempt_broken", job=claim.job.id, called=called, error=str(error))
        if called:
            self.endings.failed(claim, OutcomeUnknown(f"The worker could not go on with the call: {error}"))
        elif self.endings.giving_up.is_set():
            self.endings.release(claim, AttemptOutcome.LOST, STOPPED, 0.0)
        else:
            code = error.code if isinstance(error, ImageQueueError) else "spool_unwritable"
            self.endings.not_sent(claim, JobError(code=code, message=f"Nothing was sent: {error}", retryable=True))

    def _call(
        self,
        claim: Claim,
        prepared: Prepared,
        folder: SpoolFolder,
        called: threading.Event,
        on_preview: OnPreview,
    ) -> Painted:
        """Make the call; a cancel of the job, and giving up, close its connection. `called` is set before it leaves.

        Raises:
            CancelledError: the client cancelled.
            ProviderError: by what the failure means.
        """
        cancelled = threading.Event()
        calls: list[Future[Painted]] = []

        def on_change(_job_id: str, event: str) -> None:
            if event == "cancel_requested":
                cancelled.set()
                for call in calls:
                    call.cancel()

        with self.changes.listening(claim.job.id, on_change):
            if prepared.order:
                note_call = partial(self._note_call, claim, called)
                call = self.edits.edit(prepared.order, folder.path, note_call, on_preview)
            else:
                self._note_call(claim, called, "direct")
                call = self.openai.generate(claim.job, folder.path, on_preview)
            with self.calls.making(call) as future:
                calls.append(future)
                if cancelled.is_set():
                    future.cancel()
                try:
                    return future.result()
                except CancelledError:
                    if cancelled.is_set() or not self.endings.giving_up.is_set():
                        raise
        if not called.is_set():
            raise Unavailable("the worker was told to stop at once")
        raise OutcomeUnknown("The worker was told to stop at once while OpenAI worked on the call.")

    def _note_call(self, claim: Claim, called: threading.Event, route: Route) -> None:
        answer = self.endings.persist(lambda: self.store.start_call(claim, route))
        if answer == "refused":
            raise ClaimLost
        if answer == "cancelled":
            raise CancelledError
        called.set()

    def _spooled(self, claim: Claim, prepared: Prepared, painted: Painted, folder: SpoolFolder) -> AnswerNote:
        """Note on disk and in the record that the answer is here: from now on nobody needs to call again."""
        note = AnswerNote(
            job_id=claim.job.id,
            attempt=claim.attempt,
            files=painted.files,
            usage=painted.usage,
            applied=painted.applied,
            request_id=painted.request_id,
            notes=painted.notes,
            output_format=prepared.output_format,
            inputs=prepared.inputs,
        )
        try:
            folder.keep(note)
            self.store.answered(claim)
        except (OSError, Unavailable) as error:  # only a crash before the end would need it
            _log.warning("answer_not_noted", job=claim.job.id, error=str(error))
        return note

    def _end(self, claim: Claim, note: AnswerNote, folder: SpoolFolder, *, go_on: bool = False) -> _Following | None:
        """Store the answer and finish. Whatever prevents it leaves the answer on the spool, to be tried again.

        With `go_on`, the session's next turn is given back, to be run now; the folder is left to it.
        """
        try:
            following = self.endings.answered(claim, note, go_on=go_on)
        except ClaimLost:  # the one who adopted the answer needs it; the salvager clears away what nobody does
            _log.warning("claim_lost", job=claim.job.id, attempt=claim.attempt)
            return None
        except Exception as error:
            _log.exception("answer_left_on_spool", job=claim.job.id, folder=str(folder.path), error=str(error))
            self._leave(claim)
            return None
        if following:
            return _Following(following.job_id, folder, AtHand(following.image, note.files))
        folder.remove()
        return None

    def _leave(self, claim: Claim) -> None:
        try:
            self.store.leave_spooled(claim)
        except Unavailable as error:  # the lease lapses by itself
            _log.warning("leaving_untold", job=claim.job.id, error=str(error))
