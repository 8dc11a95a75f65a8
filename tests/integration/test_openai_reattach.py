"""A connection that breaks while OpenAI's SDK waits: the job goes on, and the call sent again gets it, not another."""

from __future__ import annotations

import base64
import secrets
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, cast

import httpx2
import pytest
from api_kit import PICTURE, RunningApi, StandInWorker, succeed
from openai import OpenAI

from sandbox.stack.processes import wait_until

PATIENCE_SECONDS = 30.0
GENERATIONS = "/v1/images/generations"
RETRY = {"x-stainless-retry-count": "1"}


@pytest.fixture
def prompt() -> str:
    """One that no other test has."""
    return f"A lighthouse {secrets.token_hex(6)}"


def jobs_of(api: RunningApi, prompt: str) -> list[str]:
    """The ids of the jobs with this prompt, oldest first."""
    jobs = api.http.get("/v1/jobs", params={"limit": "100"}).json()["jobs"]
    return sorted(job["id"] for job in jobs if job["request"]["prompt"] == prompt)


def job_of(api: RunningApi, prompt: str, *, number: int = 1) -> str:
    """The newest of so many jobs with this prompt, once they are there."""
    assert wait_until(lambda: len(jobs_of(api, prompt)) >= number, PATIENCE_SECONDS)
    found = jobs_of(api, prompt)
    assert len(found) == number
    return found[-1]


@contextmanager
def calling(api: RunningApi, prompt: str, **headers: str) -> Generator[httpx2.Client]:
    """A call whose connection is cut when the block ends; its job is there when it begins."""
    client = httpx2.Client(base_url=api.url, timeout=60, trust_env=False)

    def call() -> None:
        with client.stream("POST", GENERATIONS, json={"prompt": prompt, "stream": True}, headers=headers) as answer:
            began.set()
            cut.wait(PATIENCE_SECONDS)
            answer.close()

    began, cut = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(call)
        assert began.wait(PATIENCE_SECONDS)
        try:
            yield client
        finally:
            cut.set()
            waiting.result()
            client.close()


def images(answer: httpx2.Response) -> list[bytes]:
    """The images in an answer."""
    assert answer.status_code == 200, answer.text
    return [base64.b64decode(image["b64_json"]) for image in answer.json()["data"]]


def test_the_sdks_own_retry_after_a_timeout_gets_the_first_calls_job(
    api: RunningApi, worker: StandInWorker, prompt: str
) -> None:
    with (
        OpenAI(base_url=f"{api.url}/v1", api_key="any", timeout=1.5, max_retries=2) as sdk,
        ThreadPoolExecutor(1) as pool,
    ):
        sent: list[httpx2.Request] = []
        cast("Any", sdk)._client.event_hooks = {"request": [sent.append]}
        answer = pool.submit(sdk.images.generate, prompt=prompt)
        assert wait_until(lambda: len(sent) == 2, PATIENCE_SECONDS), "the SDK gave up on its first call"
        succeed(worker, job_of(api, prompt))
        assert base64.b64decode((answer.result(PATIENCE_SECONDS).data or [])[0].b64_json or "") == PICTURE
    assert [request.headers["x-stainless-retry-count"] for request in sent[:2]] == ["0", "1"]
    assert len(jobs_of(api, prompt)) == 1


def test_a_cut_call_sent_again_gets_its_job_until_it_was_answered(
    api: RunningApi, worker: StandInWorker, prompt: str
) -> None:
    with calling(api, prompt):
        job_id = job_of(api, prompt)
    succeed(worker, job_id)
    again = api.http.post(GENERATIONS, json={"prompt": prompt}, headers=RETRY)
    assert (images(again), again.headers["x-imagequeue-job"]) == ([PICTURE], job_id)
    accepted = api.http.post(GENERATIONS, json={"prompt": prompt}, headers={**RETRY, "Prefer": "respond-async"})
    assert accepted.json()["id"] == job_of(api, prompt, number=2), "an answered call is over"


def test_equal_calls_that_are_not_sent_again_are_calls_of_their_own(api: RunningApi, prompt: str) -> None:
    with calling(api, prompt), calling(api, prompt):
        assert job_of(api, prompt, number=2)


def test_equal_calls_that_are_cut_get_one_job_each(api: RunningApi, worker: StandInWorker, prompt: str) -> None:
    with calling(api, prompt), calling(api, prompt):
        job_of(api, prompt, number=2)
    with calling(api, prompt, **RETRY), calling(api, prompt, **RETRY):
        job_of(api, prompt, number=2)
    for job_id in jobs_of(api, prompt):
        succeed(worker, job_id)
    answers = [api.http.post(GENERATIONS, json={"prompt": prompt}, headers=RETRY) for _ in range(2)]
    assert sorted(answer.headers["x-imagequeue-job"] for answer in answers) == jobs_of(api, prompt)


def test_other_clients_ask_for_it_by_a_preference(api: RunningApi, worker: StandInWorker, prompt: str) -> None:
    with calling(api, prompt):
        job_id = job_of(api, prompt)
    succeed(worker, job_id)
    answer = api.http.post(GENERATIONS, json={"prompt": prompt}, headers={"Prefer": "reattach"})
    assert answer.headers["x-imagequeue-job"] == job_id


