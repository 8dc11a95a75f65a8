"""Submitting, looking, waiting, listing, cancelling and fetching over real HTTP."""

from __future__ import annotations

import threading
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

import httpx2
import pytest
from api_kit import BODY, RunningApi, StandInWorker

ORIGINAL = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 64
PREVIEW = b"\xff\xd8\xff\xe0"


@pytest.fixture
def pool() -> Generator[ThreadPoolExecutor]:
    """For requests that wait while the test goes on."""
    with ThreadPoolExecutor(8) as executor:
        yield executor


def later(pool: ThreadPoolExecutor, api: RunningApi, method: str, path: str, **options: Any) -> Future[httpx2.Response]:
    """Send a request that is known to have left when this returns; it waits for its answer."""
    sent = threading.Event()

    def trace(event: str, _details: object) -> None:
        if event.endswith("send_request_body.complete"):
            sent.set()

    def send() -> httpx2.Response:
        return api.http.request(method, path, extensions={"trace": trace}, **options)

    future = pool.submit(send)
    assert sent.wait(30)
    return future


def succeed(worker: StandInWorker, job_id: str) -> None:
    """Run a job to its end without images."""
    worker.succeed(worker.claim(job_id))


def test_submitting_answers_202_with_the_jobs_address(http: httpx2.Client) -> None:
    answer = http.post("/v1/jobs", json={**BODY, "size": "1536x1024", "n": 2})
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Preference-Applied" not in answer.headers
    assert (job["state"], job["request"]["size"], job["request"]["n"]) == ("queued", "1536x1024", 2)
    assert http.get(answer.headers["Location"]).json()["id"] == job["id"]


def test_the_type_may_be_left_out_or_given(http: httpx2.Client) -> None:
    assert http.post("/v1/jobs", json={**BODY, "type": "generate"}).json()["type"] == "generate"
    assert http.post("/v1/jobs", json=BODY).json()["type"] == "generate"


def test_looking_at_a_queued_job_asks_to_come_back(api: RunningApi) -> None:
    answer = api.http.get(f"/v1/jobs/{api.submit()}")
    assert (answer.status_code, answer.json()["state"]) == (200, "queued")
    assert answer.json()["position"] >= 1
    assert answer.json()["waiting_for"]
    assert int(answer.headers["Retry-After"]) > 0


def test_a_job_that_has_ended_does_not_ask_to_come_back(api: RunningApi, worker: StandInWorker) -> None:
    job_id = api.submit()
    succeed(worker, job_id)
    answer = api.http.get(f"/v1/jobs/{job_id}", params={"wait": "30"})
    assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
    assert "Retry-After" not in answer.headers
    assert answer.json()["usage"]["total_tokens"] == 205


def test_a_failed_job_says_why(api: RunningApi, worker: StandInWorker) -> None:
    job_id = api.submit()
    worker.fail(worker.claim(job_id))
    job = api.http.get(f"/v1/jobs/{job_id}").json()
    assert (job["state"], job["error"]["code"]) == ("failed", "moderation_blocked")


@pytest.mark.parametrize(
    "options", [{"params": {"wait": "30"}}, {"headers": {"Prefer": "wait=30"}}], ids=["query", "prefer"]
)
def test_waiting_returns_the_state_that_another_process_wrote(
    api: RunningApi, worker: StandInWorker, pool: ThreadPoolExecutor, options: dict[str, Any]
) -> None:
    job_id = api.submit()
    claim = worker.claim(job_id)
    waiting = later(pool, api, "GET", f"/v1/jobs/{job_id}", **options)
    worker.succeed(claim)
    assert waiting.result().json()["state"] == "succeeded"


def test_a_wait_that_runs_out_returns_the_job_as_it_is(api: RunningApi) -> None:
    answer = api.http.get(f"/v1/jobs/{api.submit()}", params={"wait": "0.05"})
    assert (answer.status_code, answer.json()["state"]) == (200, "queued")


def test_a_wait_beyond_the_limit_counts_as_the_limit(narrow_api: RunningApi) -> None:
    assert narrow_api.settings.max_wait_seconds == 1
    job_id = narrow_api.submit()
    assert narrow_api.http.get(f"/v1/jobs/{job_id}", params={"wait": "86400"}).json()["state"] == "queued"
    answer = narrow_api.http.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=86400"})
    assert answer.headers["Preference-Applied"] == "wait=1"


def test_a_preferred_wait_answers_201_when_the_job_ended_in_time(
    api: RunningApi, worker: StandInWorker, pool: ThreadPoolExecutor
) -> None:
    marked = f"a lighthouse for {threading.get_ident()} at 201"
    submitting = later(
        pool, api, "POST", "/v1/jobs", json={"prompt": marked}, headers={"Prefer": "respond-async, wait=30"}
    )
    succeed(worker, _id_of_prompt(api, marked))
    answer = submitting.result()
    assert (answer.status_code, answer.json()["state"]) == (201, "succeeded")
    assert answer.headers["Preference-Applied"] == "wait=30"
    assert "Retry-After" not in answer.headers


def _id_of_prompt(api: RunningApi, prompt: str) -> str:
    while True:
        for job in api.http.get("/v1/jobs").json()["jobs"]:
            if job["request"]["prompt"] == prompt:
                return cast("str", job["id"])


