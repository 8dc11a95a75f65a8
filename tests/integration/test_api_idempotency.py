"""`Idempotency-Key`: a request that is sent again gets the job of the first time, however close together they come."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from api_kit import BODY, RunningApi, StandInWorker, data_url, refused, succeed
from keyed_kit import Person

POSTS = 30
URL = "https://example.com/a.png"
REPLAYED = "Idempotent-Replayed"


def key() -> dict[str, str]:
    """A new key, as a header."""
    return {"Idempotency-Key": str(uuid.uuid4())}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/jobs", BODY),
        ("/v1/jobs", {**BODY, "type": "edit", "images": [URL, data_url()]}),
        ("/v1/sessions", {**BODY, "images": [URL]}),
    ],
    ids=["generate", "edit", "session"],
)
def test_thirty_equal_requests_at_once_make_one_job(api: RunningApi, path: str, body: Mapping[str, object]) -> None:
    headers, sessions = key(), known_sessions(api)

    def post(_number: int) -> httpx2.Response:
        return api.http.post(path, json=body, headers=headers)

    with ThreadPoolExecutor(POSTS) as pool:
        answers = list(pool.map(post, range(POSTS)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert sorted(answer.headers.get(REPLAYED, "") for answer in answers) == ["", *["true"] * (POSTS - 1)]
    assert len(known_sessions(api) - sessions) == (path == "/v1/sessions")


def test_thirty_different_requests_at_once_with_one_key_make_one_job(api: RunningApi) -> None:
    headers, newest = key(), api.submit()

    def post(number: int) -> httpx2.Response:
        return api.http.post("/v1/jobs", json={"prompt": f"Number {number}"}, headers=headers)

    with ThreadPoolExecutor(POSTS) as pool:
        answers = list(pool.map(post, range(POSTS)))
    assert sorted(answer.status_code for answer in answers) == [202, *[422] * (POSTS - 1)]
    (made,) = (answer.json()["id"] for answer in answers if answer.status_code == 202)
    listed = [job["id"] for job in api.http.get("/v1/jobs?limit=2").json()["jobs"]]
    assert listed == [made, newest]


def test_a_replay_waits_and_shows_the_job_as_it_is_by_now(api: RunningApi, worker: StandInWorker) -> None:
    headers = key()
    job_id = api.http.post("/v1/jobs", json=BODY, headers=headers).json()["id"]
    succeed(worker, job_id)
    written_otherwise = json.dumps({**BODY}, indent=4)
    json_type = {"Content-Type": "application/json", "Prefer": "wait=5"}
    again = api.http.post("/v1/jobs", content=written_otherwise, headers=headers | json_type)
    assert (again.status_code, again.json()["id"], again.json()["state"]) == (201, job_id, "succeeded")
    assert (again.headers[REPLAYED], again.headers["Preference-Applied"]) == ("true", "wait=5")


def test_turns_are_told_apart_by_their_session(api: RunningApi) -> None:
    one, other = (api.http.post("/v1/sessions", json={**BODY, "images": [data_url()]}).json() for _ in range(2))
    headers = key()
    turns = [post_turn(api, one["session_id"], headers) for _ in range(3)]
    assert [(turn.status_code, turn.json()["turn"], turn.headers.get(REPLAYED)) for turn in turns] == [
        *((202, 2, None), (202, 2, "true"), (202, 2, "true")),
    ]
    refused(post_turn(api, other["session_id"], headers), "idempotency_key_reused")
    refused(api.http.post("/v1/jobs", json={"prompt": "Again"}, headers=headers), "idempotency_key_reused")
    api.http.post(f"/v1/sessions/{one['session_id']}/end")
    replayed = post_turn(api, one["session_id"], headers)
    assert (replayed.json()["state"], replayed.headers[REPLAYED]) == ("cancelled", "true"), "not: it takes no turns"


def test_what_was_refused_may_be_corrected_and_sent_with_the_same_key(api: RunningApi) -> None:
    headers = key()
    refused(api.http.post("/v1/jobs", json={"prompt": ""}, headers=headers), "invalid_request")
    missing = {**BODY, "type": "edit", "images": ["upload:" + "0" * 64]}
    refused(api.http.post("/v1/jobs", json=missing, headers=headers), "input_missing")
    answer = api.http.post("/v1/jobs", json=BODY, headers=headers)
    assert (answer.status_code, REPLAYED in answer.headers) == (202, False)
    problem = refused(api.http.post("/v1/jobs", json={**BODY, "n": 2}, headers=headers), "idempotency_key_reused")
    assert "24 hours" in problem["detail"]


def test_reattaching_and_an_idempotency_key_go_together(api: RunningApi) -> None:
    body = {"prompt": f"Both {uuid.uuid4()}"}
    headers = {**key(), "Prefer": "reattach"}
    first = api.http.post("/v1/jobs", json=body, headers=headers)
    again = api.http.post("/v1/jobs", json=body, headers=headers)
    other_key = api.http.post("/v1/jobs", json=body, headers={**key(), "Prefer": "reattach"})
    ids = [answer.json()["id"] for answer in (first, again, other_key)]
    assert len(set(ids)) == 1
    assert [answer.headers.get(REPLAYED) for answer in (first, again, other_key)] == [None, "true", None]
    assert [answer.status_code for answer in (first, again, other_key)] == [202, 202, 200]


@pytest.mark.parametrize("given", ["", "two words", "x" * 256, "tab\tin", "umläut"])
def test_a_key_that_is_none_is_refused(api: RunningApi, given: str) -> None:
    answer = api.http.post("/v1/jobs", json=BODY, headers=httpx2.Headers({"Idempotency-Key": given}, encoding="utf-8"))
    problem = refused(answer, "invalid_request")
    assert problem["errors"][0]["field"] == "Idempotency-Key"
    assert "visible ASCII" in problem["detail"]


@pytest.mark.parametrize("given", ["x", "!" * 255, '"7b0c9a52"', "a,b;c=d", "iq:x:*"])
def test_any_visible_text_is_a_key(api: RunningApi, given: str) -> None:
    headers = {"Idempotency-Key": given}
    ids = {api.http.post("/v1/jobs", json=BODY, headers=headers).json()["id"] for _ in range(2)}
    assert len(ids) == 1


def test_owners_do_not_meet_and_a_replay_counts_against_no_limit(admin: Person) -> None:
    headers = key()
    one, other = (admin.issue(limits={"jobs_per_minute": 1, "jobs_in_flight": 1}) for _ in range(2))
    made: list[Any] = [person.ask("POST", "/v1/jobs", BODY, headers) for person in (one, other)]
    assert made[0].json()["id"] != made[1].json()["id"]
    for _ in range(3):
        again = one.ask("POST", "/v1/jobs", BODY, headers)
        assert (again.status_code, again.json()["id"], again.headers[REPLAYED]) == (202, made[0].json()["id"], "true")
        assert "RateLimit" not in again.headers
    refused(one.ask("POST", "/v1/jobs", {**BODY, "n": 2}, headers), "idempotency_key_reused")
    refused(one.ask("POST", "/v1/jobs", BODY, key()), "too_many_jobs_in_flight")


def post_turn(api: RunningApi, session_id: str, headers: Mapping[str, str]) -> httpx2.Response:
    """Add a turn."""
    return api.http.post(f"/v1/sessions/{session_id}/turns", json={"prompt": "Again"}, headers=headers)


def known_sessions(api: RunningApi) -> set[str]:
    """The newest hundred sessions."""
    return {session["id"] for session in api.http.get("/v1/sessions?limit=100").json()["sessions"]}
