"""Webhooks: from the end of a job to the answers of those who wanted to know.

The end is in the records before anybody is told: scripts announce it where they end the job. Messages are hints here,
too: what is announced, and what is due, is found by the sweeper when its message is lost.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Final

import structlog

from imagequeue.batch_records import BatchRecords
from imagequeue.errors import ObjectsUnavailable, StoreUnavailable
from imagequeue.job_records import JobRecords
from imagequeue.queue import WEBHOOKS, Dispatcher
from imagequeue.store.webhook_deliveries import ClaimedDelivery, WebhookDeliveryStore
from imagequeue.store.webhooks import WebhookStore
from imagequeue.webhook_rules import receiver_of
from imagequeue.webhook_views import batch_webhook, job_event
from imagequeue.webhooks import (
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    Event,
    retry_delay_ms,
    signed_headers,
)
from worker.webhook_post import Answer, Poster

MOST_AT_ONCE: Final = 4
"""Attempts at one receiver, in the whole fleet: one that is slow must not hold everybody's slots."""
_MOST_WHILE_FAILING: Final = 1
_PART_OF_SLOTS: Final = 4
"""A worker's slots divided by this may deliver webhooks; the others are for images."""
_TURN_SECONDS: Final = 5.0
"""How long a receiver is served until others have their turn."""
_LEASE_MARGIN_SECONDS: Final = 15.0
_ANNOUNCED_AGE_MS: Final = 1_000
"""What nobody has told by then, nobody will: the message is lost, or its sender died."""
_LIMIT: Final = 500
_GONE: Final = 410
_THROTTLED: Final = 429
_log = structlog.stdlib.get_logger(__name__)

EventSource = Callable[[str], Event | None]
"""From a record's id to how it ended; None when it is gone, or has not ended."""


def job_events(records: JobRecords) -> EventSource:
    """How jobs ended, those too whose records have left Redis; raises ObjectsUnavailable where S3 has to be asked."""

    def read(job_id: str) -> Event | None:
        return next(map(job_event, records.get_many([job_id])), None)

    return read


def batch_events(records: BatchRecords) -> EventSource:
    """What batches came to; raises ObjectsUnavailable where S3 has to be asked."""

    def read(subject: str) -> Event | None:
        batch_id, _, number = subject.partition(".")
        found = records.told(batch_id, number)
        return batch_webhook(found[0], subject, found[1]) if found else None

    return read


