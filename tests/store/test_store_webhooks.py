"""Endpoints, secrets and deliveries in Redis: each kept, bounded, given to one at a time, and never lost."""

from __future__ import annotations

import pytest
from store_kit import FAILED, HOUR_MS, LONG_AGO_MS, OWNER, SUCCEEDED, Bench

from imagequeue.store.webhook_deliveries import (
    ATTEMPTS_KEPT,
    KEPT_MS,
    MOST_IN_LOG,
    ClaimedDelivery,
    WebhookDeliveryStore,
)
from imagequeue.store.webhooks import WebhookStore
from imagequeue.webhooks import (
    EVENT_TYPES,
    MAX_ENDPOINTS,
    MAX_SECRETS,
    SECRET_OVERLAP_MS,
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    Event,
    delivery_id,
    endpoint_id,
)

RECEIVER = "https://example.com:443"
URL = "https://example.com/hook"
MOST, MOST_FAILING = 4, 1
PENDING, DELIVERED, GIVEN_UP = DeliveryState.PENDING, DeliveryState.DELIVERED, DeliveryState.FAILED
ANSWERED = DeliveryAttempt(number=0, at=0, status=200, ms=20)
REFUSED = DeliveryAttempt(number=0, at=0, status=500, error="answered 500", ms=20)


@pytest.fixture
def webhooks(bench: Bench) -> WebhookStore:
    """Endpoints and secrets, once on each engine."""
    return WebhookStore(bench.client, bench.keys)


@pytest.fixture
def deliveries(bench: Bench) -> WebhookDeliveryStore:
    """Deliveries, once on each engine."""
    return WebhookDeliveryStore(bench.client, bench.keys)


def an_event(number: int = 0) -> Event:
    """The end of a job."""
    return Event("job.succeeded", f"job_{number:04}", OWNER, URL, "{}")


def scheduled(deliveries: WebhookDeliveryStore, number: int = 0, url: str = URL) -> str:
    """A delivery that is due; its id."""
    event = an_event(number)
    deliveries.schedule(event, url, RECEIVER, None)
    return delivery_id(event.subject, url)


def claimed(deliveries: WebhookDeliveryStore) -> ClaimedDelivery:
    """The next delivery, which must be there."""
    claim = deliveries.claim(RECEIVER, HOUR_MS, MOST, MOST_FAILING)
    assert claim is not None
    return claim


def read(deliveries: WebhookDeliveryStore, identity: str) -> Delivery:
    """A delivery that must be there."""
    delivery = deliveries.get(identity)
    assert delivery is not None
    return delivery


def test_only_jobs_that_somebody_wants_to_know_of_are_announced(bench: Bench, deliveries: WebhookDeliveryStore) -> None:
    bench.store.finish(bench.claimed(), SUCCEEDED)
    bench.store.cancel(bench.submit())
    assert deliveries.announced(0, 10) == []
    finished = bench.claimed(bench.submit(webhook=URL))
    assert bench.store.finish(finished, FAILED).announced
    assert not bench.store.finish(finished, FAILED).announced, "a repetition announces nothing"
    cancelled = bench.submit(webhook=URL)
    assert bench.store.cancel(cancelled).announced
    assert deliveries.announced(0, 10) == [finished.job.id, cancelled.id]
    assert deliveries.announced(HOUR_MS, 10) == [], "not yet"
    deliveries.told(finished.job.id)
    assert deliveries.announced(0, 10) == [cancelled.id]


def test_the_end_that_a_sweep_makes_is_announced(bench: Bench, deliveries: WebhookDeliveryStore) -> None:
    claim = bench.claimed(bench.submit(webhook=URL, on_unknown_outcome="fail"))
    bench.store.start_call(claim, "direct")
    assert bench.taken_back(claim) == "failed"
    assert deliveries.announced(0, 10) == [claim.job.id]


def test_an_endpoint_is_kept_once_for_its_url(bench: Bench, webhooks: WebhookStore) -> None:
    assert webhooks.put_endpoint(OWNER, URL, EVENT_TYPES) == "added"
    webhooks.disable_endpoint(OWNER, endpoint_id(URL), "it answered 410 Gone")
    assert [one.disabled for one in webhooks.endpoints(OWNER)] == ["it answered 410 Gone"]
    assert webhooks.put_endpoint(OWNER, URL, ("job.failed",)) == "replaced"
    (endpoint,) = webhooks.endpoints(OWNER)
    assert (endpoint.id, endpoint.url, endpoint.events, endpoint.disabled) == (
        endpoint_id(URL),
        URL,
        ("job.failed",),
        None,
    )
    assert webhooks.endpoints("somebody-else") == []
    assert webhooks.remove_endpoint(OWNER, endpoint.id)
    assert not webhooks.remove_endpoint(OWNER, endpoint.id)
    assert not bench.contents(), "nothing is left"


