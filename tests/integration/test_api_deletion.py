"""Deleting jobs and sessions over HTTP: what goes, what is refused and why, and races. A stand-in moves the jobs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from api_kit import PICTURE, RunningApi, StandInWorker, data_url, refused, succeed

from imagequeue.objects import ObjectStore, job_folder
from imagequeue.store.connection import connect
from imagequeue.store.keys import Keys


def painted_turn(api: RunningApi, worker: StandInWorker, session_id: str | None = None) -> dict[str, Any]:
    """A turn that has succeeded: of a new session, or of this one."""
    path = f"/v1/sessions/{session_id}/turns" if session_id else "/v1/sessions"
    images = {} if session_id else {"images": [data_url()]}
    job = api.http.post(path, json={"prompt": "A turn", **images}).raise_for_status().json()
    succeed(worker, job["id"])
    return cast("dict[str, Any]", job)


def delete(api: RunningApi, path: str) -> int:
    """The status of a DELETE."""
    return api.http.delete(path).status_code


def test_a_deleted_job_leaves_nothing_but_its_cost(api: RunningApi, worker: StandInWorker) -> None:
    job_id = api.submit()
    succeed(worker, job_id)
    usage = api.http.get("/v1/usage").json()
    objects = ObjectStore(api.settings)
    assert objects.listed(job_folder(job_id))
    answer = api.http.delete(f"/v1/jobs/{job_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    refused(api.http.get(f"/v1/jobs/{job_id}"), "job_not_found")
    refused(api.http.get(f"/v1/jobs/{job_id}/images/0"), "job_not_found")
    refused(api.http.delete(f"/v1/jobs/{job_id}"), "job_not_found")
    assert job_id not in [job["id"] for job in api.http.get("/v1/jobs").json()["jobs"]]
    assert objects.listed(job_folder(job_id)) == []
    assert api.http.get("/v1/usage").json() == usage
    with connect_raw(api) as redis:
        assert not any(redis.scan_iter(match=f"{api.settings.key_prefix}*{job_id}*", count=1000))


def connect_raw(api: RunningApi) -> Any:
    """Redis behind the API."""
    return cast("Any", connect(api.settings.redis_url))


def test_a_job_that_has_not_ended_is_not_deleted(api: RunningApi, worker: StandInWorker) -> None:
    queued, running = api.submit(), api.submit()
    claim = worker.claim(running)
    for job_id in (queued, running):
        problem = refused(api.http.delete(f"/v1/jobs/{job_id}"), "job_running")
        assert f"POST /v1/jobs/{job_id}/cancel" in problem["detail"]
    api.http.post(f"/v1/jobs/{queued}/cancel").raise_for_status()
    worker.fail(claim)
    assert [delete(api, f"/v1/jobs/{job_id}") for job_id in (queued, running)] == [204, 204]


def test_the_image_that_a_session_goes_on_from_is_not_deleted(api: RunningApi, worker: StandInWorker) -> None:
    first = painted_turn(api, worker)
    session = f"/v1/sessions/{first['session_id']}"
    second = painted_turn(api, worker, first["session_id"])
    problem = refused(api.http.delete(f"/v1/jobs/{second['id']}"), "image_in_use")
    assert f"POST {session}/end" in problem["detail"]
    assert delete(api, f"/v1/jobs/{first['id']}") == 204
    shown = api.http.get(session).json()
    assert [turn["id"] for turn in shown["turns"]] == [second["id"]]
    third = painted_turn(api, worker, first["session_id"])
    assert delete(api, f"/v1/jobs/{second['id']}") == 204
    api.http.post(f"{session}/end").raise_for_status()
    assert delete(api, f"/v1/jobs/{third['id']}") == 204
    refused(api.http.post(f"{session}/fork"), "image_not_found")


def test_a_session_is_deleted_with_its_turns_once_it_is_over(api: RunningApi, worker: StandInWorker) -> None:
    first = painted_turn(api, worker)
    session_id = first["session_id"]
    turns = [first, painted_turn(api, worker, session_id)]
    assert "end" in refused(api.http.delete(f"/v1/sessions/{session_id}"), "session_active")["detail"]
    fork = api.http.post(f"/v1/sessions/{session_id}/fork", json={"turn": 1}).json()["id"]
    api.http.post(f"/v1/sessions/{session_id}/end").raise_for_status()
    problem = refused(api.http.delete(f"/v1/sessions/{session_id}"), "image_in_use")
    assert fork in problem["detail"]
    assert all(api.http.get(f"/v1/jobs/{turn['id']}").is_success for turn in turns), "all or nothing"
    later = painted_turn(api, worker, fork)
    assert delete(api, f"/v1/sessions/{session_id}") == 204
    refused(api.http.get(f"/v1/sessions/{session_id}"), "session_not_found")
    for turn in turns:
        refused(api.http.get(f"/v1/jobs/{turn['id']}"), "job_not_found")
    assert session_id not in [one["id"] for one in api.http.get("/v1/sessions").json()["sessions"]]
    assert api.http.get(f"/v1/jobs/{later['id']}").json()["state"] == "succeeded"


def test_deletes_at_once_leave_no_half(api: RunningApi, worker: StandInWorker) -> None:
    objects = ObjectStore(api.settings)
    for _ in range(5):
        job_id = api.submit()
        succeed(worker, job_id)
        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(delete, [api] * 8, [f"/v1/jobs/{job_id}"] * 8))
        assert set(statuses) <= {204, 404}
        assert 204 in statuses
        assert objects.listed(job_folder(job_id)) == []


def test_a_fork_and_a_delete_at_once_never_leave_a_session_without_its_image(
    api: RunningApi, worker: StandInWorker
) -> None:
    seen: set[tuple[int, int]] = set()
    with ThreadPoolExecutor(2) as pool:
        for _ in range(12):
            first = painted_turn(api, worker)
            session, job = f"/v1/sessions/{first['session_id']}", f"/v1/jobs/{first['id']}"
            api.http.post(f"{session}/end").raise_for_status()
            forking = pool.submit(api.http.post, f"{session}/fork")
            deleting = pool.submit(delete, api, job)
            fork, deleted = forking.result(), deleting.result()
            seen.add((fork.status_code, deleted))
            if fork.status_code == 201:
                assert deleted == 409
                assert api.http.get(f"{job}/images/0", follow_redirects=True).content == PICTURE
    assert seen <= {(201, 409), (404, 204)}, seen


def test_a_removal_that_broke_off_is_hidden_for_archived_jobs_and_can_be_repeated(
    api: RunningApi, worker: StandInWorker
) -> None:
    job_id = api.submit()
    succeed(worker, job_id)
    with connect_raw(api) as redis:  # as a process leaves it that died just after it had begun
        redis.zadd(Keys(api.settings.key_prefix).leaving, {f"{job_id}:local": 1})
    assert api.http.get(f"/v1/jobs/{job_id}").is_success
    assert delete(api, f"/v1/jobs/{job_id}") == 204
    refused(api.http.get(f"/v1/jobs/{job_id}"), "job_not_found")
