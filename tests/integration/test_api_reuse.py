"""`reuse`: an equal request gets the images that are there, at no cost, and says so."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import httpx2
import pytest
from api_kit import BODY, RunningApi, StandInWorker, assert_documented, data_url, refused, succeed, upload
from keyed_kit import Person

from imagequeue.objects import ObjectStore, job_folder

AGAIN = {"reuse": True}


def post(api: RunningApi, headers: dict[str, str] | None = None, **fields: object) -> httpx2.Response:
    """Submit a request that takes what is there."""
    return api.http.post("/v1/jobs", json={**BODY, **AGAIN, **fields}, headers=headers)


def reused(answer: httpx2.Response, earlier: str) -> dict[str, Any]:
    """The job, which must have the images of the earlier one."""
    job = cast("dict[str, Any]", answer.json())
    assert (answer.status_code, job["state"], job["reused_from"]) == (201, "succeeded", earlier), job
    return job


def image_of(api: RunningApi, job_id: str, variant: str = "original") -> bytes:
    """What the job's image is."""
    path = f"/v1/jobs/{job_id}/images/0?variant={variant}"
    return api.http.get(path, follow_redirects=True).raise_for_status().content


@pytest.fixture
def made(api: RunningApi, worker: StandInWorker, request: pytest.FixtureRequest) -> str:
    """A job that has its image, of a prompt that is the test's own."""
    job_id = api.submit(prompt=request.node.name)
    succeed(worker, job_id, original=request.node.name.encode())
    return job_id


@pytest.fixture
def prompt(request: pytest.FixtureRequest) -> str:
    """That prompt."""
    return cast("str", request.node.name)


def test_an_equal_request_succeeds_at_once_with_the_same_images(api: RunningApi, made: str, prompt: str) -> None:
    answer = post(api, prompt=prompt)
    job = reused(answer, made)
    assert_documented(api.http.get("/openapi.json").json(), "JobView", job)
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert job["id"] != made
    assert image_of(api, job["id"]) == image_of(api, made) == prompt.encode()
    assert image_of(api, job["id"], "preview") == b"preview"
    assert (job["cost_usd_estimated"], job["estimate"]["high_usd"], job["possible_extra_cost_usd"]) == (0, 0, 0)
    assert (job["usage"]["input_tokens"], job["usage"]["output_tokens"], job["attempts"]) == (0, 0, [])
    (note,) = job["notes"]
    assert made in note
    assert "nothing is paid" in note
    assert job["images"][0]["filename"] == f"image-{job['id'][-8:].lower()}-0.png"
    assert api.http.get(f"/v1/jobs/{job['id']}").json() == job


def test_it_is_off_by_default(api: RunningApi, made: str, prompt: str) -> None:
    answer = api.http.post("/v1/jobs", json={"prompt": prompt})
    assert (answer.status_code, answer.json()["reused_from"]) == (202, None)
    assert "reuse" not in answer.json()["request"]


@pytest.mark.parametrize("change", [{"n": 2}, {"quality": "low"}, {"user": "u-1"}, {"output_format": "webp"}], ids=str)
def test_any_other_request_is_a_job_of_its_own(api: RunningApi, made: str, prompt: str, change: dict[str, Any]) -> None:
    answer = post(api, prompt=prompt, **change)
    assert (answer.status_code, answer.json()["reused_from"], answer.json()["notes"]) == (202, None, [])
    api.http.post(f"/v1/jobs/{answer.json()['id']}/cancel")


def test_while_the_first_still_runs_the_second_is_a_job_of_its_own(api: RunningApi, worker: StandInWorker) -> None:
    first = post(api, prompt="not there yet").json()["id"]
    second = post(api, prompt="not there yet").json()
    assert (second["state"], second["reused_from"]) == ("queued", None)
    succeed(worker, first)
    third = reused(post(api, prompt="not there yet"), first)
    succeed(worker, second["id"])
    reused(post(api, prompt="not there yet"), second["id"])
    assert api.http.get(f"/v1/jobs/{third['id']}").json()["reused_from"] == first


