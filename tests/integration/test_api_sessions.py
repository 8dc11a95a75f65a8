"""Edit sessions over real HTTP, and lists of jobs: a stand-in makes the worker's moves."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, cast

import httpx2
import pytest
from api_kit import PICTURE, RunningApi, StandInWorker, assert_documented, data_url, refused, succeed, upload

from imagequeue.store.connection import connect
from imagequeue.store.keys import Keys

EDIT = {"type": "edit", "prompt": "Add a red boat"}
SOME_SESSION = "ses_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"
JSON_TYPE = {"Content-Type": "application/json"}


def start(api: RunningApi, **fields: object) -> dict[str, Any]:
    """A new session's first turn."""
    body = {"prompt": "Turn 1", "images": [data_url()], **fields}
    answer = api.http.post("/v1/sessions", json=body)
    assert answer.status_code == HTTPStatus.ACCEPTED, answer.text
    return cast("dict[str, Any]", answer.json())


def add_turn(api: RunningApi, session_id: str, prompt: str = "Another turn") -> httpx2.Response:
    """Ask for one more turn."""
    return api.http.post(f"/v1/sessions/{session_id}/turns", json={"prompt": prompt})


def session_of(api: RunningApi, session_id: str) -> dict[str, Any]:
    """The session as shown now."""
    answer = api.http.get(f"/v1/sessions/{session_id}")
    return cast("dict[str, Any]", answer.raise_for_status().json())


@pytest.mark.parametrize("field", ["n", "moderation", "session_id", "type"])
def test_a_session_refuses_the_fields_of_jobs(api: RunningApi, field: str) -> None:
    [error] = refused(
        api.http.post("/v1/sessions", json={"prompt": "x", "images": [data_url()], field: 1}), "invalid_request"
    )["errors"]
    assert error["field"] == field


def test_starting_a_session_answers_with_its_first_turn(api: RunningApi) -> None:
    answer = api.http.post("/v1/sessions", json={"prompt": "Turn 1", "images": [upload(api)], "output_format": "webp"})
    job = answer.json()
    assert (answer.status_code, job["type"], job["turn"], job["state"]) == (202, "turn", 1, "queued")
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert int(answer.headers["Retry-After"]) > 0
    session = session_of(api, job["session_id"])
    assert (session["state"], session["output_format"], session["turn"]) == ("active", "webp", 0)
    assert (session["image_url"], session["image"], session["turns_waiting"]) == (None, None, 1)
    assert [turn["id"] for turn in session["turns"]] == [job["id"]]


def test_a_preferred_wait_answers_201_when_the_turn_ended_in_time(api: RunningApi, worker: StandInWorker) -> None:
    first = start(api)
    path, body = f"/v1/sessions/{first['session_id']}/turns", {"prompt": "Turn 2"}
    succeed(worker, first["id"])
    with ThreadPoolExecutor(1) as pool:
        adding = pool.submit(api.http.post, path, json=body, headers={"Prefer": "wait=30"})
        while len(turns := session_of(api, first["session_id"])["turns"]) < 2:
            assert not adding.done()
        succeed(worker, turns[1]["id"])
        answer = adding.result()
    assert (answer.status_code, answer.json()["state"], answer.json()["turn"]) == (201, "succeeded", 2)
    assert answer.headers["Preference-Applied"] == "wait=30"
    assert "Retry-After" not in answer.headers