def test_a_preferred_wait_that_runs_out_answers_202(http: httpx2.Client) -> None:
    answer = http.post("/v1/jobs", json=BODY, headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    assert answer.headers["Preference-Applied"] == "wait=1"
    assert "Retry-After" in answer.headers


@pytest.mark.parametrize("prefer", ["wait=soon", "wait=-1", "wait", "return=minimal", "waiting=1", ""])
def test_a_preference_that_is_not_understood_is_passed_over(http: httpx2.Client, prefer: str) -> None:
    answer = http.post("/v1/jobs", json=BODY, headers={"Prefer": prefer})
    assert answer.status_code == 202
    assert "Preference-Applied" not in answer.headers


def test_pages_follow_one_another_newest_first(empty_api: RunningApi) -> None:
    api = empty_api
    submitted = [api.submit() for _ in range(5)]
    pages: list[list[str]] = []
    cursor: str | None = None
    while cursor or not pages:
        page = api.http.get("/v1/jobs", params={"limit": "2"} | ({"cursor": cursor} if cursor else {})).json()
        pages.append([job["id"] for job in page["jobs"]])
        cursor = page["next_cursor"]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert sorted(job_id for page in pages for job_id in page) == sorted(submitted)
    assert pages == [sorted(page, reverse=True) for page in pages]


def test_jobs_asked_for_by_their_ids_come_in_that_order_without_those_that_are_not_there(api: RunningApi) -> None:
    first, second = api.submit(), api.submit()
    page = api.http.get("/v1/jobs", params={"ids": f"{second},job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z,{first}"}).json()
    assert [job["id"] for job in page["jobs"]] == [second, first]
    assert page["next_cursor"] is None
    assert page["jobs"][0] == api.http.get(f"/v1/jobs/{second}").json() | {
        "position": page["jobs"][0]["position"],
        "waiting_for": page["jobs"][0]["waiting_for"],
        "eta_seconds": page["jobs"][0]["eta_seconds"],
    }, "what other tests' jobs change apart"


def test_listing_by_state_and_type_shows_only_those(api: RunningApi, worker: StandInWorker) -> None:
    queued, ended = api.submit(), api.submit()
    succeed(worker, ended)
    shown = api.http.get("/v1/jobs", params={"state": "succeeded", "type": "generate", "limit": "100"}).json()["jobs"]
    assert ended in [job["id"] for job in shown]
    assert queued not in [job["id"] for job in shown]
    assert {job["state"] for job in shown} == {"succeeded"}


def test_cancelling_a_queued_job_ends_it_at_once(api: RunningApi) -> None:
    job_id = api.submit()
    answer = api.http.post(f"/v1/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert api.http.get(f"/v1/jobs/{job_id}").json()["error"]["code"] == "cancelled"


def test_cancelling_a_running_job_asks_its_worker(api: RunningApi, worker: StandInWorker) -> None:
    job_id = api.submit()
    worker.claim(job_id)
    answer = api.http.post(f"/v1/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "running")
    assert answer.json()["waiting_for"] == "the worker to stop"
    assert "Retry-After" in answer.headers


def test_cancelling_a_job_that_has_ended_is_refused(api: RunningApi, worker: StandInWorker) -> None:
    job_id = api.submit()
    succeed(worker, job_id)
    answer = api.http.post(f"/v1/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "job_finished")
    assert "succeeded" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "content", "media_type"),
    [
        ("", ORIGINAL, "image/png"),
        ("?variant=original", ORIGINAL, "image/png"),
        ("?variant=preview", PREVIEW, "image/jpeg"),
    ],
    ids=["default", "original", "preview"],
)
def test_an_image_redirects_to_its_bytes_in_s3(
    api: RunningApi, worker: StandInWorker, query: str, content: bytes, media_type: str
) -> None:
    job_id = api.submit()
    worker.succeed(worker.claim(job_id), [worker.store_image(job_id, ORIGINAL, PREVIEW)])
    answer = api.http.get(f"/v1/jobs/{job_id}/images/0{query}")
    assert answer.status_code == 302
    assert answer.headers["Cache-Control"] == "no-store"
    with httpx2.Client(trust_env=False) as stranger:
        image = stranger.get(answer.headers["Location"])
    assert (image.status_code, image.content) == (200, content)
    assert image.headers["Content-Type"] == media_type
    assert "lighthouse.png" in image.headers["Content-Disposition"]


def test_the_urls_in_a_job_lead_to_its_images(api: RunningApi, worker: StandInWorker) -> None:
    job_id = api.submit()
    worker.succeed(worker.claim(job_id), [worker.store_image(job_id, ORIGINAL, PREVIEW)])
    [image] = api.http.get(f"/v1/jobs/{job_id}").json()["images"]
    assert api.http.get(image["url"], follow_redirects=True).content == ORIGINAL
    assert api.http.get(image["preview_url"], follow_redirects=True).content == PREVIEW


def test_an_image_that_is_not_there_yet_is_not_found(api: RunningApi) -> None:
    answer = api.http.get(f"/v1/jobs/{api.submit()}/images/0")
    assert (answer.status_code, answer.json()["code"]) == (404, "image_not_found")
    assert "queued" in answer.json()["detail"]


def test_an_image_beyond_the_last_is_not_found(api: RunningApi, worker: StandInWorker) -> None:
    job_id = api.submit()
    worker.succeed(worker.claim(job_id), [worker.store_image(job_id, ORIGINAL, PREVIEW)])
    answer = api.http.get(f"/v1/jobs/{job_id}/images/1")
    assert (answer.status_code, answer.json()["code"]) == (404, "image_not_found")
