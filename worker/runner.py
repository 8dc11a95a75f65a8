"""One job from its hint to its end: claim, call, store, finish."""

from __future__ import annotations

import random
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import stamina
import structlog

from imagequeue import pricing
from imagequeue.errors import BadOutput, InvalidInput, OutcomeUnknown, ProviderBusy, ProviderError, Unavailable
from imagequeue.jobs import AttemptOutcome, Claim, Job, JobError, JobState, Result, Usage
from imagequeue.queue import Dispatcher
from imagequeue.sessions import session_image
from imagequeue.settings import Settings
from imagequeue.store.jobs import CANCELLED, JobStore
from imagequeue.waiting import ChangeReader
from worker.edit_routes import EditRoutes, Route
from worker.heartbeat import Heartbeat
from worker.inputs import InputGatherer, Prepared
from worker.loop import LoopThread
from worker.openai_images import OpenAIImages, Painted
from worker.outputs import OutputStore

_FIRST_BACKOFF_SECONDS: Final = 1.0
_MAX_BACKOFF_SECONDS: Final = 60.0
_KEEP_TRYING_SECONDS: Final = 600.0
"""How long an ended call's outcome is held against a store or S3 that does not answer."""
_log = structlog.stdlib.get_logger(__name__)
T = TypeVar("T")


