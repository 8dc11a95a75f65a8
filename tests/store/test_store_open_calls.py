"""Open calls: a call sent again finds its job, equal calls stay apart, an answered one is forgotten."""

from __future__ import annotations

import pytest
from store_kit import Bench, new_job

from imagequeue.jobs import NewJob
from imagequeue.store.deliveries import KEPT_MS, call_fingerprint
from imagequeue.store.open_calls import OpenCallStore


@pytest.fixture
def calls(bench: Bench) -> OpenCallStore:
    """The store of open calls."""
    return OpenCallStore(bench.client, bench.keys)


def lapse(bench: Bench, new: NewJob, token: str) -> None:
    """Let a waiter have been silent for too long: its time is set into the past."""
    key = bench.keys.open_calls(new.owner, call_fingerprint(new))
    assert bench.raw.hget(key, new.id).endswith(f":{token}")
    bench.raw.hset(key, new.id, f"1:{token}")


def test_a_first_call_finds_nothing(calls: OpenCallStore) -> None:
    assert calls.take(new_job(), "again", "any") == "none"


def test_a_call_that_was_left_is_found_by_the_same_call_alone(bench: Bench, calls: OpenCallStore) -> None:
    new = new_job()
    calls.begin(new, "first")
    job = bench.store.submit(new)
    calls.leave(job, "first")
    assert calls.take(new_job(owner="somebody-else"), "again", "any") == "none"
    assert calls.take(new_job(model="another"), "again", "any") == "none"
    assert calls.take(new_job(), "again", "left") == new.id
    assert calls.take(new_job(), "again", "left") == new.id, "repeated by the same waiter"
    assert calls.take(new_job(), "third", "left") == "attended"


def test_a_call_that_is_waited_for_is_given_only_if_any_will_do(calls: OpenCallStore) -> None:
    new = new_job()
    calls.begin(new, "first")
    assert calls.take(new_job(), "again", "left") == "attended"
    assert calls.take(new_job(), "again", "any") == new.id


def test_a_waiter_that_is_silent_for_too_long_has_left(bench: Bench, calls: OpenCallStore) -> None:
    new = new_job()
    calls.begin(new, "first")
    lapse(bench, new, "first")
    assert calls.take(new_job(), "again", "left") == new.id


def test_of_equal_calls_the_one_left_last_is_given_and_each_once(bench: Bench, calls: OpenCallStore) -> None:
    news = [new_job() for _ in range(3)]
    for number, new in enumerate(news):
        calls.begin(new, f"waiter-{number}")
    lapse(bench, news[0], "waiter-0")
    calls.leave(bench.store.submit(news[1]), "waiter-1")
    assert calls.take(new_job(), "again-1", "left") == news[1].id
    assert calls.take(new_job(), "again-2", "left") == news[0].id
    assert calls.take(new_job(), "again-3", "left") == "attended"
    assert calls.take(new_job(), "again-3", "any") == news[2].id, "whose waiter was heard of the longest time ago"


def test_who_was_replaced_cannot_leave_or_renew(bench: Bench, calls: OpenCallStore) -> None:
    new = new_job()
    calls.begin(new, "first")
    job = bench.store.submit(new)
    assert calls.renew(job, "first")
    calls.take(new_job(), "again", "any")
    assert not calls.renew(job, "first")
    calls.leave(job, "first")
    assert calls.renew(job, "again")
    assert calls.take(new_job(), "third", "left") == "attended"


def test_an_answered_call_is_forgotten_for_good(bench: Bench, calls: OpenCallStore) -> None:
    new = new_job()
    calls.begin(new, "first")
    job = bench.store.submit(new)
    calls.end(job, job.id)
    calls.leave(job, "first")
    assert not calls.renew(job, "first")
    assert calls.take(new_job(), "again", "any") == "none"


def test_open_calls_are_kept_for_a_day(bench: Bench, calls: OpenCallStore) -> None:
    new = new_job()
    calls.begin(new, "first")
    assert 0 < bench.raw.pttl(bench.keys.open_calls(new.owner, call_fingerprint(new))) <= KEPT_MS
