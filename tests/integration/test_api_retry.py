"""Trying jobs again: a new job of the same request, on the terms of a submit, and never of what is paid for."""

from __future__ import annotations

import uuid

import pytest
from api_kit import BODY, RunningApi, StandInWorker, data_url, refused, succeed

KEY = "Idempotency-Key"


def failed(api: RunningApi, worker: StandInWorker, **fields: object) -> str:
    """A job that has failed."""
    job_id = api.submit(**fields)
    worker.fail(worker.claim(job_id))
    return job_id


def test_a_failed_job_is_tried_again_as_a_new_one_of_the_same_request(api: RunningApi, worker: StandInWorker) -> None:
    job_id = failed(
        api, worker, size="1536x1024", quality="low", n=2, filename_prefix="hero", on_unknown_outcome="fail"
    )
    before = api.http.get(f"/v1/jobs/{job_id}").json()
    answer = api.http.post(f"/v1/jobs/{job_id}/retry")
    new = answer.json()
    assert (answer.status_code, new["state"], new["attempts"]) == (202, "queued", [])
    assert new["id"] != job_id
    assert new["request"] == before["request"]
    assert answer.headers["Location"] == f"/v1/jobs/{new['id']}"
    assert int(answer.headers["Retry-After"]) > 0
    assert api.http.get(f"/v1/jobs/{job_id}").json() == before


def test_a_cancelled_edit_is_tried_again_with_its_images(api: RunningApi) -> None:
    body = {"type": "edit", "prompt": "Add a boat", "images": [data_url()]}
    job = api.http.post("/v1/jobs", json=body).json()
    api.http.post(f"/v1/jobs/{job['id']}/cancel")
    new = api.http.post(f"/v1/jobs/{job['id']}/retry").json()
    assert new["request"]["images"] == job["request"]["images"]


def test_the_new_job_tells_the_same_webhook(api: RunningApi, worker: StandInWorker) -> None:
    job_id = failed(api, worker, webhook="https://example.com/hook")
    assert api.http.post(f"/v1/jobs/{job_id}/retry").json()["webhook"] == "https://example.com/hook"


@pytest.mark.parametrize("running", [False, True], ids=["queued", "running"])
def test_a_job_that_has_not_ended_is_not_tried_again(api: RunningApi, worker: StandInWorker, running: bool) -> None:
    job_id = api.submit()
    if running:
        worker.claim(job_id)
    problem = refused(api.http.post(f"/v1/jobs/{job_id}/retry"), "job_running")
    assert f"/v1/jobs/{job_id}/cancel" in problem["detail"]


def test_a_job_that_succeeded_is_not_paid_for_twice(api: RunningApi, worker: StandInWorker) -> None:
    job_id = api.submit()
    succeed(worker, job_id)
    problem = refused(api.http.post(f"/v1/jobs/{job_id}/retry"), "job_succeeded")
    assert "POST /v1/jobs" in problem["detail"]


def test_a_turn_is_added_to_its_session_again_instead(api: RunningApi, worker: StandInWorker) -> None:
    turn = api.http.post("/v1/sessions", json={"prompt": "Turn 1", "images": [data_url()]}).json()
    worker.fail(worker.claim(turn["id"]))
    problem = refused(api.http.post(f"/v1/jobs/{turn['id']}/retry"), "job_in_session")
    assert f"POST /v1/sessions/{turn['session_id']}/turns" in problem["detail"]


def test_a_retry_that_is_sent_again_under_its_key_gets_the_job_of_the_first_time(
    api: RunningApi, worker: StandInWorker
) -> None:
    job_id, other, key = failed(api, worker), failed(api, worker), {KEY: str(uuid.uuid4())}
    first = api.http.post(f"/v1/jobs/{job_id}/retry", headers=key)
    assert api.http.delete(f"/v1/jobs/{job_id}").status_code == 204
    again = api.http.post(f"/v1/jobs/{job_id}/retry", headers=key)
    assert (again.json()["id"], again.headers["Idempotent-Replayed"]) == (first.json()["id"], "true")
    refused(api.http.post(f"/v1/jobs/{other}/retry", headers=key), "idempotency_key_reused")
    refused(api.http.post("/v1/jobs", json=BODY, headers=key), "idempotency_key_reused")


def test_a_retry_that_prefers_to_reattach_makes_one_new_job_and_not_the_failed_one(
    api: RunningApi, worker: StandInWorker
) -> None:
    prefer = {"Prefer": "reattach"}
    prompt = f"A lighthouse {uuid.uuid4()}"
    job_id = api.http.post("/v1/jobs", json={"prompt": prompt}, headers=prefer).json()["id"]
    worker.fail(worker.claim(job_id))
    first = api.http.post(f"/v1/jobs/{job_id}/retry", headers=prefer)
    again = api.http.post(f"/v1/jobs/{job_id}/retry", headers=prefer)
    assert first.json()["id"] != job_id
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json()["id"] == first.json()["id"]


def test_a_retry_waits_for_the_new_job_if_that_is_preferred(api: RunningApi, worker: StandInWorker) -> None:
    answer = api.http.post(f"/v1/jobs/{failed(api, worker)}/retry", headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (202, "wait=1")
    assert answer.json()["state"] == "queued"
