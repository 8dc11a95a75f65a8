"""Whoever is to be told that a job has ended is told, at least once and verifiably, whatever dies or is slow."""

from __future__ import annotations

import json
import secrets
from collections.abc import Generator
from contextlib import closing

import pytest
from fleet_kit import Fleet
from outage_kit import joined_fleet
from receiver_kit import Receiver
from retention_kit import ages, archived, own_bucket
from session_kit import add_turn, start_session
from standardwebhooks.webhooks import WebhookVerificationError

from imagequeue.errors import DeliveryNotFound, EndpointNotFound
from imagequeue.jobs import AttemptOutcome, Job, JobState, Result
from imagequeue.requests import parse_request
from imagequeue.store.attempts import AttemptStore
from imagequeue.store.connection import connect
from imagequeue.store.keys import Keys
from imagequeue.submission import Terms
from imagequeue.webhook_rules import receiver_of
from imagequeue.webhook_views import DeliveryView, EndpointRequest
from imagequeue.webhooks import RETRY_DELAYS_SECONDS, DeliveryState
from sandbox.stack.ports import choose_port
from worker.webhooks import MOST_AT_ONCE

Receivers = tuple[Receiver, Receiver]
REFUSED_PROMPT = "Something FORBIDDEN"


@pytest.fixture
def path() -> str:
    """A path that only this test is told at."""
    return f"/{secrets.token_hex(4)}"


@pytest.fixture
def owner() -> str:
    """An owner that only this test knows."""
    return f"owner-{secrets.token_hex(4)}"


def submit(fleet: Fleet, owner: str, prompt: str = "A webhook", **fields: object) -> Job:
    """A small job of an owner."""
    request = {"type": "generate", "prompt": prompt, "quality": "low", "output_format": "jpeg", **fields}
    return fleet.queue.submit(parse_request(request), Terms(owner)).job


def deliveries(fleet: Fleet, owner: str, state: DeliveryState | None = None) -> list[DeliveryView]:
    """The owner's deliveries, newest first."""
    page = fleet.queue.webhooks.deliveries(owner=owner, job_id=None, state=state, cursor=None, limit=100)
    return list(page.deliveries)


def settled(fleet: Fleet, owner: str, *states: DeliveryState) -> list[DeliveryView]:
    """The owner's deliveries, once they have these states and each was attempted."""

    def reached() -> bool:
        found = deliveries(fleet, owner)
        return [one.state for one in found] == list(states) and all(one.attempts for one in found)

    fleet.eventually(reached)
    return deliveries(fleet, owner)


def secret_of(fleet: Fleet, owner: str) -> str:
    """What signs for the owner."""
    return fleet.queue.webhooks.secret(owner=owner).secret


def make_due(fleet: Fleet, delivery: DeliveryView) -> None:
    """Let the time of the next attempt come, and a lease lapse."""
    keys, receiver = Keys(fleet.settings.key_prefix), receiver_of(delivery.url)
    fleet.redis.zrem(keys.webhook_flying(receiver), delivery.id)
    fleet.redis.zadd(keys.webhook_due(receiver), {delivery.id: 1})
    fleet.redis.zadd(keys.webhook_receivers, {receiver: 1})


def add_endpoint(fleet: Fleet, owner: str, url: str, *events: str) -> str:
    """Let a URL get the events of all of the owner's jobs; the endpoint's id."""
    request = EndpointRequest.model_validate({"url": url, **({"events": events} if events else {})})
    return fleet.queue.webhooks.put_endpoint(request, owner=owner)[0].id


def test_a_jobs_webhook_gets_its_end_signed_and_as_the_api_shows_it(
    working_fleet: Fleet, receivers: Receivers, path: str, owner: str
) -> None:
    job = submit(working_fleet, owner, webhook=receivers[0].answering(path))
    (received,) = receivers[0].wait(path)
    told = received.verified(secret_of(working_fleet, owner))
    ended = working_fleet.queue.get(job.id, owner=owner)
    shown = json.loads(working_fleet.queue.view(ended).model_dump_json())
    assert shown.pop("webhook") == f"{receivers[0].origin}{path}"
    assert told == {"type": "job.succeeded", "timestamp": shown["finished_at"], "data": shown}
    assert told["data"]["images"][0]["url"] == f"/v1/jobs/{job.id}/images/0"
    assert received.headers["content-type"] == "application/json"
    (delivery,) = settled(working_fleet, owner, DeliveryState.DELIVERED)
    assert (delivery.event_id, delivery.job_id, delivery.endpoint_id) == (received.id, job.id, None)
    (attempt,) = delivery.attempts
    assert (attempt.number, attempt.status, attempt.error) == (1, 200, None)
    assert delivery.next_attempt_at is None
    with pytest.raises(WebhookVerificationError):
        received.verified(working_fleet.queue.webhooks.secret(owner=f"not-{owner}").secret)


