"""Every error that imagequeue raises on purpose, under one root, each with a stable `code`.

ImageQueueError
├── InvalidRequest            invalid_request          what the client asked for breaks a rule
├── InvalidManifest           invalid_manifest         lines of a manifest break rules (in manifests.lines)
├── InvalidInput              input_*, mask_*, url_*   an input image cannot be used; InputFault lists the codes
├── NotFound
│   ├── JobNotFound           job_not_found
│   ├── ImageNotFound         image_not_found
│   ├── SessionNotFound       session_not_found
│   ├── KeyNotFound           key_not_found
│   ├── ManifestNotFound      manifest_not_found       (in manifests.uploads); BatchNotFound, likewise (in batches)
│   ├── EndpointNotFound      webhook_endpoint_not_found
│   └── DeliveryNotFound      webhook_delivery_not_found
├── Unauthorized              unauthorized             no API key, or none that is good
├── Forbidden                 forbidden                the API key may not do this
├── LimitReached              too_many_jobs_…          the API key has as many jobs as it may
│   └── BudgetExceeded        budget_exceeded          the API key may not spend this much
├── IdempotencyKeyReused      idempotency_key_reused   the same key came with another request
├── SessionClosed             session_ended, session_expired   it takes no more turns
├── BatchOver                 batch_over               not steered any more (in batches)
├── SessionFull, EndpointsFull   session_full, webhook_endpoints_full   no more turns, or endpoints
├── JobFinished               job_finished             a finished job cannot be changed
├── JobRunning                job_running              a job that has not ended cannot be deleted, nor tried again
├── JobSucceeded              job_succeeded            not tried again; JobInSession, likewise (in retrying)
├── ImageInUse                image_in_use             a session goes on from the job's image
├── SessionActive             session_active           an active session cannot be deleted
├── Misconfigured             misconfigured            a setting or a service is unusable: fix and start again
├── Unavailable                                        a part does not answer now: try again later
│   ├── StoreUnavailable      store_unavailable        Redis
│   └── ObjectsUnavailable    objects_unavailable      S3
└── ProviderError                                      what a call to OpenAI ended in
    ├── ModerationBlocked     moderation_blocked       refused by OpenAI's safety system
    ├── ProviderRefused       provider_refused         any other refusal of this very request
    ├── AccountBlocked        account_blocked          quota, billing, key: no request of this account passes
    ├── ProviderBusy          provider_busy            500, 503 with a body, or no connection: not billed
    │   └── RateLimited       rate_limited             429: the whole fleet calls too often; not billed
    ├── OutcomeUnknown        outcome_unknown          the call may have been served and billed
    └── BadOutput             bad_output               answered and billed, but not with the images asked for
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class ImageQueueError(Exception):
    """The root. `code` never changes once released; the text may."""

    code: str = "internal_error"
    retryable: bool = False


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: the field, the rule in words, what was given (shortened) and a value that would pass."""

    field: str
    rule: str
    given: str
    example: str

    def __str__(self) -> str:
        """`size: both edges must be multiples of 16; given '1000x1000', for example '1024x1024'`."""
        return f"{self.field}: {self.rule}; given {self.given}, for example {self.example}"


@dataclass(frozen=True, slots=True)
class Quota:
    """What is left of a limit of jobs a minute: how many may come now, and in how many seconds one more than that."""

    limit: int
    remaining: int
    more_in_seconds: int


class InvalidRequest(ImageQueueError):
    """The request breaks rules; nothing was stored or spent. `violations` has at least one entry."""

    code = "invalid_request"

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("\n".join(str(violation) for violation in violations))


