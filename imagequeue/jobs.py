"""What a job is: immutable records and their states. docs/architecture.md draws the state machine.

Times are integer milliseconds since the epoch, always taken from Redis; money is US dollars.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from ulid import ULID

from imagequeue import pricing
from imagequeue.errors import BadOutput
from imagequeue.rate_limits import Load
from imagequeue.requests import AnyRequest, EditRequest, GenerateRequest, TurnRequest
from imagequeue.sizes import parse_size

JobType = Literal["generate", "edit", "turn"]
Route = Literal["direct", "responses", "batch"]
"""How a request went to OpenAI: to its endpoint, by the Responses API, or in a batch of OpenAI's at half the price."""
Lane = Literal["interactive", "batch"]
LANES: Final[tuple[Lane, ...]] = ("interactive", "batch")
"""In the order of service."""
DEFAULT_RETENTION_MS: Final = 30 * 86_400_000
"""Of records that do not say how long they are kept."""
_ID_TAIL: Final = 8
_JOB_ID: Final = re.compile(r"job_[0-7][0-9A-HJKMNP-TV-Z]{25}")


class JobState(StrEnum):
    """Terminal states never change."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether the job has ended."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class AttemptOutcome(StrEnum):
    """How one attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # answered by OpenAI with a refusal, or with something unusable
    BUSY = "busy"  # not served: tried again later
    UNKNOWN = "unknown"  # the call was sent and its fate is not known: it may be billed
    LOST = "lost"  # the worker died before the call was sent: nothing was spent
    CANCELLED = "cancelled"  # by the client; billed perhaps, when the call had been sent


class Frozen(BaseModel):
    """An immutable record."""

    model_config = ConfigDict(frozen=True)


class Attempt(Frozen):
    """One claim of a job by a worker. Its number is the fencing token."""

    number: int
    worker: str
    started: int
    call_started: int | None = None  # set before the request leaves: from here on money may be spent
    partial_images: tuple[PartialImage, ...] = ()  # previews that are stored, in order
    answered: int | None = None  # the whole answer is on the worker's disk: nobody needs to call again
    ended: int | None = None
    outcome: AttemptOutcome | None = None
    request_id: str | None = None  # OpenAI's, for its support
    route: Route | None = None
    code: str | None = None  # of the error that ended it
    error: str | None = None
    cost_usd_estimated: float | None = None  # None: not known

    @property
    def maybe_billed_for_nothing(self) -> bool:
        """Whether money may have been spent without an image to show for it, how much is not known."""
        lost = self.outcome in (AttemptOutcome.UNKNOWN, AttemptOutcome.CANCELLED) or self.code == BadOutput.code
        return lost and self.call_started is not None and self.cost_usd_estimated is None


class PartialImage(Frozen):
    """A preview of an unfinished image, as OpenAI gave it. `key` is its S3 key; `size` is WIDTHxHEIGHT in pixels."""

    partial_index: int  # 0, 1, …, each finer than the one before
    key: str
    mime_type: str
    size: str
    size_bytes: int


class Image(Frozen):
    """One stored output. `key` and `preview_key` are S3 keys; sizes in bytes and pixels."""

    index: int
    key: str
    preview_key: str
    filename: str
    mime_type: str
    size_bytes: int
    width: int
    height: int
    sha256: str

    @property
    def preview_mime_type(self) -> str:
        """A JPEG's, or a WebP's where the image is transparent."""
        return "image/webp" if self.preview_key.endswith(".webp") else "image/jpeg"

    @property
    def preview_filename(self) -> str:
        """What the preview is called when it is saved."""
        return f"{self.filename}.preview.{self.preview_key.rpartition('.')[2]}"


class JobInput(Frozen):
    """An image that was sent to OpenAI, by its very bytes. `source` is what the request named."""

    source: str
    sha256: str
    mime_type: str
    size_bytes: int
    width: int
    height: int


class Usage(Frozen):
    """Tokens as OpenAI counted them; None where it did not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_text_tokens: int | None = None
    input_image_tokens: int | None = None


class Applied(Frozen):
    """The settings that OpenAI says it used."""

    size: str | None = None
    quality: str | None = None
    background: str | None = None
    output_format: str | None = None


class JobError(Frozen):
    """Why a job did not succeed. `code` is stable; `retryable`: the same request may pass later."""

    code: str
    message: str
    retryable: bool = False
    categories: tuple[str, ...] = Field(
        default=(),
        exclude_if=lambda categories: not categories,
        description="Of a refusal: what OpenAI's safety system names, if it does.",
    )


class PriceEstimate(Frozen):
    """Dollars before the call; see pricing.estimate."""

    low_usd: float
    expected_usd: float
    high_usd: float
    price_table: str = pricing.PRICE_TABLE_VERSION

    def times(self, factor: float) -> PriceEstimate:
        """So many of it, or a part."""
        figures = {name: round(getattr(self, name) * factor, 6) for name in ("low_usd", "expected_usd", "high_usd")}
        return self.model_copy(update=figures)


class Job(Frozen):
    """A job as the store holds it."""

    id: str
    type: JobType
    state: JobState
    request: AnyRequest
    fingerprint: str
    owner: str
    lane: Lane
    model: str
    on_unknown_outcome: Literal["retry", "fail"]
    estimate: PriceEstimate
    created_at: int
    key_id: str | None = None  # the API key that pays; None: submitted without one
    session_id: str | None = None
    turn: int | None = None  # 1, 2, … in the order of submit; never given twice
    batch_id: str | None = None
    line: int | None = None  # of the batch's manifest, from 0
    custom_id: str | None = None  # what the manifest calls the line
    webhook: str | None = None  # URL that is told of its end
    started_at: int | None = None
    finished_at: int | None = None
    not_before: int | None = None  # a retry waits until then
    cancel_requested: bool = False
    attempt: int = 0  # number of the latest attempt
    attempts: tuple[Attempt, ...] = ()
    inputs: tuple[JobInput, ...] = ()  # images in order, then the mask
    images: tuple[Image, ...] = ()
    usage: Usage | None = None
    applied: Applied | None = None
    cost_usd_estimated: float | None = None
    error: JobError | None = None
    notes: tuple[str, ...] = ()
    reused_from: str | None = None  # the job whose images these are copies of: no call was made
    retention_ms: int = DEFAULT_RETENTION_MS  # how long it is kept after its end

    @property
    def expires_at(self) -> int | None:
        """When the job and its images are deleted; None until it has ended."""
        return None if self.finished_at is None else self.finished_at + self.retention_ms

    @property
    def partial_images(self) -> tuple[PartialImage, ...]:
        """The previews of the latest attempt that has any: an attempt that follows another begins anew."""
        return next((attempt.partial_images for attempt in reversed(self.attempts) if attempt.partial_images), ())

    def partial_image(self, partial_index: int) -> PartialImage | None:
        """The newest preview of this number; None when there is none."""
        every = (partial for attempt in reversed(self.attempts) for partial in attempt.partial_images)
        return next((partial for partial in every if partial.partial_index == partial_index), None)

    @property
    def possible_extra_cost_usd(self) -> float:
        """What attempts of unknown fate may have cost on top, at the estimate's expected price."""
        return round(
            sum(self.estimate.expected_usd for attempt in self.attempts if attempt.maybe_billed_for_nothing), 6
        )


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """What a report tells of a job: a small part, so that many thousands are soon read."""

    id: str
    custom_id: str | None
    started_at: int | None
    finished_at: int | None
    reused_from: str | None
    tries: int
    error: JobError | None


