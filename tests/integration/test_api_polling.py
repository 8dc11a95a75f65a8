"""Looking again: ETags, many jobs at once, and the time to come back."""

from __future__ import annotations

import json
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import httpx2
import pytest
from api_kit import BODY, RunningApi, StandInWorker, data_url, refused, succeed
from redis import Redis

from imagequeue.requests import parse_request
from imagequeue.service import open_queue
from imagequeue.store.keys import Keys
from imagequeue.submission import Terms
from sandbox.stack.processes import wait_until

MANY = 100


@pytest.fixture
def redis(api: RunningApi) -> Generator[Any]:
    """The shared API's records, behind its back."""
    client = cast("Any", Redis.from_url(api.settings.redis_url, decode_responses=True))  # pyright: ignore[reportUnknownMemberType]
    yield client
    client.close()


def again(http: httpx2.Client, answer: httpx2.Response) -> httpx2.Response:
    """The same request by a client that has the answer."""
    return http.get(str(answer.request.url), headers={"If-None-Match": answer.headers["ETag"]})


def assert_unchanged(http: httpx2.Client, answer: httpx2.Response) -> httpx2.Response:
    """Assert that a client that looks again is told so, without a body."""
    second = again(http, answer)
    assert (second.status_code, second.content) == (304, b"")
    assert second.headers["ETag"] == answer.headers["ETag"]
    assert second.headers["Cache-Control"] == "private, no-cache"
    return second


def test_a_job_that_has_not_changed_is_304(api: RunningApi, worker: StandInWorker) -> None:
    job_id = api.submit()
    queued = api.http.get(f"/v1/jobs/{job_id}")
    assert queued.headers["ETag"].startswith('W/"')
    claim = worker.claim(job_id)
    running = again(api.http, queued)
    assert (running.status_code, running.json()["state"]) == (200, "running")
    assert "Retry-After" in assert_unchanged(api.http, running).headers
    worker.succeed(claim)
    ended = again(api.http, running)
    assert (ended.status_code, ended.json()["state"]) == (200, "succeeded")
    assert_unchanged(api.http, ended)


def test_only_the_time_that_is_left_may_change_unseen(api: RunningApi, worker: StandInWorker, redis: Any) -> None:
    job_id = api.submit()
    worker.claim(job_id)
    before = api.http.get(f"/v1/jobs/{job_id}")
    assert wait_until(
        lambda: api.http.get(f"/v1/jobs/{job_id}").json()["eta_seconds"] != before.json()["eta_seconds"], 30
    )
    assert_unchanged(api.http, before)
    redis.hset(Keys(api.settings.key_prefix).job(job_id), "notes", json.dumps(['"eta_seconds":3, is what I wrote']))
    changed = again(api.http, before)
    assert changed.status_code == 200
    redis.hset(Keys(api.settings.key_prefix).job(job_id), "notes", json.dumps(['"eta_seconds":4, is what I wrote']))
    assert again(api.http, changed).status_code == 200, "a text is no figure"


def test_a_wait_that_saw_no_change_is_304(api: RunningApi) -> None:
    answer = api.http.get(f"/v1/jobs/{api.submit()}?wait=0.05")
    assert_unchanged(api.http, answer)


def test_lists_and_sessions_that_have_not_changed_are_304(empty_api: RunningApi) -> None:
    http = empty_api.http
    answer = http.post("/v1/sessions", json={**BODY, "images": [data_url()]})
    session_id = answer.raise_for_status().json()["session_id"]
    paths = ["/v1/jobs", "/v1/sessions", f"/v1/sessions/{session_id}"]
    answers = [http.get(path) for path in paths]
    for answer in answers:
        assert_unchanged(http, answer)
    http.post(f"/v1/sessions/{session_id}/end")
    assert [again(http, answer).status_code for answer in answers] == [200, 200, 200]


def test_any_copy_will_do_for_a_star_and_no_other_tag(api: RunningApi) -> None:
    path = f"/v1/jobs/{api.submit()}"
    assert api.http.get(path, headers={"If-None-Match": "*"}).status_code == 304
    assert api.http.get(path, headers={"If-None-Match": 'W/"another", "one"'}).status_code == 200
    assert api.http.head(path).headers["ETag"] == api.http.get(path).headers["ETag"]


def test_jobs_by_their_ids_come_in_the_order_asked_for_and_what_is_missing_is_named(api: RunningApi) -> None:
    queue = open_queue(api.settings)
    foreign = queue.submit(parse_request({"type": "generate", **BODY}), Terms("somebody-else")).job.id
    queue.close()
    first, second = api.submit(), api.submit()
    ids = [second, "job_none", foreign, first, "job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z", second]
    answer = api.http.get("/v1/jobs", params={"ids": ",".join(ids)})
    assert [job["id"] for job in answer.json()["jobs"]] == [second, first]
    assert answer.json()["missing"] == ["job_none", foreign, "job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"]
    assert answer.json()["next_cursor"] is None
    assert_unchanged(api.http, answer)


