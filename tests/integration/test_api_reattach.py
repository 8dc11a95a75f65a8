"""`Prefer: reattach`: an equal request gets the job whose result was not handed over, and none is made."""

from __future__ import annotations

import secrets
from http import HTTPStatus

import pytest
from api_kit import RunningApi, StandInWorker, data_url, refused, succeed

REATTACH = {"Prefer": "reattach"}


def test_an_equal_request_gets_the_first_ones_job_until_its_result_was_handed_over(
    api: RunningApi, worker: StandInWorker
) -> None:
    body = {"prompt": f"A lighthouse {secrets.token_hex(4)}"}
    first = api.http.post("/v1/jobs", json=body, headers=REATTACH)
    assert (first.status_code, first.headers["Preference-Applied"]) == (HTTPStatus.ACCEPTED, "reattach")
    job_id = first.json()["id"]
    again = api.http.post("/v1/jobs", json={**body, "type": "generate", "size": "AUTO"}, headers=REATTACH)
    assert (again.status_code, again.json()["id"]) == (HTTPStatus.OK, job_id)
    assert again.headers["Location"] == f"/v1/jobs/{job_id}"
    succeed(worker, job_id)
    done = api.http.post("/v1/jobs", json=body, headers={"Prefer": "wait=9, reattach"})
    assert (done.status_code, done.json()["state"]) == (HTTPStatus.OK, "succeeded")
    assert done.headers["Preference-Applied"] == "wait=9, reattach"
    for _ in range(2):
        assert api.http.post(f"/v1/jobs/{job_id}/handed-over").status_code == HTTPStatus.NO_CONTENT
    new = api.http.post("/v1/jobs", json=body, headers=REATTACH)
    assert (new.status_code, new.json()["id"] != job_id) == (HTTPStatus.ACCEPTED, True)


def test_who_does_not_ask_for_it_gets_a_job_of_its_own(api: RunningApi) -> None:
    body = {"prompt": f"A pier {secrets.token_hex(4)}"}
    asking = api.http.post("/v1/jobs", json=body, headers=REATTACH).json()["id"]
    plain = api.http.post("/v1/jobs", json=body)
    assert (plain.status_code, plain.json()["id"] != asking) == (HTTPStatus.ACCEPTED, True)


@pytest.mark.parametrize("prefer", ["reattach=1x", "no-reattach", "reattached"])
def test_what_only_looks_like_it_is_passed_over(api: RunningApi, prefer: str) -> None:
    body = {"prompt": f"A boat {secrets.token_hex(4)}"}
    api.http.post("/v1/jobs", json=body, headers=REATTACH)
    answer = api.http.post("/v1/jobs", json=body, headers={"Prefer": prefer})
    assert answer.status_code == HTTPStatus.ACCEPTED
    assert "Preference-Applied" not in answer.headers


def test_sessions_and_turns_are_found_again(api: RunningApi, worker: StandInWorker) -> None:
    start = {"prompt": f"Night {secrets.token_hex(4)}", "images": [data_url()]}
    first, again = (api.http.post("/v1/sessions", json=start, headers=REATTACH) for _ in range(2))
    assert (first.status_code, again.status_code) == (HTTPStatus.ACCEPTED, HTTPStatus.OK)
    assert first.json()["session_id"] == again.json()["session_id"]
    turns = f"/v1/sessions/{first.json()['session_id']}/turns"
    one, same, other = (
        api.http.post(turns, json={"prompt": prompt}, headers=REATTACH) for prompt in ("A moon", "A moon", "A star")
    )
    assert [answer.status_code for answer in (one, same, other)] == [202, 200, 202]
    assert one.json()["id"] == same.json()["id"] != other.json()["id"]


def test_a_session_that_takes_no_turn_leaves_nothing_behind(api: RunningApi) -> None:
    start = {"prompt": f"Day {secrets.token_hex(4)}", "images": [data_url()]}
    session = api.http.post("/v1/sessions", json=start).json()["session_id"]
    api.http.post(f"/v1/sessions/{session}/end")
    for _ in range(2):
        turn = api.http.post(f"/v1/sessions/{session}/turns", json={"prompt": "Late"}, headers=REATTACH)
        refused(turn, "session_ended")


def test_nobody_hands_over_a_job_that_is_not_there(api: RunningApi) -> None:
    refused(api.http.post("/v1/jobs/job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z/handed-over"), "job_not_found")