def test_one_endpoint_too_many_is_refused_and_replacing_one_is_not(webhooks: WebhookStore) -> None:
    urls = [f"{URL}/{number}" for number in range(MAX_ENDPOINTS)]
    assert [webhooks.put_endpoint(OWNER, url, EVENT_TYPES) for url in urls] == ["added"] * MAX_ENDPOINTS
    assert webhooks.put_endpoint(OWNER, URL, EVENT_TYPES) == "full"
    assert webhooks.put_endpoint(OWNER, urls[0], EVENT_TYPES) == "replaced"
    assert webhooks.put_endpoint("somebody-else", URL, EVENT_TYPES) == "added"


def test_a_replaced_secret_signs_for_a_day(bench: Bench, webhooks: WebhookStore) -> None:
    (first,) = webhooks.secrets(OWNER)
    assert webhooks.secrets(OWNER) == [first]
    second, replaced = webhooks.rotate_secret(OWNER)
    assert (replaced.secret, second.valid_until) == (first.secret, None)
    now = bench.raw.time()[0] * 1000
    assert replaced.valid_until == pytest.approx(now + SECRET_OVERLAP_MS, abs=60_000)
    bench.raw.zadd(bench.keys.webhook_secrets(OWNER), {first.secret: LONG_AGO_MS})
    assert webhooks.secrets(OWNER) == [second]
    newest = [webhooks.rotate_secret(OWNER)[0].secret for _ in range(MAX_SECRETS + 1)]
    signing = [one.secret for one in webhooks.secrets(OWNER)]
    assert (len(signing), signing[0]) == (MAX_SECRETS, newest[-1]), "a bounded number, the one in use first"


def test_a_delivery_is_made_once_and_given_to_one(deliveries: WebhookDeliveryStore) -> None:
    identity = scheduled(deliveries)
    assert deliveries.due_receivers(10) == [RECEIVER]
    claim = claimed(deliveries)
    scheduled(deliveries)
    assert (claim.delivery_id, deliveries.claim(RECEIVER, HOUR_MS, MOST, MOST_FAILING)) == (identity, None)
    assert deliveries.due_receivers(10) == []
    assert deliveries.attempted(claim, DELIVERED, 0, ANSWERED, fails=False) == "noted"
    delivery = read(deliveries, identity)
    assert (delivery.state, delivery.next_attempt_at, delivery.event_id) == (DELIVERED, None, "evt_0000")
    assert [(attempt.number, attempt.status, attempt.ms) for attempt in delivery.attempts] == [(1, 200, 20)]
    scheduled(deliveries)
    assert deliveries.due_receivers(10) == [], "what was delivered is not made again"


def test_a_failed_attempt_is_due_again_after_its_delay(bench: Bench, deliveries: WebhookDeliveryStore) -> None:
    identity = scheduled(deliveries)
    claim = claimed(deliveries)
    assert deliveries.attempted(claim, PENDING, HOUR_MS, REFUSED, fails=True) == "noted"
    delivery = read(deliveries, identity)
    due = delivery.next_attempt_at
    assert (delivery.state, delivery.tries) == (PENDING, 1)
    assert bench.members(bench.keys.webhook_due(RECEIVER)) == {identity: due}
    assert bench.members(bench.keys.webhook_receivers) == {RECEIVER: due}
    assert list(bench.client.hgetall(bench.keys.webhook_failing)) == [RECEIVER]
    assert deliveries.claim(RECEIVER, HOUR_MS, MOST, MOST_FAILING) is None


def test_who_was_silent_for_longer_than_the_lease_notes_nothing(bench: Bench, deliveries: WebhookDeliveryStore) -> None:
    identity = scheduled(deliveries)
    late = deliveries.claim(RECEIVER, 0, MOST, MOST_FAILING)
    assert late is not None
    claim = claimed(deliveries)
    assert claim.delivery_id == late.delivery_id == identity
    assert deliveries.attempted(late, DELIVERED, 0, ANSWERED, fails=False) == "refused"
    assert read(deliveries, identity).attempts == ()
    assert deliveries.attempted(claim, GIVEN_UP, 0, REFUSED, fails=False) == "noted"
    assert deliveries.attempted(claim, DELIVERED, 0, ANSWERED, fails=False) == "refused", "a repetition changes nothing"
    assert read(deliveries, identity).state is GIVEN_UP