def test_a_preferred_wait_that_runs_out_answers_202(api: RunningApi) -> None:
    body = {"prompt": "Turn 1", "images": [data_url()]}
    answer = api.http.post("/v1/sessions", json=body, headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    assert answer.headers["Preference-Applied"] == "wait=1"


def test_turns_are_numbered_and_wait_for_one_another(api: RunningApi, worker: StandInWorker) -> None:
    first = start(api)
    session_id = first["session_id"]
    second, third = (add_turn(api, session_id, f"Turn {number}").json() for number in (2, 3))
    assert [turn["turn"] for turn in (first, second, third)] == [1, 2, 3]
    assert (second["position"], second["waiting_for"]) == (None, "the session's turns before it")
    succeed(worker, first["id"])
    session = session_of(api, session_id)
    assert [turn["state"] for turn in session["turns"]] == ["succeeded", "queued", "queued"]
    assert (session["turn"], session["turns_submitted"], session["turns_waiting"]) == (1, 3, 2)
    assert (session["last_prompt"], session["cost_usd_estimated"]) == ("Turn 1", 0.006)
    assert session["image_url"] == session["image"]["url"] == f"/v1/jobs/{first['id']}/images/0"
    assert api.http.get(session["image_url"], follow_redirects=True).content == PICTURE
    succeed(worker, second["id"])
    assert session_of(api, session_id)["turn"] == 2
    assert_documented(api.http.get("/openapi.json").json(), "SessionView", session)


def test_a_failed_turn_cancels_those_behind_it_and_says_why(api: RunningApi, worker: StandInWorker) -> None:
    first = start(api)
    session_id = first["session_id"]
    succeed(worker, first["id"])
    second, third = (add_turn(api, session_id).json() for _ in range(2))
    worker.fail(worker.claim(second["id"]))
    for halted in worker.store.halted():
        worker.store.cancel_halted(halted)
    session = session_of(api, session_id)
    assert [turn["state"] for turn in session["turns"]] == ["succeeded", "failed", "cancelled"]
    assert session["turns"][2]["error"]["code"] == "previous_turn_failed"
    assert (session["state"], session["turn"], session["turns_waiting"]) == ("active", 1, 0)
    assert third["id"] == session["turns"][2]["id"]
    assert add_turn(api, session_id).json()["turn"] == 4


def test_ending_a_session_cancels_what_waits_and_refuses_more(api: RunningApi, worker: StandInWorker) -> None:
    first = start(api)
    session_id = first["session_id"]
    add_turn(api, session_id)
    claim = worker.claim(first["id"])
    ended = api.http.post(f"/v1/sessions/{session_id}/end")
    assert (ended.status_code, ended.json()["state"]) == (200, "ended")
    assert [turn["state"] for turn in ended.json()["turns"]] == ["running", "cancelled"]
    worker.succeed(claim, [worker.store_image(first["id"], PICTURE, b"preview")])
    again = api.http.post(f"/v1/sessions/{session_id}/end").json()
    assert (again["state"], again["turn"]) == ("ended", 1)
    detail = refused(add_turn(api, session_id), "session_ended")["detail"]
    assert "has ended" in detail
    assert f"/v1/sessions/{session_id}/fork" in detail


def test_an_idle_session_expires_and_can_still_be_forked(narrow_api: RunningApi) -> None:
    api = narrow_api
    assert api.settings.session_idle_hours == 1
    first = start(api)
    session_id = first["session_id"]
    succeed(StandInWorker(api.settings), first["id"])
    client = cast("Any", connect(api.settings.redis_url))
    client.hincrby(Keys(api.settings.key_prefix).session(session_id), "updated_at", -3_600_001)
    client.close()
    detail = refused(add_turn(api, session_id), "session_expired")["detail"]
    assert "fork" in detail
    assert session_of(api, session_id)["state"] == "expired"
    assert api.http.post(f"/v1/sessions/{session_id}/fork").status_code == 201


def test_a_full_session_asks_to_come_back(narrow_api: RunningApi) -> None:
    api = narrow_api
    assert api.settings.max_waiting_turns == 2
    session_id = start(api)["session_id"]
    assert add_turn(api, session_id).status_code == 202
    answer = add_turn(api, session_id)
    assert "2 turns waiting" in refused(answer, "session_full")["detail"]
    assert int(answer.headers["Retry-After"]) > 0
    assert session_of(api, session_id)["turns_submitted"] == 2


@pytest.mark.parametrize(
    ("given", "turn"),
    [
        ({}, 2),
        ({"json": {}}, 2),
        ({"json": {"turn": None}}, 2),
        ({"json": {"turn": 1}}, 1),
        ({"headers": JSON_TYPE}, 2),
    ],
    ids=["no body", "an empty object", "null", "turn 1", "a type without a body"],
)
def test_a_fork_goes_on_from_the_turn_that_was_asked_for(
    api: RunningApi, worker: StandInWorker, given: dict[str, Any], turn: int
) -> None:
    first = start(api)
    session_id = first["session_id"]
    second = add_turn(api, session_id).json()
    for job in (first, second):
        succeed(worker, job["id"])
    answer = api.http.post(f"/v1/sessions/{session_id}/fork", **given)
    forked = answer.json()
    assert (answer.status_code, answer.headers["Location"]) == (201, f"/v1/sessions/{forked['id']}")
    assert forked["forked_from"] == f"{session_id}/{turn}"
    assert (forked["state"], forked["turn"], forked["turns"]) == ("active", 0, [])
    assert forked["image_url"] == f"/v1/jobs/{(first, second)[turn - 1]['id']}/images/0"
    assert add_turn(api, forked["id"]).json()["turn"] == 1
    assert session_of(api, session_id)["turns_submitted"] == 2
    assert_documented(api.http.get("/openapi.json").json(), "SessionView", forked)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"turn": 1}, "image_not_found"),
        ({"turn": 7}, "image_not_found"),
        ({}, "image_not_found"),
        ({"turn": -1}, "invalid_request"),
        ({"turn": "1"}, "invalid_request"),
        ({"turn": True}, "invalid_request"),
        ({"trun": 1}, "invalid_request"),
        ([], "invalid_request"),
    ],
)
def test_a_fork_of_what_is_not_there_is_refused(api: RunningApi, body: object, code: str) -> None:
    refused(api.http.post(f"/v1/sessions/{start(api)['session_id']}/fork", json=body), code)