class InputFault(StrEnum):
    """Why an input image cannot be used: the codes of InvalidInput."""

    BAD_SOURCE = "input_bad_source"  # the text names no image in a way that is taken here
    MISSING = "input_missing"  # no such upload
    HASH_MISMATCH = "input_hash_mismatch"  # other bytes than announced
    EMPTY = "input_empty"
    TOO_LARGE = "input_too_large"
    NOT_AN_IMAGE = "input_not_an_image"
    WRONG_TYPE = "input_wrong_type"  # a known kind of file, but none of PNG, JPEG, WebP
    MISLABELLED = "input_mislabelled"  # declared as another type than its bytes are
    ZERO_SIZE = "input_zero_size"
    BOMB = "input_bomb"  # small as a file, too large in memory
    ANIMATED = "input_animated"
    TRUNCATED = "input_truncated"  # cut off or damaged
    POLYGLOT = "input_polyglot"  # other data follows the image
    MASK_TOO_LARGE = "mask_too_large"
    MASK_NOT_PNG = "mask_not_png"
    MASK_WITHOUT_ALPHA = "mask_without_alpha"
    MASK_SIZE_MISMATCH = "mask_size_mismatch"
    MASK_OPAQUE = "mask_opaque"  # nothing is marked for editing
    URL_FORBIDDEN = "url_forbidden"  # a URL that is never fetched
    URL_UNREACHABLE = "url_unreachable"
    URL_BAD_STATUS = "url_bad_status"
    URL_TOO_LARGE = "url_too_large"
    URL_TIMEOUT = "url_timeout"


class InvalidInput(ImageQueueError):
    """An input image cannot be used, for the reason that `code` says; nothing was spent.

    Args:
        fault: the reason.
        field: which input, as the client named it: `images[2]`, `mask`.
        problem: the limit and what was found instead.
        way_out: what to do about it, as a sentence.
    """

    def __init__(self, fault: InputFault, field: str, problem: str, way_out: str) -> None:
        self.code = fault.value
        self.retryable = fault in (InputFault.URL_UNREACHABLE, InputFault.URL_TIMEOUT)
        self.field = field
        super().__init__(f"{field}: {problem}. {way_out}")


class NotFound(ImageQueueError):
    """No such thing, or it belongs to somebody else."""


class JobNotFound(NotFound):
    """No job has this id."""

    code = "job_not_found"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"No job {job_id!r}. Ids start with 'job_'; GET /v1/jobs lists yours.")


class ImageNotFound(NotFound):
    """The job exists, the image does not (yet)."""

    code = "image_not_found"


class SessionNotFound(NotFound):
    """No session has this id."""

    code = "session_not_found"

    def __init__(self, session_id: str) -> None:
        super().__init__(f"No session {session_id!r}. Ids start with 'ses_'; GET /v1/sessions lists yours.")


class KeyNotFound(NotFound):
    """No API key has this id."""

    code = "key_not_found"

    def __init__(self, key_id: str) -> None:
        super().__init__(f"No API key {key_id!r} that is not revoked. Ids start with 'key_'; GET /v1/keys lists them.")


class Unauthorized(ImageQueueError):
    """Who asks is not known."""

    code = "unauthorized"


class Forbidden(ImageQueueError):
    """The API key may not do this."""

    code = "forbidden"


class LimitReached(ImageQueueError):
    """An API key may not have one more job now; nothing was stored or spent.

    `retry_after_seconds` is None when nobody can tell when it may. `quota`: of the jobs a minute, if that is the limit.
    """

    retryable = True

    def __init__(
        self, code: str, message: str, *, retry_after_seconds: int | None = None, quota: Quota | None = None
    ) -> None:
        self.code = code
        self.retry_after_seconds = retry_after_seconds
        self.quota = quota
        super().__init__(message)


class BudgetExceeded(LimitReached):
    """The job could cost more than its API key may still spend today, or this month."""

    def __init__(self, message: str, *, retry_after_seconds: int) -> None:
        super().__init__("budget_exceeded", message, retry_after_seconds=retry_after_seconds)


class IdempotencyKeyReused(ImageQueueError):
    """The same Idempotency-Key came with another request within a day."""

    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__(
            "Idempotency-Key: it came with another request within the last 24 hours. "
            "Use a new key for each request; send the same request to get its job again."
        )


class EndpointNotFound(NotFound):
    """No webhook endpoint has this id."""

    code = "webhook_endpoint_not_found"

    def __init__(self, endpoint_id: str) -> None:
        super().__init__(f"No endpoint {endpoint_id!r}. Ids start with 'whe_'; GET /v1/webhooks/endpoints lists yours.")


class DeliveryNotFound(NotFound):
    """No delivery has this id."""

    code = "webhook_delivery_not_found"

    def __init__(self, delivery_id: str) -> None:
        super().__init__(
            f"No delivery {delivery_id!r} (any more). Ids start with 'dlv_'; GET /v1/webhooks/deliveries lists yours."
        )


