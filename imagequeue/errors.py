"""Every error that imagequeue raises on purpose, under one root, each with a stable `code`.

ImageQueueError
├── InvalidRequest            invalid_request          what the client asked for breaks a rule
├── NotFound
│   ├── JobNotFound           job_not_found
│   └── ImageNotFound         image_not_found
├── JobFinished               job_finished             a finished job cannot be changed
├── Misconfigured             misconfigured            a setting or a service is unusable: fix and start again
├── Unavailable                                        a part does not answer now: try again later
│   ├── StoreUnavailable      store_unavailable        Redis
│   └── ObjectsUnavailable    objects_unavailable      S3
└── ProviderError                                      what a call to OpenAI ended in
    ├── ModerationBlocked     moderation_blocked       refused by OpenAI's safety system
    ├── ProviderRefused       provider_refused         any other refusal of this very request
    ├── AccountBlocked        account_blocked          quota, billing, key: no request of this account passes
    ├── ProviderBusy          provider_busy            429, 500, 503 with a body, or no connection: not billed
    ├── OutcomeUnknown        outcome_unknown          the call may have been served and billed
    └── BadOutput             bad_output               answered and billed, but not with the images asked for
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class ImageQueueError(Exception):
    """The root. `code` never changes once released; the text may."""

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False


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


class InvalidRequest(ImageQueueError):
    """The request breaks rules; nothing was stored or spent. `violations` has at least one entry."""

    code = "invalid_request"

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("\n".join(str(violation) for violation in violations))


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


class JobFinished(ImageQueueError):
    """A finished job cannot be changed."""

    code = "job_finished"


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
    """Refused by OpenAI's safety system; the same prompt will be refused again."""

    code = "moderation_blocked"


class ProviderRefused(ProviderError):
    """OpenAI refused this very request."""

    code = "provider_refused"


class AccountBlocked(ProviderError):
    """Quota, billing or key: no request of this account will pass until somebody acts."""

    code = "account_blocked"


class ProviderBusy(ProviderError):
    """Not served and not billed. `retry_after_seconds` is what OpenAI asked for, if it did."""

    code = "provider_busy"
    retryable = True

    def __init__(
        self, message: str, *, request_id: str | None = None, retry_after_seconds: float | None = None
    ) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message, request_id=request_id)


class OutcomeUnknown(ProviderError):
    """The request was sent and no whole answer came: it may have been served and billed."""

    code = "outcome_unknown"
    retryable = True


class BadOutput(ProviderError):
    """OpenAI answered, and billed, but not with the images that were asked for."""

    code = "bad_output"
