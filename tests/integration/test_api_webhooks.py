"""Webhooks over HTTP: endpoints, secrets, the delivery log; and URLs that are refused before anything is stored."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from api_kit import BODY, RunningApi, StandInWorker, assert_documented, data_url, refused

from imagequeue.service import LOCAL_OWNER
from imagequeue.store.connection import connect
from imagequeue.store.keys import Keys
from imagequeue.store.webhook_deliveries import WebhookDeliveryStore
from imagequeue.webhook_rules import receiver_of
from imagequeue.webhook_views import job_event
from imagequeue.webhooks import EVENT_TYPES, MAX_ENDPOINTS, DeliveryAttempt, DeliveryState, delivery_id

URL = "https://example.com/hook?key=1"
ENDPOINTS = "/v1/webhooks/endpoints"
DELIVERIES = "/v1/webhooks/deliveries"


def put(api: RunningApi, url: str = URL, **fields: object) -> Any:
    """Put an endpoint."""
    return api.http.post(ENDPOINTS, json={"url": url, **fields})


def delivered(api: RunningApi, count: int, state: DeliveryState = DeliveryState.FAILED) -> list[str]:
    """So many ended jobs, each told to a URL once; the ids of the deliveries, oldest first."""
    worker, made = StandInWorker(api.settings), list[str]()
    with closing(connect(api.settings.redis_url)) as client:
        deliveries = WebhookDeliveryStore(client, Keys(api.settings.key_prefix))
        for _ in range(count):
            event = job_event(worker.fail(worker.claim(api.submit(webhook=URL))))
            assert event
            deliveries.schedule(event, URL, receiver_of(URL), None)
            claimed = deliveries.claim(receiver_of(URL), 60_000, 4, 4)
            assert claimed
            attempt = DeliveryAttempt(number=0, at=0, status=500, error="answered 500", ms=12)
            deliveries.attempted(claimed, state, 60_000, attempt, fails=False)
            made.append(delivery_id(event.subject, URL))
    return made


def test_an_endpoint_is_added_listed_replaced_and_removed(empty_api: RunningApi) -> None:
    api = empty_api
    added = put(api, events=["job.failed", "job.succeeded", "job.failed"])
    assert added.status_code == 201
    endpoint = added.json()
    assert (endpoint["url"], endpoint["events"], endpoint["disabled"]) == (URL, ["job.succeeded", "job.failed"], None)
    document = api.http.get("/openapi.json").json()
    assert_documented(document, "EndpointView", endpoint)
    replaced = put(api)
    assert (replaced.status_code, replaced.json()["id"]) == (200, endpoint["id"])
    assert replaced.json()["events"] == list(EVENT_TYPES)
    listed = api.http.get(ENDPOINTS).json()
    assert_documented(document, "EndpointList", listed)
    assert listed["endpoints"] == [replaced.json()]
    assert api.http.delete(f"{ENDPOINTS}/{endpoint['id']}").status_code == 204
    refused(api.http.delete(f"{ENDPOINTS}/{endpoint['id']}"), "webhook_endpoint_not_found")
    assert api.http.get(ENDPOINTS).json() == {"endpoints": []}


def test_one_endpoint_too_many_is_refused(empty_api: RunningApi) -> None:
    statuses = [put(empty_api, f"{URL}&n={number}").status_code for number in range(MAX_ENDPOINTS)]
    assert statuses == [201] * MAX_ENDPOINTS
    refused(put(empty_api), "webhook_endpoints_full")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": "http://example.com/hook"}, "url"),
        ({"url": "https://127.0.0.1/hook"}, "url"),
        ({"url": 7}, "url"),
        ({"url": f"https://example.com/{'x' * 2048}"}, "url"),
        ({"url": URL, "events": []}, "events"),
        ({"url": URL, "events": ["job.exploded"]}, "events"),
        ({"url": URL, "event": ["job.failed"]}, "event"),
    ],
)
def test_a_bad_endpoint_is_refused_and_the_field_is_named(api: RunningApi, body: dict[str, object], field: str) -> None:
    problem = refused(api.http.post(ENDPOINTS, json=body), "invalid_request")
    assert [error["field"] for error in problem["errors"]] == [field]


@pytest.mark.parametrize("webhook", ["http://example.com/", "https://10.0.0.1/", "https://u:p@example.com/", "no", ""])
def test_a_webhook_that_is_never_called_refuses_the_job_and_stores_nothing(empty_api: RunningApi, webhook: str) -> None:
    image = data_url()
    for path, body in (
        ("/v1/jobs", BODY),
        ("/v1/jobs", {**BODY, "type": "edit", "images": [image]}),
        ("/v1/sessions", {**BODY, "images": [image]}),
    ):
        problem = refused(empty_api.http.post(path, json={**body, "webhook": webhook}), "invalid_request")
        assert [error["field"] for error in problem["errors"]] == ["webhook"]
    assert empty_api.http.get("/v1/jobs").json()["jobs"] == []


def test_a_job_shows_its_webhook_and_keeps_it_out_of_its_request(api: RunningApi) -> None:
    job = api.http.get(f"/v1/jobs/{api.submit(webhook=URL)}").json()
    assert job["webhook"] == URL
    assert "webhook" not in job["request"]
    turn = api.http.post("/v1/sessions", json={**BODY, "images": [data_url()], "webhook": URL}).json()
    second = api.http.post(f"/v1/sessions/{turn['session_id']}/turns", json=BODY).json()
    own = api.http.post(f"/v1/sessions/{turn['session_id']}/turns", json={**BODY, "webhook": f"{URL}2"}).json()
    assert [one["webhook"] for one in (turn, second, own)] == [URL, URL, f"{URL}2"]


def test_the_secret_is_the_same_until_it_is_rotated(empty_api: RunningApi) -> None:
    http = empty_api.http
    first = http.get("/v1/webhooks/secret").json()
    assert http.get("/v1/webhooks/secret").json() == first
    assert (first["secret"][:6], first["replaced"]) == ("whsec_", [])
    rotated = http.post("/v1/webhooks/secret/rotate").json()
    assert [old["secret"] for old in rotated["replaced"]] == [first["secret"]]
    assert http.get("/v1/webhooks/secret").json() == rotated
    assert_documented(http.get("/openapi.json").json(), "SecretView", rotated)


def test_deliveries_are_listed_page_by_page_by_job_and_by_state(empty_api: RunningApi) -> None:
    http = empty_api.http
    made = delivered(empty_api, 3) + delivered(empty_api, 1, DeliveryState.PENDING)
    page = http.get(DELIVERIES, params={"limit": 3}).json()
    assert_documented(http.get("/openapi.json").json(), "DeliveryPage", page)
    rest = http.get(DELIVERIES, params={"limit": 3, "cursor": page["next_cursor"]}).json()
    shown = page["deliveries"] + rest["deliveries"]
    assert ({one["id"] for one in shown}, len(shown), rest["next_cursor"]) == ({*made}, 4, None)
    (pending,) = http.get(DELIVERIES, params={"state": "pending"}).json()["deliveries"]
    (attempt,) = pending["attempts"]
    assert (attempt["status"], attempt["error"], attempt["ms"]) == (500, "answered 500", 12)
    assert pending["next_attempt_at"] > attempt["at"]
    of_job = http.get(DELIVERIES, params={"job": pending["job_id"]}).json()["deliveries"]
    assert of_job == [pending]
    refused(http.get(DELIVERIES, params={"job": "secrets"}), "job_not_found")
    refused(http.get(DELIVERIES, params={"state": "lost"}), "invalid_request")
    refused(http.get(DELIVERIES, params={"cursor": "1"}), "invalid_request")
    gone = "dlv_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z_0a1b2c3d"
    assert http.get(DELIVERIES, params={"cursor": gone}).json() == {"deliveries": [], "next_cursor": None}


def test_a_delivery_can_be_sent_again_and_an_unknown_one_cannot(empty_api: RunningApi) -> None:
    (identity,) = delivered(empty_api, 1)
    again = empty_api.http.post(f"{DELIVERIES}/{identity}/redeliver")
    assert (again.status_code, again.json()["state"]) == (202, "pending")
    assert_documented(empty_api.http.get("/openapi.json").json(), "DeliveryView", again.json())
    for unknown in ("dlv_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z_0a1b2c3d", "dlv_1", LOCAL_OWNER):
        refused(empty_api.http.post(f"{DELIVERIES}/{unknown}/redeliver"), "webhook_delivery_not_found")
