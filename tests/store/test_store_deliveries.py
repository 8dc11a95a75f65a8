"""Calls whose results were not handed over: the same call finds its job, and only until it has the result."""

from __future__ import annotations

from typing import Final

import pytest
from store_kit import Bench, new_job

from imagequeue.jobs import NewJob
from imagequeue.requests import GenerateRequest, TurnRequest
from imagequeue.store.deliveries import KEPT_MS, DeliveryStore

UPLOAD: Final = "upload:" + "ab" * 32


@pytest.fixture
def deliveries(bench: Bench) -> DeliveryStore:
    """The records of calls."""
    return DeliveryStore(bench.client, bench.keys)


def turn(session_id: str, *images: str) -> NewJob:
    """A turn; with images it starts its session."""
    return new_job(request=TurnRequest(prompt="Warmer", images=images), session_id=session_id)


def test_the_same_call_finds_the_job_of_the_first(deliveries: DeliveryStore) -> None:
    first, again = new_job(), new_job()
    assert deliveries.claim(first) == first.id
    assert deliveries.claim(again) == first.id


def test_a_call_whose_result_was_handed_over_is_a_new_one(deliveries: DeliveryStore) -> None:
    first, again = new_job(), new_job()
    deliveries.claim(first)
    deliveries.handed_over(again, first.id)
    assert deliveries.claim(again) == again.id


def test_a_late_notice_of_an_old_job_leaves_the_record_of_the_new_one(deliveries: DeliveryStore) -> None:
    first, second, third = new_job(), new_job(), new_job()
    deliveries.claim(first)
    deliveries.handed_over(first, first.id)
    deliveries.claim(second)
    deliveries.handed_over(first, first.id)
    assert deliveries.claim(third) == second.id


def test_other_owners_requests_and_sessions_are_other_calls(deliveries: DeliveryStore) -> None:
    calls = [
        new_job(),
        new_job(owner="owner-2"),
        new_job(request=GenerateRequest(prompt="Another")),
        turn("ses_1"),
        turn("ses_2"),
        turn("ses_1", UPLOAD),
    ]
    assert [deliveries.claim(call) for call in calls] == [call.id for call in calls]


def test_starting_a_session_again_is_the_same_call_although_the_session_would_be_another(
    deliveries: DeliveryStore,
) -> None:
    first, again = turn("ses_1", UPLOAD), turn("ses_2", UPLOAD)
    assert [deliveries.claim(first), deliveries.claim(again)] == [first.id, first.id]


def test_records_are_forgotten_after_a_day(bench: Bench, deliveries: DeliveryStore) -> None:
    new = new_job()
    deliveries.claim(new)
    key = bench.keys.delivery(new.owner, new.fingerprint)
    left = bench.raw.pttl(key)
    assert KEPT_MS - 60_000 < left <= KEPT_MS
