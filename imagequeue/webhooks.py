"""What webhooks tell, to whom, and when they are tried again: records and rules of the Standard Webhooks specification.

Times are integer milliseconds of Redis's clock.
"""

from __future__ import annotations

import hashlib
import random
import re
import secrets
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Literal, get_args

from standardwebhooks import Webhook

from imagequeue.jobs import Frozen, JobState

JobEventType = Literal["job.succeeded", "job.failed", "job.cancelled"]
BatchEventType = Literal["batch.completed", "batch.cancelled", "batch.paused"]
EventType = Literal[JobEventType, BatchEventType]
EVENT_TYPES: Final[tuple[EventType, ...]] = get_args(EventType)
EVENT_OF_STATE: Final[Mapping[JobState, JobEventType]] = {
    JobState.SUCCEEDED: "job.succeeded",
    JobState.FAILED: "job.failed",
    JobState.CANCELLED: "job.cancelled",
}

RETRY_DELAYS_SECONDS: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""From each failed attempt to the next: the specification's example schedule, 75 hours and 35 minutes in all."""
MAX_RETRY_AFTER_SECONDS: Final = 86_400
_JITTER: Final = 0.1
"""A retry comes up to so much later, so that what failed together is not tried again together."""
MAX_ENDPOINTS: Final = 10
SECRET_OVERLAP_MS: Final = 24 * 3_600_000
"""How long a secret goes on signing beside the one that replaced it."""
MAX_SECRETS: Final = 5
"""Signatures on one request: the secret in use, and those that it replaced lately."""
_SECRET_BYTES: Final = 32
"""The specification asks for 24 to 64."""


_DELIVERY_ID: Final = re.compile(r"dlv_[0-9A-Z]{26}_[0-9a-f]{8}")


class DeliveryState(StrEnum):
    """What became of telling one event to one URL."""

    PENDING = "pending"
    DELIVERED = "delivered"  # answered 2xx
    FAILED = "failed"  # given up


class Endpoint(Frozen):
    """A URL that gets the events of all of an owner's jobs. `disabled` says why it gets none any more."""

    id: str
    url: str
    events: tuple[EventType, ...]
    created_at: int
    disabled: str | None = None


class Secret(Frozen):
    """A secret that signs. `valid_until` is None for the one in use."""

    secret: str
    valid_until: int | None = None


class DeliveryAttempt(Frozen):
    """One request to a receiver. `status` is None when no answer came; `ms` is how long it took."""

    number: int
    at: int
    status: int | None = None
    error: str | None = None
    ms: int


class Delivery(Frozen):
    """The telling of one event to one URL. `endpoint_id` is None for a job's own webhook."""

    id: str
    owner: str
    event: EventType
    subject: str  # the id of the job that it is about, or of the batch with the event's number
    url: str
    endpoint_id: str | None = None
    state: DeliveryState
    tries: int = 0  # failed attempts since it was scheduled, or asked for again
    created_at: int
    next_attempt_at: int | None = None
    attempts: tuple[DeliveryAttempt, ...] = ()  # the last ones

    @property
    def event_id(self) -> str:
        """What the receiver gets as `webhook-id`: the same in every attempt, and for every receiver of the event."""
        return event_id(self.subject)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a record, once. `webhook`: the URL that the record itself names."""

    type: EventType
    subject: str
    owner: str
    webhook: str | None
    body: str  # JSON, the same in every attempt


def event_id(subject: str) -> str:
    """The id of the event that the end of a record is; of a batch, which has many: `batch_id.number`."""
    return f"evt_{subject.partition('_')[2]}"


def delivery_id(subject: str, url: str) -> str:
    """The id of the telling of an event to a URL: whoever makes it twice makes one."""
    ulid, _, number = subject.partition("_")[2].partition(".")
    return f"dlv_{ulid}_{_digest(number + url)[:8]}"


def is_delivery_id(text: str) -> bool:
    """Whether `text` has the form of a delivery's id."""
    return _DELIVERY_ID.fullmatch(text) is not None


def endpoint_id(url: str) -> str:
    """The id of an owner's endpoint: one for each URL."""
    return f"whe_{_digest(url)[:24]}"


def new_secret() -> str:
    """A random secret in the specification's form."""
    return f"whsec_{b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"


def signed_headers(identity: str, body: str, signing: Sequence[Secret]) -> dict[str, str]:
    """The headers of one attempt, made now: a signature by each secret, as the receiver may know any of them."""
    now = datetime.now(UTC)
    signatures = (Webhook(one.secret).sign(identity, now, body) for one in signing)
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def retry_delay_ms(tries: int, asked_seconds: float | None) -> int | None:
    """How long to wait after so many failed attempts; None when it was tried often enough.

    Args:
        tries: failed attempts, 1 at least.
        asked_seconds: what the receiver asked for by Retry-After.
    """
    if tries > len(RETRY_DELAYS_SECONDS):
        return None
    scheduled = RETRY_DELAYS_SECONDS[tries - 1] * random.uniform(1, 1 + _JITTER)
    return int(1000 * max(scheduled, min(asked_seconds or 0, MAX_RETRY_AFTER_SECONDS)))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