def test_each_of_the_two_outlives_the_other(api: RunningApi, made: str, prompt: str) -> None:
    second = reused(post(api, prompt=prompt), made)["id"]
    third = reused(post(api, prompt=prompt), second)["id"]
    api.http.delete(f"/v1/jobs/{made}").raise_for_status()
    assert image_of(api, second) == image_of(api, third) == prompt.encode()
    api.http.delete(f"/v1/jobs/{third}").raise_for_status()
    assert image_of(api, second) == prompt.encode()
    fourth = reused(post(api, prompt=prompt), second)["id"]
    for job_id in (second, fourth):
        api.http.delete(f"/v1/jobs/{job_id}").raise_for_status()
    objects = ObjectStore(api.settings)
    assert [objects.listed(job_folder(job_id)) for job_id in (made, second, third, fourth)] == [[]] * 4
    assert post(api, prompt=prompt).status_code == 202


def test_images_that_are_gone_are_made_anew(api: RunningApi, made: str, prompt: str) -> None:
    ObjectStore(api.settings).delete(f"images/{made}/1/0.preview.jpg")
    assert post(api, prompt=prompt).status_code == 202


def test_an_edit_is_known_by_the_bytes_of_its_images(api: RunningApi, worker: StandInWorker) -> None:
    source, body = upload(api), {"type": "edit", "prompt": "known by its bytes"}
    first = api.http.post("/v1/jobs", json={**body, "images": [source]}).json()["id"]
    succeed(worker, first)
    reused(api.http.post("/v1/jobs", json={**body, **AGAIN, "images": [data_url()]}), first)


def test_an_edit_of_a_url_says_that_it_was_not_looked_for(api: RunningApi) -> None:
    job = post(api, type="edit", images=["https://example.com/a.png"]).json()
    assert job["state"] == "queued"
    (note,) = job["notes"]
    assert "Upload" in note


def test_an_idempotency_key_makes_one_job_of_many_posts(api: RunningApi, made: str, prompt: str) -> None:
    headers = {"Idempotency-Key": prompt}

    def send(_number: int) -> httpx2.Response:
        return post(api, headers, prompt=prompt)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))
    assert len({reused(answer, made)["id"] for answer in answers}) == 1
    assert sorted(answer.headers.get("Idempotent-Replayed", "") for answer in answers) == ["", *["true"] * 7]
    refused(post(api, headers, prompt="another"), "idempotency_key_reused")


def test_an_equal_call_reattaches_to_it_until_it_is_handed_over(api: RunningApi, made: str, prompt: str) -> None:
    prefer = {"Prefer": "reattach"}
    job = reused(post(api, prefer, prompt=prompt), made)
    again = post(api, prefer, prompt=prompt)
    assert (again.status_code, again.json()["id"]) == (200, job["id"])
    api.http.post(f"/v1/jobs/{job['id']}/handed-over").raise_for_status()
    assert reused(post(api, prefer, prompt=prompt), job["id"])["id"] != job["id"]


def test_sessions_do_not_know_it(api: RunningApi) -> None:
    problem = refused(api.http.post("/v1/sessions", json={**BODY, **AGAIN, "images": [data_url()]}), "invalid_request")
    assert problem["errors"][0]["field"] == "reuse"


def test_nobody_gets_the_images_of_somebody_else(keyed_api: RunningApi, admin: Person) -> None:
    anna, bert = admin.issue(name="anna"), admin.issue(name="bert", limits={"daily_budget_usd": 0.000001})
    job_id = anna.submit(prompt="annas")
    succeed(StandInWorker(keyed_api.settings), job_id)
    body = {"prompt": "annas", **AGAIN}
    refused(bert.ask("POST", "/v1/jobs", body), "budget_exceeded")
    admin.limit(anna, daily_budget_usd=0.000001)
    reused(anna.ask("POST", "/v1/jobs", body), job_id)