@pytest.mark.parametrize("session_id", [SOME_SESSION, "42", "job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z", "%ff%00", "A" * 3000])
def test_a_session_that_is_not_there_is_not_found(api: RunningApi, session_id: str) -> None:
    path = f"/v1/sessions/{session_id}"
    refused(api.http.get(path), "session_not_found")
    refused(api.http.post(f"{path}/turns", json={"prompt": "x"}), "session_not_found")
    refused(api.http.post(f"{path}/fork"), "session_not_found")
    refused(api.http.post(f"{path}/end"), "session_not_found")
    refused(api.http.get(f"/v1/jobs?session={session_id}"), "session_not_found")


def test_sessions_are_listed_newest_first_page_by_page(empty_api: RunningApi) -> None:
    api = empty_api
    started = [start(api)["session_id"] for _ in range(3)]
    first = api.http.get("/v1/sessions", params={"limit": "2"}).json()
    rest = api.http.get("/v1/sessions", params={"limit": "2", "cursor": first["next_cursor"]}).json()
    assert [session["id"] for session in [*first["sessions"], *rest["sessions"]]] == sorted(started, reverse=True)
    assert rest["next_cursor"] is None
    assert_documented(api.http.get("/openapi.json").json(), "SessionPage", first)
    for query in ("cursor=", f"cursor={SOME_SESSION.lower()}", "cursor=job_1", "limit=0", "limit=101", "state=active"):
        refused(api.http.get(f"/v1/sessions?{query}"), "invalid_request")


def test_jobs_are_listed_by_type_state_and_session(empty_api: RunningApi) -> None:
    api = empty_api
    worker = StandInWorker(api.settings)
    kinds: dict[str, list[str]] = {"generate": [], "edit": [], "turn": []}
    image = upload(api)
    for _ in range(3):
        kinds["generate"].append(api.submit())
        kinds["edit"].append(api.http.post("/v1/jobs", json={**EDIT, "images": [image]}).json()["id"])
        kinds["turn"].append(start(api)["id"])
    newest = worker.store.get(kinds["turn"][-1])
    add_turn(api, newest.session_id or "")
    succeed(worker, newest.id)

    def listed(**query: str) -> list[list[str]]:
        """Pages of ids."""
        pages: list[list[str]] = []
        cursor: dict[str, str] = {}
        while True:
            page = api.http.get("/v1/jobs", params={**query, **cursor}).raise_for_status().json()
            pages.append([job["id"] for job in page["jobs"]])
            if not page["next_cursor"]:
                return pages
            cursor = {"cursor": page["next_cursor"]}

    for kind in ("generate", "edit"):
        ids = sorted(kinds[kind], reverse=True)
        assert listed(type=kind, limit="2") == [ids[:2], ids[2:]]
        assert listed(type=kind, limit="3") == [ids]
    assert [len(page) for page in listed(type="turn", limit="2")] == [2, 2]
    assert listed(type="turn", state="succeeded") == [[newest.id]]
    assert listed(type="edit", state="succeeded") == [[]]
    turns = listed(session=newest.session_id or "", limit="1")
    assert turns[-1] == [newest.id]
    assert len(turns) == 2
    assert listed(session=newest.session_id or "", state="succeeded") == [[newest.id]]
    assert listed(session=newest.session_id or "", type="edit") == [[]]


def test_a_listing_by_type_finds_what_lies_far_behind_other_jobs(empty_api: RunningApi) -> None:
    api = empty_api
    edit = api.http.post("/v1/jobs", json={**EDIT, "images": [upload(api)]}).json()["id"]
    for _ in range(510):
        api.submit()
    page = api.http.get("/v1/jobs", params={"type": "edit", "limit": "1"}).json()
    assert ([job["id"] for job in page["jobs"]], page["next_cursor"]) == ([edit], None)


def test_a_turn_takes_no_images_and_no_large_body(api: RunningApi) -> None:
    session_id = start(api)["session_id"]
    large = json.dumps({"prompt": "x", "images": [data_url(bytes(1_000_000))]}).encode()
    refused(api.http.post(f"/v1/sessions/{session_id}/turns", content=large, headers=JSON_TYPE), "body_too_large")
    body = {"prompt": "x", "images": [data_url()]}
    refused(api.http.post(f"/v1/sessions/{session_id}/turns", json=body), "invalid_request")
