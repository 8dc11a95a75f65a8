"""How an attempt ends: its outcome, told to the records, held on to while Redis or S3 does not answer."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import stamina
import structlog

from imagequeue import pricing
from imagequeue.errors import AccountBlocked, BadOutput, ModerationBlocked, ProviderBusy, ProviderError, Unavailable
from imagequeue.jobs import Attempt, AttemptOutcome, Claim, Job, JobError, JobState, Result, Usage
from imagequeue.queue import Dispatcher
from imagequeue.sessions import SessionImage, session_image
from imagequeue.settings import Settings
from imagequeue.store.attempts import AttemptStore
from imagequeue.store.jobs import CANCELLED
from imagequeue.store.limiter import LimiterStore
from worker.granter import Granter
from worker.outputs import OutputStore
from worker.policy import Action, action_of
from worker.spool import AnswerNote

CUT_OFF: Final = JobError(
    code="cancelled",
    message="Cancelled by the client while OpenAI worked on it: the connection was closed at once, and OpenAI may bill "
    "the call all the same (possible_extra_cost_usd).",
)
_FIRST_BACKOFF_SECONDS: Final = 1.0
_MAX_BACKOFF_SECONDS: Final = 60.0
_KEEP_TRYING_SECONDS: Final = 600.0
"""How long one try to tell or store an outcome lasts; what is on the spool is tried again after it."""
_log = structlog.stdlib.get_logger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NextTurn:
    """The turn that is next in the session of one that has succeeded, and the image that it edits."""

    job_id: str
    image: SessionImage


class ClaimLost(Exception):
    """Somebody else has the job now: whatever this worker still does to it is refused."""


@dataclass(frozen=True, slots=True)
class Endings:
    """Ends attempts. Once `giving_up` is set, nothing is waited for any more."""

    settings: Settings
    store: AttemptStore
    limiter: LimiterStore
    granter: Granter
    outputs: OutputStore
    dispatcher: Dispatcher
    giving_up: threading.Event

    def persist(self, step: Callable[[], T]) -> T:
        """Repeat a step until Redis and S3 answer: every one of ours can be repeated.

        Raises:
            Unavailable: they did not answer for ten minutes, or this worker gives up.
        """

        def worth_repeating(error: Exception) -> bool:
            return isinstance(error, Unavailable) and not self.giving_up.is_set()

        try:
            return step()  # nearly always; the machinery below costs as much as a step
        except Unavailable:
            if self.giving_up.is_set():
                raise
        for attempt in stamina.retry_context(on=worth_repeating, attempts=None, timeout=_KEEP_TRYING_SECONDS):
            with attempt:
                return step()
        raise AssertionError("stamina ends by returning or raising")

    def answered(self, claim: Claim, note: AnswerNote, *, go_on: bool = False) -> NextTurn | None:
        """Store a paid answer and end its job.

        With `go_on`, the next turn of the job's session is the caller's to run: it is given back and no hint is sent.
        It is in the outbox as ever: if the caller does not claim it, a sweep sends the hint.

        Raises:
            ClaimLost: the job is somebody else's now.
            Unavailable: Redis or S3 does not answer; the answer is still on the spool.
        """
        job = claim.job
        try:
            stored = self.persist(lambda: self.outputs.store(job, note.painted, note.output_format))
        except BadOutput as error:
            error.request_id = note.request_id
            self.failed(claim, error, usage=note.usage)
            return None
        result = Result(
            state=JobState.SUCCEEDED,
            outcome=AttemptOutcome.SUCCEEDED,
            inputs=note.inputs,
            images=stored.images,
            usage=note.usage,
            applied=note.applied,
            cost_usd_estimated=_cost(job, note.usage),
            notes=(*job.notes, *note.notes, *stored.notes),
            request_id=note.request_id,
        )
        following = self._finish(claim, result, go_on=go_on)
        self._account_works(claim)
        return following

    def failed(self, claim: Claim, error: ProviderError, usage: Usage | None = None) -> None:
        """End an attempt whose call failed, as the policy's action for the failure says."""
        action = action_of(error)
        categories = error.categories if isinstance(error, ModerationBlocked) else ()
        problem = JobError(code=error.code, message=str(error), retryable=error.retryable, categories=categories)
        match action:
            case Action.BREAK:
                self._break(error)
                self.release(claim, AttemptOutcome.BUSY, problem, 0.0, error.request_id)
            case Action.PAUSE | Action.RETRY:
                delay = self._delay_seconds(claim.job, error)
                if action is Action.PAUSE:
                    self._pause(error)
                if delay is not None:
                    self.release(claim, AttemptOutcome.BUSY, problem, delay, error.request_id)
                else:
                    self._fail(claim, AttemptOutcome.BUSY, problem, error.request_id, cost=0.0)
            case Action.UNKNOWN if _may_repeat_unknown(claim.job, self.settings.unknown_retries):
                self.release(claim, AttemptOutcome.UNKNOWN, problem, 0.0, error.request_id)
            case Action.UNKNOWN:
                self._fail(claim, AttemptOutcome.UNKNOWN, problem, error.request_id)
            case Action.FAIL:
                self._fail(claim, AttemptOutcome.FAILED, problem, error.request_id, usage, _cost(claim.job, usage))
                self._account_works(claim)

    def refused(self, claim: Claim, problem: JobError) -> None:
        """End a job that cannot be sent as it is: nothing was spent."""
        self._fail(claim, AttemptOutcome.FAILED, problem, None, cost=0.0)

    def not_sent(self, claim: Claim, problem: JobError) -> None:
        """Give a job back of which nothing was sent; it fails when that goes on for too long."""
        delay = self._delay_seconds(claim.job, None)
        if delay is None:
            self._fail(claim, AttemptOutcome.LOST, problem, None, cost=0.0)
        else:
            self.release(claim, AttemptOutcome.LOST, problem, delay)

    def cancelled(self, claim: Claim, *, called: bool) -> None:
        """End a job that its client cancelled."""
        error = CUT_OFF if called else CANCELLED
        cost = None if called else 0.0
        result = Result(
            state=JobState.CANCELLED, outcome=AttemptOutcome.CANCELLED, error=error, cost_usd_estimated=cost
        )
        self._finish(claim, result)

    def release(
        self,
        claim: Claim,
        outcome: AttemptOutcome,
        error: JobError,
        delay_seconds: float,
        request_id: str | None = None,
    ) -> None:
        """Put the job back into the queue."""
        delay_ms = int(delay_seconds * 1000)
        answer = self.persist(lambda: self.store.release(claim, outcome, error, delay_ms, request_id))
        _log.info("job_released", job=claim.job.id, outcome=outcome, code=error.code, delay_ms=delay_ms, answer=answer)
        if answer == "refused":
            raise ClaimLost
        if answer == "cancelled":
            self._finish(claim, Result(state=JobState.CANCELLED, outcome=outcome, error=CANCELLED))
        if answer == "unaffordable":  # the batch's cap would not hold if both calls were billed
            self._fail(claim, outcome, error, request_id)

    def _fail(
        self,
        claim: Claim,
        outcome: AttemptOutcome,
        problem: JobError,
        request_id: str | None,
        usage: Usage | None = None,
        cost: float | None = None,
    ) -> None:
        result = Result(
            state=JobState.FAILED,
            outcome=outcome,
            error=problem,
            usage=usage,
            cost_usd_estimated=cost,
            request_id=request_id,
        )
        self._finish(claim, result)

    def _finish(self, claim: Claim, result: Result, *, go_on: bool = False) -> NextTurn | None:
        ended = claim.job.model_copy(update={"images": result.images})
        image = session_image(ended) if ended.session_id and result.images else None
        ending = self.persist(lambda: self.store.finish(claim, result, image))
        if ending.answer == "refused":
            raise ClaimLost
        if ending.next_job_id and not go_on:
            self.dispatcher.dispatch(ending.next_job_id, claim.job.lane)
        elif claim.job.session_id and result.state is not JobState.SUCCEEDED:
            self._cancel_halted()
        if ending.announced:
            self.dispatcher.announce(claim.job.id)
        _log.info("job_ended", job=claim.job.id, attempt=claim.attempt, state=result.state, images=len(result.images))
        return NextTurn(ending.next_job_id, image) if go_on and ending.next_job_id and image else None

    def _cancel_halted(self) -> None:
        """Tell the clients of halted turns now; what is missed here, the next sweep does."""
        try:
            for halted in self.store.halted():
                self.store.cancel_halted(halted)
        except Unavailable as error:
            _log.warning("halted_turns_left", error=str(error))

    def _break(self, error: ProviderError) -> None:
        reason = error.reason if isinstance(error, AccountBlocked) else error.code
        if self.persist(lambda: self.limiter.open_breaker(reason, str(error))):
            _log.error("breaker_opened", reason=reason, error=str(error))

    def _account_works(self, claim: Claim) -> None:
        """Close the breaker after its probe was served, whatever came of it."""
        if claim.probe:
            self.persist(self.limiter.close_breaker)
            _log.warning("breaker_closed", job=claim.job.id)
            self.granter.wake()

    def _pause(self, error: ProviderError) -> None:
        asked = error.retry_after_seconds if isinstance(error, ProviderBusy) else None
        paused_ms = self.persist(lambda: self.limiter.slow_down(int((asked or 0.0) * 1000), str(error)))
        _log.warning("fleet_slowed_down", paused_ms=paused_ms, error=str(error))

    def _delay_seconds(self, job: Job, error: ProviderError | None) -> float | None:
        """How long to stay away from a busy OpenAI; None when the retry budget is used up."""
        tries = _tries_in_a_row(job)
        asked = error.retry_after_seconds if isinstance(error, ProviderBusy) else None
        backoff = min(_FIRST_BACKOFF_SECONDS * 2 ** (len(tries) - 1), _MAX_BACKOFF_SECONDS)
        delay = max(asked or 0.0, backoff) * random.uniform(1.0, 1.25)
        used = time.time() - tries[0].started / 1000
        return delay if used + delay <= self.settings.retry_budget_seconds else None


def _tries_in_a_row(job: Job) -> tuple[Attempt, ...]:
    """The attempts since the account was last blocked: what the whole fleet waited then is not the job's time."""
    tries: list[Attempt] = []
    for attempt in reversed(job.attempts):
        if attempt.code == AccountBlocked.code:
            break
        tries.append(attempt)
    return tuple(reversed(tries))


def _may_repeat_unknown(job: Job, most: int) -> bool:
    """Whether the policy allows one more call after one of unknown fate."""
    before = [attempt for attempt in job.attempts if attempt.outcome is AttemptOutcome.UNKNOWN]
    return job.on_unknown_outcome == "retry" and len(before) < most


def _cost(job: Job, usage: Usage | None) -> float | None:
    if usage is None:
        return None
    in_batch = bool(job.attempts) and job.attempts[-1].route == "batch"
    cost = pricing.cost_usd(
        pricing.TokenUsage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            input_text_tokens=usage.input_text_tokens,
            input_image_tokens=usage.input_image_tokens,
        )
    )
    return None if cost is None else round(cost * (pricing.BATCH_API_FACTOR if in_batch else 1.0), 6)