class ClaimLost(Exception):
    """Somebody else has the job now: whatever this worker still does to it is refused."""


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs jobs, each in the calling thread; all share one loop, heartbeat and change reader."""

    settings: Settings
    worker: str
    store: JobStore
    outputs: OutputStore
    inputs: InputGatherer
    openai: OpenAIImages
    edits: EditRoutes
    dispatcher: Dispatcher
    loop: LoopThread
    heartbeat: Heartbeat
    changes: ChangeReader
    stopping: threading.Event

    def run(self, job_id: str) -> None:
        """Run the job if it is there to be taken; a stale or repeated hint does nothing."""
        if self.stopping.is_set():
            self.store.give_back(job_id)
            return
        holder = f"{self.worker}-{secrets.token_hex(6)}"
        claim = self.store.claim(job_id, self.worker, holder, self.settings.lease_ms)
        if claim is None:
            _log.debug("hint_dropped", job=job_id)
            return
        log = _log.bind(job=job_id, attempt=claim.attempt)
        folder = self.settings.spool_dir / f"{job_id}.{claim.attempt}"
        try:
            with self.heartbeat.holding(claim):
                folder.mkdir(parents=True, exist_ok=True)
                self._attempt(claim, folder)
        except ClaimLost:
            log.warning("claim_lost")
        # Not after other errors: what the folder then holds may have been paid for.
        shutil.rmtree(folder, ignore_errors=True)

    def _attempt(self, claim: Claim, folder: Path) -> None:
        try:
            prepared = _persist(lambda: self.inputs.prepare(claim.job, folder))
            painted = self._call(claim, prepared, folder)
        except InvalidInput as error:
            problem = JobError(code=error.code, message=str(error), retryable=error.retryable)
            self._finish(claim, Result(state=JobState.FAILED, outcome=AttemptOutcome.FAILED, error=problem))
        except CancelledError:
            self._finish(claim, Result(state=JobState.CANCELLED, outcome=AttemptOutcome.CANCELLED, error=CANCELLED))
        except ProviderError as error:
            self._failed(claim, error, usage=None)
        else:
            self._store_outputs(claim, prepared, painted)

    def _call(self, claim: Claim, prepared: Prepared, folder: Path) -> Painted:
        """Make the call; a cancel of the job closes its connection.

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
                call = self.edits.edit(prepared.order, folder, partial(self._note_call, claim))
            else:
                self._note_call(claim, "direct")
                call = self.openai.generate(claim.job, folder)
            calls.append(self.loop.submit(call))
            if cancelled.is_set():
                calls[0].cancel()
            return calls[0].result()

    def _note_call(self, claim: Claim, route: Route) -> None:
        answer = self.store.start_call(claim, route)
        if answer == "refused":
            raise ClaimLost
        if answer == "cancelled":
            raise CancelledError

    def _store_outputs(self, claim: Claim, prepared: Prepared, painted: Painted) -> None:
        job = claim.job
        try:
            stored = _persist(lambda: self.outputs.store(job, painted, prepared.output_format))
        except BadOutput as error:
            error.request_id = painted.request_id
            self._failed(claim, error, usage=painted.usage)
            return
        result = Result(
            state=JobState.SUCCEEDED,
            outcome=AttemptOutcome.SUCCEEDED,
            inputs=prepared.inputs,
            images=stored.images,
            usage=painted.usage,
            applied=painted.applied,
            cost_usd_estimated=_cost(painted.usage),
            notes=(*job.notes, *painted.notes, *stored.notes),
            request_id=painted.request_id,
        )
        self._finish(claim, result)

    def _failed(self, claim: Claim, error: ProviderError, usage: Usage | None) -> None:
        unknown = isinstance(error, OutcomeUnknown)
        outcome = AttemptOutcome.UNKNOWN if unknown else AttemptOutcome.FAILED
        problem = JobError(code=error.code, message=str(error), retryable=error.retryable)
        if isinstance(error, ProviderBusy):
            outcome = AttemptOutcome.BUSY
            delay = self._delay_seconds(claim.job, error)
        else:
            delay = 0.0 if unknown and _may_repeat_unknown(claim.job, self.settings.unknown_retries) else None
        if delay is not None:
            self._release(claim, outcome, problem, delay, error.request_id)
            return
        result = Result(
            state=JobState.FAILED,
            outcome=outcome,
            error=problem,
            usage=usage,
            cost_usd_estimated=_cost(usage),
            request_id=error.request_id,
        )
        self._finish(claim, result)

    def _delay_seconds(self, job: Job, error: ProviderBusy) -> float | None:
        """How long to stay away from a busy OpenAI; None when the retry budget is used up."""
        backoff = min(_FIRST_BACKOFF_SECONDS * 2 ** (job.attempt - 1), _MAX_BACKOFF_SECONDS)
        delay = max(error.retry_after_seconds or 0.0, backoff) * random.uniform(1.0, 1.25)
        used = time.time() - job.attempts[0].started / 1000
        return delay if used + delay <= self.settings.retry_budget_seconds else None

    def _release(
        self, claim: Claim, outcome: AttemptOutcome, error: JobError, delay: float, request_id: str | None
    ) -> None:
        answer = _persist(lambda: self.store.release(claim, outcome, error, int(delay * 1000), request_id))
        _log.info("job_released", job=claim.job.id, outcome=outcome, delay_seconds=round(delay, 2), answer=answer)
        if answer == "refused":
            raise ClaimLost
        if answer == "cancelled":
            self._finish(claim, Result(state=JobState.CANCELLED, outcome=outcome, error=CANCELLED))

    def _finish(self, claim: Claim, result: Result) -> None:
        ended = claim.job.model_copy(update={"images": result.images})
        image = session_image(ended) if ended.session_id and result.images else None
        ending = _persist(lambda: self.store.finish(claim, result, image))
        if ending.answer == "refused":
            raise ClaimLost
        if ending.next_job_id:
            self.dispatcher.dispatch(ending.next_job_id, claim.job.lane)
        elif claim.job.session_id and result.state is not JobState.SUCCEEDED:
            self._cancel_halted()
        _log.info("job_ended", job=claim.job.id, attempt=claim.attempt, state=result.state, images=len(result.images))

    def _cancel_halted(self) -> None:
        """Tell the clients of halted turns now; what is missed here, the next sweep does."""
        try:
            for halted in self.store.halted():
                self.store.cancel_halted(halted)
        except Unavailable as error:
            _log.warning("halted_turns_left", error=str(error))


def _may_repeat_unknown(job: Job, most: int) -> bool:
    """Whether the policy allows one more call after one of unknown fate."""
    before = [attempt for attempt in job.attempts if attempt.outcome is AttemptOutcome.UNKNOWN]
    return job.on_unknown_outcome == "retry" and len(before) < most


def _cost(usage: Usage | None) -> float | None:
    if usage is None:
        return None
    return pricing.cost_usd(
        pricing.TokenUsage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            input_text_tokens=usage.input_text_tokens,
            input_image_tokens=usage.input_image_tokens,
        )
    )


def _persist(step: Callable[[], T]) -> T:
    """Hold on to what was paid for while Redis or S3 does not answer: every such step can be repeated."""
    for attempt in stamina.retry_context(on=Unavailable, attempts=None, timeout=_KEEP_TRYING_SECONDS):
        with attempt:
            return step()
    raise AssertionError("stamina ends by returning or raising")