def test_an_endpoint_gets_the_events_of_all_jobs_that_it_asked_for(
    working_fleet: Fleet, receivers: Receivers, path: str, owner: str
) -> None:
    every = add_endpoint(working_fleet, owner, receivers[0].answering(f"{path}/all"))
    some = add_endpoint(working_fleet, owner, receivers[0].answering(f"{path}/some"), "job.failed", "job.cancelled")
    good, bad = submit(working_fleet, owner), submit(working_fleet, owner, REFUSED_PROMPT)
    cut_prompt = f"A webhook, cut, {owner}"
    working_fleet.sandbox.add_fault({"delay": 10}, prompt=cut_prompt)
    cut = submit(working_fleet, owner, cut_prompt, webhook=f"{receivers[0].origin}{path}/all")
    working_fleet.in_call(cut_prompt)
    working_fleet.queue.cancel(cut.id, owner=owner)
    kinds = {good.id: "job.succeeded", bad.id: "job.failed", cut.id: "job.cancelled"}
    assert {one.about: json.loads(one.body)["type"] for one in receivers[0].wait(f"{path}/all", 3)} == kinds
    assert {one.about for one in receivers[0].wait(f"{path}/some", 2)} == {bad.id, cut.id}
    told = settled(working_fleet, owner, *[DeliveryState.DELIVERED] * 5)
    assert {one.endpoint_id for one in told if one.job_id != cut.id} == {every, some}
    assert {one.endpoint_id for one in told if one.job_id == cut.id} == {None, some}, "each URL is told once"


def test_every_turn_of_a_session_is_told_to_its_webhook_or_to_its_own(
    working_fleet: Fleet, receivers: Receivers, path: str
) -> None:
    first = start_session(working_fleet, "webhook turn 1", webhook=receivers[0].answering(f"{path}/session"))
    second = add_turn(working_fleet, first, "webhook turn 2")
    third = add_turn(working_fleet, first, "webhook turn 3", webhook=receivers[0].answering(f"{path}/turn"))
    assert {one.about for one in receivers[0].wait(f"{path}/session", 2)} == {first.id, second.id}
    (turn,) = receivers[0].wait(f"{path}/turn")
    assert (turn.about, json.loads(turn.body)["data"]["turn"]) == (third.id, 3)


def test_a_refused_delivery_is_tried_again_by_the_schedule_until_it_is_given_up_and_sent_again_on_demand(
    working_fleet: Fleet, receivers: Receivers, path: str, owner: str
) -> None:
    submit(working_fleet, owner, webhook=receivers[0].answering(path, 500))
    receivers[0].wait(path)
    (delivery,) = settled(working_fleet, owner, DeliveryState.PENDING)
    assert waits_seconds(delivery) == pytest.approx(RETRY_DELAYS_SECONDS[0], rel=0.2)
    receivers[0].answering(path, 503, Retry_After="7200")
    make_due(working_fleet, delivery)
    receivers[0].wait(path, 2)
    working_fleet.eventually(lambda: len(deliveries(working_fleet, owner)[0].attempts) == 2)
    (delivery,) = deliveries(working_fleet, owner)
    assert waits_seconds(delivery) == pytest.approx(7200, rel=0.01), "longer than scheduled, as the receiver asked"
    key = Keys(working_fleet.settings.key_prefix).webhook_delivery(delivery.id)
    working_fleet.redis.hset(key, "tries", len(RETRY_DELAYS_SECONDS))
    receivers[0].answering(path, 302, Location=f"{receivers[0].origin}{path}/elsewhere")
    make_due(working_fleet, delivery)
    (delivery,) = settled(working_fleet, owner, DeliveryState.FAILED)
    assert [attempt.status for attempt in delivery.attempts] == [500, 503, 302]
    assert delivery.next_attempt_at is None
    receivers[0].answering(path)
    working_fleet.queue.webhooks.redeliver(delivery.id, owner=owner)
    (delivery,) = settled(working_fleet, owner, DeliveryState.DELIVERED)
    told = receivers[0].wait(path, 4)
    assert {one.id for one in told} == {delivery.event_id}
    assert len({one.body for one in told}) == 1
    assert told[-1].verified(secret_of(working_fleet, owner))
    assert receivers[0].received(f"{path}/elsewhere") == []