class Courier:
    """Makes deliveries of what was announced, and attempts them.

    Args:
        sources: who knows how a record ended, by the first part of its id.
        webhooks: endpoints and secrets.
        deliveries: what is to be told.
        dispatcher: for hints to other workers, and to this one.
        poster: how requests are sent.
        slots: how many tasks this process runs at once.
        stopping: set when the process is to end.
    """

    def __init__(
        self,
        sources: Mapping[str, EventSource],
        webhooks: WebhookStore,
        deliveries: WebhookDeliveryStore,
        dispatcher: Dispatcher,
        poster: Poster,
        slots: int,
        stopping: threading.Event,
    ) -> None:
        self._sources = sources
        self._webhooks = webhooks
        self._deliveries = deliveries
        self._dispatcher = dispatcher
        self._poster = poster
        self._free = threading.BoundedSemaphore(max(1, slots // _PART_OF_SLOTS))
        self._stopping = stopping
        self._lease_ms = int(1000 * (poster.seconds + _LEASE_MARGIN_SECONDS))

    def announce(self, subject: str) -> None:
        """Make the deliveries of a record's end; repeating it changes nothing."""
        with _left_to_the_sweeper(subject):
            self._announce(subject)

    def deliver(self, receiver: str) -> None:
        """Attempt what is due at a receiver, for a few seconds; what is left then is hinted at again."""
        if self._stopping.is_set() or not self._free.acquire(blocking=False):
            return  # what is due is hinted at again
        try:
            with _left_to_the_sweeper(receiver):
                self._serve(receiver)
        finally:
            self._free.release()

    def _announce(self, subject: str) -> None:
        event = self._event(subject)
        targets = self._targets(event) if event else {}
        receivers = {url: receiver_of(url) for url in targets}
        if event:
            for url, endpoint in targets.items():
                self._deliveries.schedule(event, url, receivers[url], endpoint)
        self._deliveries.told(subject)
        for receiver in dict.fromkeys(receivers.values()):
            self._dispatcher.deliver(receiver)

    def _serve(self, receiver: str) -> None:
        turn_ends = time.monotonic() + _TURN_SECONDS
        while not self._stopping.is_set() and time.monotonic() < turn_ends:
            claimed = self._deliveries.claim(receiver, self._lease_ms, MOST_AT_ONCE, _MOST_WHILE_FAILING)
            if claimed is None:
                return
            self._attempt(claimed)
        self._dispatcher.deliver(receiver)

    def _event(self, subject: str) -> Event | None:
        source = self._sources.get(subject.partition("_")[0])
        return source(subject) if source else None

    def _targets(self, event: Event) -> dict[str, str | None]:
        """Each URL once, with the endpoint that it belongs to, if it is one."""
        wanted: dict[str, str | None] = {event.webhook: None} if event.webhook else {}
        for endpoint in self._webhooks.endpoints(event.owner):
            if event.type in endpoint.events and not endpoint.disabled:
                wanted.setdefault(endpoint.url, endpoint.id)
        return wanted

    def _attempt(self, claimed: ClaimedDelivery) -> None:
        delivery = self._deliveries.get(claimed.delivery_id)
        event = self._event(delivery.subject) if delivery else None
        if delivery is None or event is None:
            self._note(claimed, DeliveryState.FAILED, Answer(None, "never sent: the job's record is gone", 0))
        elif unwanted := self._unwanted(delivery):
            self._note(claimed, DeliveryState.FAILED, Answer(None, f"never sent: {unwanted}", 0))
        else:
            headers = signed_headers(delivery.event_id, event.body, self._webhooks.secrets(delivery.owner))
            self._judge(claimed, delivery, self._poster.post(delivery.url, headers, event.body))

    def _unwanted(self, delivery: Delivery) -> str | None:
        """Why an endpoint gets nothing any more; None when it does."""
        if delivery.endpoint_id is None:
            return None
        known = {one.id: one for one in self._webhooks.endpoints(delivery.owner)}
        endpoint = known.get(delivery.endpoint_id)
        if endpoint is None:
            return "the endpoint was removed"
        return f"the endpoint is disabled: {endpoint.disabled}" if endpoint.disabled else None

    def _judge(self, claimed: ClaimedDelivery, delivery: Delivery, answer: Answer) -> None:
        """What an answer means for the delivery, and for its endpoint."""
        if answer.error is None:
            self._note(claimed, DeliveryState.DELIVERED, answer)
            return
        delay_ms = retry_delay_ms(delivery.tries + 1, answer.retry_after_seconds)
        if answer.status == _GONE:
            delay_ms = None
            if delivery.endpoint_id:
                self._webhooks.disable_endpoint(delivery.owner, delivery.endpoint_id, "it answered 410 Gone")
        state = DeliveryState.FAILED if delay_ms is None else DeliveryState.PENDING
        fails = answer.status is None or answer.status == _THROTTLED or answer.status >= 500
        self._note(claimed, state, answer, delay_ms or 0, fails=fails)

    def _note(
        self,
        claimed: ClaimedDelivery,
        state: DeliveryState,
        answer: Answer,
        delay_ms: int = 0,
        *,
        fails: bool = False,
    ) -> None:
        attempt = DeliveryAttempt(number=0, at=0, status=answer.status, error=answer.error, ms=answer.ms)
        noted = self._deliveries.attempted(claimed, state, delay_ms, attempt, fails=fails)
        told = _log.info if answer.error is None else _log.warning
        told(
            "webhook_attempted",
            delivery=claimed.delivery_id,
            receiver=claimed.receiver,
            state=state,
            status=answer.status,
            error=answer.error,
            ms=answer.ms,
            answer=noted,
        )


@contextmanager
def _left_to_the_sweeper(about: str) -> Generator[None]:
    try:
        yield
    except (StoreUnavailable, ObjectsUnavailable) as error:
        _log.warning("webhooks_interrupted", about=about, error=str(error))


class WebhookSweep:
    """Hints again at what was announced and not told, and at what is due."""

    def __init__(self, deliveries: WebhookDeliveryStore, dispatcher: Dispatcher) -> None:
        self._deliveries = deliveries
        self._dispatcher = dispatcher

    def run(self) -> None:
        """Send hints for what waits now, unless earlier ones are still in the broker.

        Raises:
            StoreUnavailable: Redis or the broker does not answer; the next pass goes on.
        """
        announced = self._deliveries.announced(_ANNOUNCED_AGE_MS, _LIMIT)
        receivers = self._deliveries.due_receivers(_LIMIT)
        if not (announced or receivers) or self._dispatcher.backlog(WEBHOOKS):
            return
        for subject in announced:
            self._dispatcher.announce(subject)
        random.shuffle(receivers)  # when slots are short, it must not always be the same ones that find none
        for receiver in receivers:
            self._dispatcher.deliver(receiver)
