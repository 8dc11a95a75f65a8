"""Webhooks as clients see them: what they ask for, what they look at, and the body that receivers get."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from imagequeue.batch_events import BatchEvent, batch_event
from imagequeue.batches import Batch
from imagequeue.jobs import Job
from imagequeue.rate_limits import LimiterState
from imagequeue.request_fields import WebhookUrl
from imagequeue.sizes import broken
from imagequeue.views import JobView, Timestamp, View, job_view, utc
from imagequeue.webhooks import (
    EVENT_OF_STATE,
    EVENT_TYPES,
    BatchEventType,
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    Endpoint,
    Event,
    EventType,
    JobEventType,
    Secret,
)


def _in_order(events: tuple[EventType, ...]) -> tuple[EventType, ...]:
    if not events:
        raise broken("no_events", "must name at least one event", '["job.failed"]')
    return tuple(event for event in EVENT_TYPES if event in events)


class EndpointRequest(BaseModel):
    """A URL that is to get the events of all of your jobs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[
        WebhookUrl,
        Field(description="https:// URL; put again, it replaces the endpoint of that URL and enables it."),
    ]
    events: Annotated[
        tuple[EventType, ...],
        Field(max_length=20, description="Which events; all by default.", examples=[["job.failed"]]),
        AfterValidator(_in_order),
    ] = EVENT_TYPES


class EndpointView(View):
    """A URL that gets the events of all of your jobs."""

    id: str = Field(examples=["whe_0a1b2c3d4e5f60718293a4b5"])
    url: str
    events: tuple[EventType, ...]
    created_at: Timestamp
    disabled: str | None = Field(description="Why it gets nothing any more; put it again to enable it.")


class EndpointList(View):
    """All of your endpoints, oldest first."""

    endpoints: tuple[EndpointView, ...]


class OldSecretView(View):
    """A secret that was replaced and still signs."""

    secret: str
    valid_until: Timestamp


class SecretView(View):
    """The secret that signs your webhooks, for verifying them; keep it to yourself."""

    secret: str = Field(examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
    replaced: tuple[OldSecretView, ...] = Field(description="Earlier secrets that sign too until the time given.")


class DeliveryAttemptView(View):
    """One request to the receiver."""

    number: int
    at: Timestamp
    status: int | None = Field(description="HTTP status of the answer; null when none came.")
    error: str | None = Field(description="Why it failed.")
    ms: int = Field(description="Milliseconds that it took.")


class DeliveryView(View):
    """The telling of one event to one URL."""

    id: str = Field(examples=["dlv_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z_0a1b2c3d"])
    event_id: str = Field(description="The `webhook-id` header of all of its attempts.")
    event: EventType
    job_id: str | None = Field(description="The job that it is about.")
    batch_id: str | None = Field(default=None, description="The batch that it is about.")
    url: str
    endpoint_id: str | None = Field(description="Null for the webhook of the job or session itself.")
    state: DeliveryState
    created_at: Timestamp
    next_attempt_at: Timestamp | None
    attempts: tuple[DeliveryAttemptView, ...] = Field(description="The last 20, oldest first.")


class DeliveryPage(View):
    """Deliveries, newest first."""

    deliveries: tuple[DeliveryView, ...]
    next_cursor: str | None = Field(description="Pass as `cursor` for the next page; null on the last.")


class WebhookEvent(View):
    """The body of a webhook about a job. Paths in `data` are relative to the API's address."""

    type: JobEventType
    timestamp: Timestamp = Field(description="When the job ended.")
    data: JobView


class BatchWebhookEvent(View):
    """The body of a webhook about a batch."""

    type: BatchEventType
    timestamp: Timestamp = Field(description="When it was completed, cancelled or paused.")
    data: BatchEvent


def batch_webhook(batch: Batch, subject: str, told: str) -> Event:
    """What a script has noted of a batch to be told: the event's type, and data as JSON."""
    kind, _, text = told.partition(" ")
    event = batch_event(text)
    body = BatchWebhookEvent.model_validate({"type": kind, "timestamp": event.at, "data": event})
    return Event(body.type, subject, batch.owner, batch.webhook, body.model_dump_json())


def job_event(job: Job) -> Event | None:
    """How the job ended, for whoever may know it; None while it has not ended."""
    if job.finished_at is None:
        return None
    kind = EVENT_OF_STATE[job.state]
    told = WebhookEvent(type=kind, timestamp=utc(job.finished_at), data=job_view(job, None, LimiterState()))
    # One receiver must not learn another one's URL: it may hold a password.
    return Event(kind, job.id, job.owner, job.webhook, told.model_dump_json(exclude={"data": {"webhook"}}))


def endpoint_view(endpoint: Endpoint) -> EndpointView:
    """Show an endpoint."""
    return EndpointView(**endpoint.model_dump(exclude={"created_at"}), created_at=utc(endpoint.created_at))


def secret_view(secrets: list[Secret]) -> SecretView:
    """Show the secrets of an owner, the one in use first."""
    in_use, *replaced = secrets
    old = [OldSecretView(secret=one.secret, valid_until=utc(one.valid_until or 0)) for one in replaced]
    return SecretView(secret=in_use.secret, replaced=tuple(old))


def delivery_view(delivery: Delivery) -> DeliveryView:
    """Show a delivery."""
    due = delivery.next_attempt_at
    about_batch = delivery.subject.startswith("batch_")
    return DeliveryView(
        **delivery.model_dump(include={"id", "event_id", "event", "url", "endpoint_id", "state"}),
        event_id=delivery.event_id,
        job_id=None if about_batch else delivery.subject,
        batch_id=delivery.subject.partition(".")[0] if about_batch else None,
        created_at=utc(delivery.created_at),
        next_attempt_at=None if due is None else utc(due),
        attempts=tuple(_attempt_view(attempt) for attempt in delivery.attempts),
    )


def _attempt_view(attempt: DeliveryAttempt) -> DeliveryAttemptView:
    return DeliveryAttemptView(**attempt.model_dump(exclude={"at"}), at=utc(attempt.at))