def waits_seconds(delivery: DeliveryView) -> float:
    """How long after its last attempt the next one comes."""
    assert delivery.next_attempt_at
    return (delivery.next_attempt_at - delivery.attempts[-1].at).total_seconds()


def test_an_endpoint_that_is_gone_is_disabled_and_can_be_enabled_again(
    working_fleet: Fleet, receivers: Receivers, path: str, owner: str
) -> None:
    url = receivers[0].answering(path, 410)
    add_endpoint(working_fleet, owner, url)
    submit(working_fleet, owner)
    settled(working_fleet, owner, DeliveryState.FAILED)
    (endpoint,) = working_fleet.queue.webhooks.endpoints(owner=owner).endpoints
    assert endpoint.disabled == "it answered 410 Gone"
    unheard = submit(working_fleet, owner)
    working_fleet.queue.wait(unheard.id, 30, owner=owner)
    announced = Keys(working_fleet.settings.key_prefix).webhook_announced
    working_fleet.eventually(lambda: working_fleet.redis.zscore(announced, unheard.id) is None)
    receivers[0].answering(path)
    add_endpoint(working_fleet, owner, url)
    heard = submit(working_fleet, owner)
    assert [one.about for one in receivers[0].wait(path, 2)][1:] == [heard.id]
    assert unheard.id not in {one.job_id for one in deliveries(working_fleet, owner)}


def test_a_removed_endpoint_is_not_told_what_it_was_not_told_yet(
    working_fleet: Fleet, receivers: Receivers, path: str, owner: str
) -> None:
    endpoint = add_endpoint(working_fleet, owner, receivers[0].answering(path, 500))
    submit(working_fleet, owner)
    (delivery,) = settled(working_fleet, owner, DeliveryState.PENDING)
    working_fleet.queue.webhooks.remove_endpoint(endpoint, owner=owner)
    make_due(working_fleet, delivery)
    (delivery,) = settled(working_fleet, owner, DeliveryState.FAILED)
    assert delivery.attempts[-1].error == "never sent: the endpoint was removed"
    assert len(receivers[0].received(path)) == 1


def test_during_a_rotation_both_secrets_verify(
    working_fleet: Fleet, receivers: Receivers, path: str, owner: str
) -> None:
    old = secret_of(working_fleet, owner)
    rotated = working_fleet.queue.webhooks.rotate_secret(owner=owner)
    assert [one.secret for one in rotated.replaced] == [old]
    assert rotated.secret != old
    submit(working_fleet, owner, webhook=receivers[0].answering(path))
    (received,) = receivers[0].wait(path)
    assert received.verified(old) == received.verified(rotated.secret)


def test_a_job_whose_record_has_left_redis_is_told_of_as_before(
    fleet: Fleet, receivers: Receivers, path: str, owner: str
) -> None:
    origins = {"IMAGEQUEUE_WEBHOOK_ORIGINS": receivers[0].origin}
    with own_bucket(fleet, **origins, **ages(hot_seconds=0.5)) as own:
        own.start_worker()
        job = submit(own, owner, webhook=receivers[0].answering(path))
        (first,) = receivers[0].wait(path)
        (delivery,) = settled(own, owner, DeliveryState.DELIVERED)
        archived(own, [job.id])
        own.queue.webhooks.redeliver(delivery.id, owner=owner)
        _, again = receivers[0].wait(path, 2)
        assert (again.id, again.body) == (first.id, first.body)
        assert again.verified(secret_of(own, owner))["data"]["id"] == job.id