def test_few_attempts_at_once_go_to_a_receiver_and_fewer_while_it_fails(
    bench: Bench, deliveries: WebhookDeliveryStore
) -> None:
    for number in range(MOST + 2):
        scheduled(deliveries, number)
    flying = [claimed(deliveries) for _ in range(MOST)]
    assert deliveries.claim(RECEIVER, HOUR_MS, MOST, MOST_FAILING) is None
    deliveries.attempted(flying.pop(), PENDING, HOUR_MS, REFUSED, fails=True)
    assert deliveries.claim(RECEIVER, HOUR_MS, MOST, MOST_FAILING) is None
    while flying:
        deliveries.attempted(flying.pop(), PENDING, HOUR_MS, REFUSED, fails=True)
    one = claimed(deliveries)
    assert deliveries.claim(RECEIVER, HOUR_MS, MOST, MOST_FAILING) is None
    deliveries.attempted(one, DELIVERED, 0, ANSWERED, fails=False)
    assert bench.client.hgetall(bench.keys.webhook_failing) == {}


def test_a_delivery_can_be_asked_for_again_with_all_its_retries(bench: Bench, deliveries: WebhookDeliveryStore) -> None:
    identity = scheduled(deliveries)
    deliveries.attempted(claimed(deliveries), GIVEN_UP, 0, REFUSED, fails=False)
    key = bench.keys.webhook_delivery(identity)
    assert 0 < bench.raw.pttl(key) <= KEPT_MS
    assert deliveries.again(read(deliveries, identity), RECEIVER)
    assert bench.raw.pttl(key) == -1, "what is pending is never forgotten"
    delivery = read(deliveries, identity)
    assert (delivery.state, delivery.tries, len(delivery.attempts)) == (PENDING, 0, 1)
    claim = claimed(deliveries)
    assert deliveries.again(delivery, RECEIVER), "one that is being attempted is left alone"
    assert deliveries.claim(RECEIVER, HOUR_MS, MOST, MOST_FAILING) is None
    bench.raw.delete(key)
    assert not deliveries.again(delivery, RECEIVER)
    assert deliveries.attempted(claim, PENDING, 0, REFUSED, fails=False) == "noted"
    assert deliveries.get(identity) is None, "a record that is gone does not come back"
    assert deliveries.due_receivers(10) == []


def test_the_last_attempts_are_kept(deliveries: WebhookDeliveryStore) -> None:
    identity = scheduled(deliveries)
    for _ in range(ATTEMPTS_KEPT + 3):
        deliveries.attempted(claimed(deliveries), PENDING, 0, REFUSED, fails=False)
    numbers = [attempt.number for attempt in read(deliveries, identity).attempts]
    assert numbers == list(range(4, ATTEMPTS_KEPT + 4))


def test_deliveries_are_listed_newest_first_and_by_their_job(bench: Bench, deliveries: WebhookDeliveryStore) -> None:
    ids = [scheduled(deliveries, number) for number in range(3)]
    bench.raw.zadd(bench.keys.webhook_log(OWNER), {identity: place for place, identity in enumerate(ids)})
    other = scheduled(deliveries, 1, f"{URL}/other")
    assert [one.id for one in deliveries.listed(OWNER, None, None)] == [other, *reversed(ids)]
    assert [one.id for one in deliveries.listed(OWNER, None, ids[2])] == [ids[1], ids[0]]
    assert {one.id for one in deliveries.listed(OWNER, "job_0001", None)} == {ids[1], other}
    assert list(deliveries.listed("somebody-else", "job_0001", None)) == []


def test_the_log_is_bounded_and_what_fell_out_of_it_is_still_due(
    bench: Bench, deliveries: WebhookDeliveryStore
) -> None:
    bench.raw.zadd(bench.keys.webhook_log(OWNER), {f"dlv_{number}": number + 1 for number in range(MOST_IN_LOG)})
    first = scheduled(deliveries)
    log = bench.members(bench.keys.webhook_log(OWNER))
    assert (len(log), first in log, "dlv_0" in log) == (MOST_IN_LOG, True, False)