def outcome_of(job: Job) -> JobOutcome:
    """That part of a job."""
    return JobOutcome(
        id=job.id,
        custom_id=job.custom_id,
        started_at=job.started_at,
        finished_at=job.finished_at,
        reused_from=job.reused_from,
        tries=len(job.attempts),
        error=job.error,
    )


class Idempotency(Frozen):
    """What an Idempotency-Key stands for: hexadecimal sha256 of the key, and of the request that came with it."""

    key: str
    fingerprint: str


class NewJob(Frozen):
    """A validated, priced job that is not stored yet."""

    id: str = Field(default_factory=lambda: f"job_{ULID()}")
    request: AnyRequest
    owner: str
    lane: Lane
    model: str
    on_unknown_outcome: Literal["retry", "fail"]
    key_id: str | None = None
    idempotency: Idempotency | None = None
    session_id: str | None = None
    custom_id: str | None = None
    retention_ms: int = DEFAULT_RETENTION_MS
    webhook: str | None = None
    price_share: float = 1.0  # of the price of a call of its own

    @property
    def fingerprint(self) -> str:
        """The same for equal requests."""
        return fingerprint(self.model, self.request)

    @property
    def estimate(self) -> PriceEstimate:
        """Its price before the call."""
        return price_of(self.request).times(self.price_share)

    @property
    def load(self) -> Load:
        """What its call uses of OpenAI's limits per minute."""
        return load_of(self.request)


class Claim(Frozen):
    """A worker's right to run a job: valid while its lease is renewed."""

    job: Job
    holder: str  # unique for each claim, so that a repeated claim or finish is recognised
    probe: bool = False  # the circuit breaker is open: how this one ends tells whether the account works again

    @property
    def attempt(self) -> int:
        """The fencing token."""
        return self.job.attempt


class Result(Frozen):
    """How a claimed job ends: what finish writes."""

    state: Literal[JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED]
    outcome: AttemptOutcome
    inputs: tuple[JobInput, ...] = ()
    images: tuple[Image, ...] = ()
    usage: Usage | None = None
    applied: Applied | None = None
    cost_usd_estimated: float | None = None
    error: JobError | None = None
    notes: tuple[str, ...] = ()
    request_id: str | None = None


def price_of(request: GenerateRequest | EditRequest | TurnRequest) -> PriceEstimate:
    """What a request's call may cost."""
    size, partials = parse_size(request.size), request.partial_images
    figures = pricing.estimate(request.prompt, size, request.quality, request.n, _inputs(request), partials)
    return PriceEstimate(low_usd=figures.low_usd, expected_usd=figures.expected_usd, high_usd=figures.high_usd)


def load_of(request: GenerateRequest | EditRequest | TurnRequest) -> Load:
    """What a request's call uses of OpenAI's limits per minute."""
    size, partials, inputs = parse_size(request.size), request.partial_images, _inputs(request)
    tokens = pricing.expected_tokens(request.prompt, size, request.quality, request.n, inputs, partials)
    return Load(images=request.n, tokens=tokens, input_images=inputs)


def _inputs(request: GenerateRequest | EditRequest | TurnRequest) -> int:
    return 0 if isinstance(request, GenerateRequest) else max(1, len(request.images))


def is_job_id(text: str) -> bool:
    """Whether `text` has the form of a job id: `job_` and 26 ULID characters."""
    return _JOB_ID.fullmatch(text) is not None


def image_filename(job_id: str, label: str | None, index: int, extension: str) -> str:
    """What a job's image is called when it is saved."""
    return f"{label or 'image'}-{job_id[-_ID_TAIL:].lower()}-{index}.{extension}"


def fingerprint(model: str, request: GenerateRequest | EditRequest | TurnRequest) -> str:
    """Half of the sha256, hexadecimal, of what decides the picture and where it goes: every record has it."""
    decisive = request.model_dump(mode="json", exclude={"on_unknown_outcome", "partial_images", "webhook", "reuse"})
    canonical = json.dumps([model, decisive], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]