def test_another_owner_sees_and_sends_nothing(
    working_fleet: Fleet, receivers: Receivers, path: str, owner: str
) -> None:
    endpoint = add_endpoint(working_fleet, owner, receivers[0].answering(path))
    submit(working_fleet, f"not-{owner}")
    job = submit(working_fleet, owner)
    (delivery,) = settled(working_fleet, owner, DeliveryState.DELIVERED)
    webhooks = working_fleet.queue.webhooks
    of_job = webhooks.deliveries(owner=f"not-{owner}", job_id=job.id, state=None, cursor=None, limit=10)
    assert (of_job.deliveries, deliveries(working_fleet, f"not-{owner}")) == ((), [])
    assert webhooks.endpoints(owner=f"not-{owner}").endpoints == ()
    with pytest.raises(DeliveryNotFound):
        webhooks.redeliver(delivery.id, owner=f"not-{owner}")
    with pytest.raises(EndpointNotFound):
        webhooks.remove_endpoint(endpoint, owner=f"not-{owner}")
    assert [one.about for one in receivers[0].received(path)] == [job.id]


def test_a_receiver_that_does_not_answer_keeps_no_other_one_waiting(
    working_fleet: Fleet, receivers: Receivers, path: str, owner: str
) -> None:
    slow, quick = receivers[1].answering(path, silent=True), receivers[0].answering(path)
    jobs = [submit(working_fleet, owner, f"A slow webhook {number}", webhook=slow) for number in range(12)]
    receivers[1].wait(path, MOST_AT_ONCE)
    told_at_once = len(receivers[1].received(path))
    job = submit(working_fleet, owner, webhook=quick)
    assert [one.about for one in receivers[0].wait(path)] == [job.id]
    for each in jobs:
        working_fleet.queue.wait(each.id, 30, owner=owner)
    assert len(receivers[1].received(path)) == told_at_once == MOST_AT_ONCE
    receivers[1].answering(path)
    receivers[1].let_go()
    settled(working_fleet, owner, *[DeliveryState.DELIVERED] * 13)
    assert len({one.about for one in receivers[1].received(path)}) == 12


@pytest.fixture
def calling(fleet: Fleet) -> Generator[tuple[Fleet, int]]:
    """A queue without workers that may send webhooks to one port, and that port, where nobody listens."""
    port = choose_port()
    with joined_fleet(fleet, {"IMAGEQUEUE_WEBHOOK_ORIGINS": f"http://127.0.0.1:{port}"}) as joined:
        yield joined, port


def test_what_nobody_could_be_told_at_first_is_told_later_and_once(
    calling: tuple[Fleet, int], path: str, owner: str
) -> None:
    fleet, port = calling
    url = f"http://127.0.0.1:{port}{path}"
    cancelled, finished = submit(fleet, owner, webhook=url), submit(fleet, owner, webhook=url)
    fleet.queue.cancel(cancelled.id, owner=owner)
    with closing(connect(fleet.settings.redis_url)) as client:
        store = AttemptStore(client, Keys(fleet.settings.key_prefix))
        claim = store.claim(finished.id, "killed-worker", "killed-worker/1", 60_000)
        assert claim
        result = Result(state=JobState.FAILED, outcome=AttemptOutcome.FAILED)
        assert store.finish(claim, result).announced, "and then the worker is killed before it tells anybody"
    fleet.start_worker()
    for delivery in settled(fleet, owner, DeliveryState.PENDING, DeliveryState.PENDING):
        assert delivery.attempts[0].status is None
        assert "refused" in (delivery.attempts[0].error or "")
    with Receiver(port).serving() as receiver:
        for delivery in deliveries(fleet, owner):
            make_due(fleet, delivery)
        settled(fleet, owner, DeliveryState.DELIVERED, DeliveryState.DELIVERED)
        told = receiver.received(path)
    types = {one.about: one.verified(secret_of(fleet, owner))["type"] for one in told}
    assert types == {cancelled.id: "job.cancelled", finished.id: "job.failed"}
    assert len(told) == 2


def test_a_delivery_that_dies_with_its_worker_is_made_by_another_under_the_same_id(
    calling: tuple[Fleet, int], path: str, owner: str
) -> None:
    fleet, port = calling
    with Receiver(port).serving() as receiver:
        killed = fleet.start_worker()
        submit(fleet, owner, webhook=receiver.answering(path, silent=True))
        receiver.wait(path)
        fleet.kill(killed)
        receiver.answering(path)
        fleet.start_worker()
        (delivery,) = deliveries(fleet, owner, DeliveryState.PENDING)
        make_due(fleet, delivery)
        settled(fleet, owner, DeliveryState.DELIVERED)
        first, second = receiver.received(path)
    assert first.id == second.id == delivery.event_id
    assert second.verified(secret_of(fleet, owner))