def test_waiting_for_many_jobs_answers_when_all_or_any_have_ended(api: RunningApi, worker: StandInWorker) -> None:
    job_ids = [api.submit() for _ in range(4)]
    ids = ",".join([*job_ids, "job_none"])
    with ThreadPoolExecutor(2) as pool:

        def asked(**params: str) -> Any:
            return pool.submit(lambda: api.http.get("/v1/jobs", params={"ids": ids, "wait": "50", **params}).json())

        every, some = asked(), asked(any="true")
        succeed(worker, job_ids[2])
        assert [job["state"] for job in some.result(30)["jobs"]] == ["queued", "queued", "succeeded", "queued"]
        assert not every.done()
        worker.fail(worker.claim(job_ids[0]))
        api.http.post(f"/v1/jobs/{job_ids[1]}/cancel")
        assert not every.done()
        succeed(worker, job_ids[3])
        states = [job["state"] for job in every.result(30)["jobs"]]
    assert states == ["failed", "cancelled", "succeeded", "succeeded"]


def test_nothing_is_waited_for_when_there_is_nothing_to_wait_for(api: RunningApi, worker: StandInWorker) -> None:
    ended, queued = api.submit(), api.submit()
    succeed(worker, ended)
    for params in ({"ids": ended}, {"ids": f"{queued},{ended}", "any": "true"}, {"ids": "job_none"}):
        answer = api.http.get("/v1/jobs", params={**params, "wait": "80"}, timeout=30)
        assert answer.status_code == 200


def test_a_wait_for_many_that_runs_out_gives_them_as_they_are(narrow_api: RunningApi) -> None:
    job_id = narrow_api.submit()
    answer = narrow_api.http.get("/v1/jobs", params={"ids": job_id, "wait": "86400"})
    assert [job["state"] for job in answer.json()["jobs"]] == ["queued"], "the limit applies"


def test_a_hundred_ids_are_answered_at_once(api: RunningApi) -> None:
    ids = [api.submit() for _ in range(3)]
    unknown = [f"job_01K7ZJ5V4T8N3Q2M6R9W0X{number:04d}" for number in range(MANY - 3)]
    answer = api.http.get("/v1/jobs", params={"ids": ",".join([*ids, *unknown])})
    assert [job["id"] for job in answer.json()["jobs"]] == ids
    assert answer.json()["missing"] == unknown


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"ids": ""}, "ids"),
        ({"ids": "job_1,,job_2"}, "ids"),
        ({"ids": ",".join(["job_1"] * (MANY + 1))}, "ids"),
        ({"ids": "job_1", "limit": "20"}, "limit"),
        ({"ids": "job_1", "state": "queued"}, "state"),
        ({"wait": "3"}, "wait"),
        ({"any": "true"}, "any"),
        ({"ids": "job_1", "any": "perhaps"}, "any"),
        ({"ids": "job_1", "wait": "soon"}, "wait"),
    ],
)
def test_what_does_not_go_together_is_refused_by_its_name(api: RunningApi, params: dict[str, str], field: str) -> None:
    problem = refused(api.http.get("/v1/jobs", params=params), "invalid_request")
    assert [error["field"] for error in problem["errors"]] == [field]


def test_the_time_to_come_back_is_the_time_that_calls_of_the_kind_took(empty_api: RunningApi) -> None:
    http, worker = empty_api.http, StandInWorker(empty_api.settings)
    like = {**BODY, "quality": "high", "size": "2048x2048"}
    as_users_report = http.post("/v1/jobs", json=like)
    assert as_users_report.json()["eta_seconds"] > 100
    assert as_users_report.headers["Retry-After"] == "60", "look once a minute all the same"
    claim = worker.claim(as_users_report.json()["id"])
    assert worker.store.start_call(claim, "direct") == "started"
    key = Keys(empty_api.settings.key_prefix).job(claim.job.id)
    with Redis.from_url(empty_api.settings.redis_url) as client:  # pyright: ignore[reportUnknownMemberType]
        redis = cast("Any", client)
        attempt = json.loads(redis.hget(key, "attempt:1"))
        redis.hset(key, "attempt:1", json.dumps({**attempt, "call_started": attempt["call_started"] - 7_000}))
    assert worker.store.answered(claim) == "noted"
    measured = http.post("/v1/jobs", json=like)
    assert 7 <= measured.json()["eta_seconds"] < 30
    assert int(measured.headers["Retry-After"]) == measured.json()["eta_seconds"]
    assert http.post("/v1/jobs", json=BODY).json()["eta_seconds"] == 48, "another kind"
