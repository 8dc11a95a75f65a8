"""Deliveries of webhooks in Redis: what is to be told, what is due, and how each attempt went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast

from imagequeue.store.connection import RedisClient, translated
from imagequeue.store.job_codec import to_json
from imagequeue.store.keys import Keys
from imagequeue.store.scripts import Scripts
from imagequeue.webhooks import Delivery, DeliveryAttempt, DeliveryState, Event, delivery_id

MOST_IN_LOG: Final = 1_000
"""Deliveries of an owner that can be listed; older ones are still tried, and found by their job."""
ATTEMPTS_KEPT: Final = 20
KEPT_MS: Final = 7 * 86_400_000
"""How long a delivery that has ended can be looked at and asked for again."""
_LISTS_KEPT_MS: Final = 30 * 86_400_000
"""Longer than a delivery can be pending and then kept."""
_PAGE: Final = 100
_ATTEMPT_PREFIX: Final = "attempt:"


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery to be attempted now. `lapses`: when somebody else may (ms), which makes it the fencing token."""

    delivery_id: str
    receiver: str
    lapses: int


class WebhookDeliveryStore:
    """The records of deliveries. Every method raises StoreUnavailable when Redis does not answer."""

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)

    def announced(self, age_ms: int, limit: int) -> list[str]:
        """Records whose end was to be told `age_ms` ago or earlier and whose deliveries are not made yet."""
        return self._waiting(self._keys.webhook_announced, age_ms, limit)

    def told(self, subject: str) -> None:
        """The deliveries of a record's end are made."""
        with translated():
            self._client.zrem(self._keys.webhook_announced, subject)

    def due_receivers(self, limit: int) -> list[str]:
        """Receivers with deliveries that are due."""
        return self._waiting(self._keys.webhook_receivers, 0, limit)

    def schedule(self, event: Event, url: str, receiver: str, endpoint: str | None) -> None:
        """Make the delivery of an event to a URL, due at once. Repeating it changes nothing."""
        identity = delivery_id(event.subject, url)
        fields = {"owner": event.owner, "event": event.type, "subject": event.subject, "url": url}
        if endpoint:
            fields["endpoint_id"] = endpoint
        flat = [part for field in fields.items() for part in field]
        keys = self._keys.for_delivery(identity, event.owner, event.subject, receiver)
        self._scripts.run("webhook_schedule", keys, [identity, receiver, MOST_IN_LOG, _LISTS_KEPT_MS, *flat])

    def claim(self, receiver: str, lease_ms: int, most: int, most_failing: int) -> ClaimedDelivery | None:
        """Take the next delivery that is due at a receiver; None when there is none, or not now.

        Args:
            receiver: whose.
            lease_ms: how long nobody else takes it.
            most: how many attempts there may be at once.
            most_failing: how many while the receiver's last attempt failed.
        """
        arguments = [receiver, lease_ms, most, most_failing]
        answer = self._scripts.run("webhook_claim", self._keys.for_receiver(receiver), arguments)
        identity, lapses = cast("tuple[str, int]", answer)
        return ClaimedDelivery(identity, receiver, lapses) if identity else None

    def attempted(
        self, claimed: ClaimedDelivery, state: DeliveryState, delay_ms: int, attempt: DeliveryAttempt, *, fails: bool
    ) -> Literal["noted", "refused"]:
        """Note how an attempt went; a pending delivery is due again after `delay_ms`. `fails`: so did the receiver."""
        told = to_json(attempt.model_dump(exclude={"number", "at"}, exclude_none=True))
        keys = self._keys.for_delivery(claimed.delivery_id, "", "", claimed.receiver)
        lease = [claimed.delivery_id, claimed.receiver, claimed.lapses]
        arguments = [*lease, state.value, delay_ms, told, int(fails), ATTEMPTS_KEPT, KEPT_MS]
        return cast("Literal['noted', 'refused']", self._scripts.run("webhook_attempted", keys, arguments))

    def again(self, delivery: Delivery, receiver: str) -> bool:
        """Make a delivery due now, with all its retries before it; False when it is gone."""
        keys = self._keys.for_delivery(delivery.id, delivery.owner, delivery.subject, receiver)
        return self._scripts.run("webhook_again", keys, [delivery.id, receiver]) == "due"

    def get(self, identity: str) -> Delivery | None:
        """Read a delivery; None when there is none."""
        return next(iter(self._read([identity])), None)

    def listed(self, owner: str, subject: str | None, after: str | None) -> Iterator[Delivery]:
        """An owner's last deliveries, or those of one of its records, newest first, those behind `after`."""
        key = self._keys.webhook_log(owner) if subject is None else self._keys.webhook_subject(subject)
        with translated():
            ids = self._client.zrevrange(key, 0, -1)
        if after is not None:  # what has left the log was its oldest
            ids = ids[ids.index(after) + 1 :] if after in ids else []
        for start in range(0, len(ids), _PAGE):
            yield from (one for one in self._read(ids[start : start + _PAGE]) if one.owner == owner)

    def _read(self, ids: Sequence[str]) -> list[Delivery]:
        pipeline = self._client.pipeline(transaction=False)
        for identity in ids:
            pipeline.hgetall(self._keys.webhook_delivery(identity))
        with translated():
            answers = cast("list[dict[str, str]]", pipeline.execute())
        return [_delivery(fields) for fields in answers if fields]

    def _waiting(self, key: str, age_ms: int, limit: int) -> list[str]:
        with translated():
            seconds, microseconds = self._client.time()
            latest = seconds * 1000 + microseconds // 1000 - age_ms
            return self._client.zrangebyscore(key, "-inf", str(latest), 0, limit)


def _delivery(fields: Mapping[str, str]) -> Delivery:
    attempts = [
        DeliveryAttempt.model_validate_json(value) for name, value in fields.items() if name.startswith(_ATTEMPT_PREFIX)
    ]
    own = {name: value for name, value in fields.items() if name in Delivery.model_fields}
    in_order = tuple(sorted(attempts, key=lambda attempt: attempt.number))
    return Delivery.model_validate({**own, "attempts": in_order})