def test_a_call_whose_client_has_left_is_noticed_before_the_job_ends(api: RunningApi, prompt: str) -> None:
    with httpx2.Client(base_url=api.url, timeout=0.5, trust_env=False) as hasty, pytest.raises(httpx2.ReadTimeout):
        hasty.post(GENERATIONS, json={"prompt": prompt})
    job_id = job_of(api, prompt)
    answer = api.http.post(GENERATIONS, json={"prompt": prompt}, headers={**RETRY, "Prefer": "respond-async"})
    assert (answer.status_code, answer.json()["id"]) == (202, job_id)


def test_a_failure_is_told_and_not_to_be_tried_again(api: RunningApi, worker: StandInWorker, prompt: str) -> None:
    with calling(api, prompt):
        job_id = job_of(api, prompt)
    worker.fail(worker.claim(job_id))
    answer = api.http.post(GENERATIONS, json={"prompt": prompt}, headers=RETRY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "moderation_blocked")
    assert answer.headers["x-should-retry"] == "false"


def test_a_cancelled_job_is_not_given_again(api: RunningApi, prompt: str) -> None:
    with calling(api, prompt):
        job_id = job_of(api, prompt)
    api.http.post(f"/v1/jobs/{job_id}/cancel")
    answer = api.http.post(GENERATIONS, json={"prompt": prompt}, headers={**RETRY, "Prefer": "respond-async"})
    assert answer.json()["id"] == job_of(api, prompt, number=2) != job_id


def test_a_server_that_stops_says_so_and_the_next_one_has_the_job(
    start_own_api: Callable[..., RunningApi], prompt: str
) -> None:
    prefix = f"{secrets.token_hex(4)}:"
    first = start_own_api(IMAGEQUEUE_KEY_PREFIX=prefix, IMAGEQUEUE_API_PROCESSES="1")
    second = start_own_api(IMAGEQUEUE_KEY_PREFIX=prefix, IMAGEQUEUE_API_PROCESSES="1")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(httpx2.post, f"{first.url}{GENERATIONS}", json={"prompt": prompt}, timeout=60)
        job_id = job_of(second, prompt)
        first.process.terminate()
        stopped = waiting.result(PATIENCE_SECONDS)
    assert (stopped.status_code, stopped.json()["error"]["code"]) == (503, "server_stopping")
    assert stopped.headers["x-should-retry"] == "true"
    succeed(StandInWorker(second.settings), job_id)
    again = second.http.post(GENERATIONS, json={"prompt": prompt}, headers=RETRY)
    assert (images(again), again.headers["x-imagequeue-job"]) == ([PICTURE], job_id)


def test_a_call_that_waits_too_long_is_told_its_job_and_gets_it_when_sent_again(
    start_own_api: Callable[..., RunningApi], prompt: str
) -> None:
    api = start_own_api(IMAGEQUEUE_IMAGES_WAIT_SECONDS="0.2", IMAGEQUEUE_API_PROCESSES="1")
    late = api.http.post(GENERATIONS, json={"prompt": prompt})
    job_id = job_of(api, prompt)
    assert (late.status_code, late.json()["error"]["code"]) == (504, "job_not_finished")
    assert (late.headers["x-should-retry"], late.headers["x-imagequeue-job"]) == ("true", job_id)
    assert f"GET /v1/jobs/{job_id}?wait=60" in late.json()["error"]["message"]
    succeed(StandInWorker(api.settings), job_id)
    assert images(api.http.post(GENERATIONS, json={"prompt": prompt}, headers=RETRY)) == [PICTURE]


def test_a_job_instead_of_images_is_given_at_once(api: RunningApi, prompt: str) -> None:
    answer = api.http.post(GENERATIONS, json={"prompt": prompt}, headers={"Prefer": "respond-async"})
    job_id = job_of(api, prompt)
    assert (answer.status_code, answer.json()["id"], answer.json()["state"]) == (202, job_id, "queued")
    assert answer.headers["Location"] == f"/v1/jobs/{job_id}"
    assert answer.headers["Preference-Applied"] == "respond-async"


def test_a_call_with_an_idempotency_key_is_known_by_it_also_when_it_was_answered(
    api: RunningApi, worker: StandInWorker, prompt: str
) -> None:
    key = {"Idempotency-Key": secrets.token_hex(8)}
    ahead = api.http.post(GENERATIONS, json={"prompt": prompt}, headers={**key, "Prefer": "respond-async"})
    assert (ahead.status_code, ahead.headers.get("idempotent-replayed")) == (202, None)
    succeed(worker, job_of(api, prompt))
    for _ in range(2):
        answer = api.http.post(GENERATIONS, json={"prompt": prompt, "n": 1}, headers=key)
        assert images(answer) == [PICTURE]
        assert (answer.headers["x-imagequeue-job"], answer.headers["idempotent-replayed"]) == (
            ahead.json()["id"],
            "true",
        )
    other = api.http.post(GENERATIONS, json={"prompt": prompt, "n": 2}, headers=key)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    bad = api.http.post(GENERATIONS, json={"prompt": prompt}, headers={"Idempotency-Key": "two words"})
    assert (bad.status_code, bad.json()["error"]["param"]) == (400, "Idempotency-Key")
    assert len(jobs_of(api, prompt)) == 1