class EndpointsFull(ImageQueueError):
    """An owner has as many webhook endpoints as there may be."""

    code = "webhook_endpoints_full"


class SessionClosed(ImageQueueError):
    """The session takes no more turns; its images stay."""

    def __init__(self, session_id: str, *, expired: bool) -> None:
        self.code = "session_expired" if expired else "session_ended"
        what = "expired after being idle" if expired else "has ended"
        super().__init__(
            f"Session {session_id} {what} and takes no more turns. Its images stay: fork it "
            f"(POST /v1/sessions/{session_id}/fork) to go on from one of them, or start a new session."
        )


class SessionFull(ImageQueueError):
    """Too many turns of the session wait."""

    code = "session_full"
    retryable = True


class JobFinished(ImageQueueError):
    """A finished job cannot be changed."""

    code = "job_finished"


class JobRunning(ImageQueueError):
    """A job that has not ended cannot be deleted, nor tried again.

    Args:
        job_id: the job.
        asked: what cannot be done to it: `deleted`, `tried again`.
    """

    code = "job_running"

    def __init__(self, job_id: str, asked: str = "deleted") -> None:
        super().__init__(
            f"Job {job_id} has not ended, so it cannot be {asked}. Cancel it (POST /v1/jobs/{job_id}/cancel) or wait "
            "for its end, and ask again then."
        )


class ImageInUse(ImageQueueError):
    """An active session's next turn edits the job's image."""

    code = "image_in_use"

    def __init__(self, job_id: str, session_ids: Sequence[str]) -> None:
        first, *more = session_ids
        others = f" (and {len(more)} more)" if more else ""
        super().__init__(
            f"The next turn of session {first}{others} edits the image of job {job_id}. Add a turn to the session, or "
            f"end it (POST /v1/sessions/{first}/end), and delete the job then."
        )


class SessionActive(ImageQueueError):
    """An active session cannot be deleted."""

    code = "session_active"

    def __init__(self, session_id: str) -> None:
        super().__init__(
            f"Session {session_id} is active. End it (POST /v1/sessions/{session_id}/end), and delete it then."
        )


class Misconfigured(ImageQueueError):
    """A setting or a service cannot be used as it is; the text says what to change."""

    code = "misconfigured"


class Unavailable(ImageQueueError):
    """A part does not answer now."""

    retryable = True


class StoreUnavailable(Unavailable):
    """Redis does not answer."""

    code = "store_unavailable"


class ObjectsUnavailable(Unavailable):
    """S3 does not answer."""

    code = "objects_unavailable"


class ProviderError(ImageQueueError):
    """A call to OpenAI did not give the images. `request_id` is OpenAI's, when it answered."""

    def __init__(self, message: str, *, request_id: str | None = None) -> None:
        self.request_id = request_id
        super().__init__(message)


class ModerationBlocked(ProviderError):
    """Refused by OpenAI's safety system, which may name `categories`; the same prompt will be refused again."""

    code = "moderation_blocked"
    categories: tuple[str, ...] = ()


class ProviderRefused(ProviderError):
    """OpenAI refused this very request."""

    code = "provider_refused"


class AccountBlocked(ProviderError):
    """Quota, billing or key: no request of this account will pass until somebody acts. The queue waits for that.

    `reason` is OpenAI's code, or `http_401` and the like where it gave none. The message ends with what to do.
    """

    code = "account_blocked"
    retryable = True

    def __init__(self, message: str, *, reason: str, request_id: str | None = None) -> None:
        self.reason = reason
        super().__init__(message, request_id=request_id)


class ProviderBusy(ProviderError):
    """Not served and not billed. `retry_after_seconds` is what OpenAI asked for, if it did."""

    code = "provider_busy"
    retryable = True

    def __init__(
        self, message: str, *, request_id: str | None = None, retry_after_seconds: float | None = None
    ) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message, request_id=request_id)


class RateLimited(ProviderBusy):
    """OpenAI asks all of us to slow down. Not served and not billed."""

    code = "rate_limited"


class OutcomeUnknown(ProviderError):
    """The request was sent and no whole answer came: it may have been served and billed."""

    code = "outcome_unknown"
    retryable = True


class BadOutput(ProviderError):
    """OpenAI answered, and billed, but not with the images that were asked for."""

    code = "bad_output"
