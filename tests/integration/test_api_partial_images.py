"""Previews of unfinished images over REST: listed in the job, behind a stable path, refused before money is spent."""

from __future__ import annotations

import secrets

import httpx2
import pytest
from api_kit import BODY, PICTURE, RunningApi, StandInWorker, refused

from imagequeue.client import Client
from imagequeue.jobs import Claim, PartialImage


def keep_preview(worker: StandInWorker, claim: Claim, partial_index: int) -> None:
    """Store a preview as a worker does."""
    key = f"images/{claim.job.id}/{claim.attempt}/partial-{partial_index}.png"
    worker.objects.put_bytes(key, PICTURE, content_type="image/png", filename="partial.png")
    partial = PartialImage(
        partial_index=partial_index, key=key, mime_type="image/png", size="64x48", size_bytes=len(PICTURE)
    )
    assert worker.store.partial_image(claim, partial) == "noted"


def test_previews_are_listed_while_the_job_runs_and_lead_to_their_bytes(api: RunningApi, worker: StandInWorker) -> None:
    job_id = api.submit(partial_images=2)
    claim = worker.claim(job_id)
    assert api.http.get(f"/v1/jobs/{job_id}").json()["partial_images"] == []
    keep_preview(worker, claim, 0)
    job = api.http.get(f"/v1/jobs/{job_id}").json()
    assert job["state"] == "running"
    url = f"/v1/jobs/{job_id}/partials/0"
    assert job["partial_images"] == [
        {"partial_index": 0, "url": url, "mime_type": "image/png", "size": "64x48", "size_bytes": len(PICTURE)}
    ]
    redirect = api.http.get(url)
    assert (redirect.status_code, redirect.headers["Cache-Control"]) == (302, "no-store")
    with httpx2.Client(trust_env=False) as stranger:
        answer = stranger.get(redirect.headers["Location"])
    assert (answer.content, answer.headers["Content-Type"]) == (PICTURE, "image/png")
    assert f"{job_id}-partial-0.png" in answer.headers["Content-Disposition"]


def test_the_client_reads_previews(api: RunningApi, worker: StandInWorker) -> None:
    with Client(api.url) as client:
        job_id = client.submit({**BODY, "partial_images": 1}).id
        keep_preview(worker, worker.claim(job_id), 0)
        (partial,) = client.get(job_id).partial_images
        assert client.partial_image(job_id, partial) == PICTURE


def test_a_preview_that_is_not_there_is_not_found(api: RunningApi, worker: StandInWorker) -> None:
    job_id = api.submit(partial_images=2)
    keep_preview(worker, worker.claim(job_id), 0)
    problem = refused(api.http.get(f"/v1/jobs/{job_id}/partials/1"), "image_not_found")
    assert "it asked for 2, 1 came, and it is running" in problem["detail"]
    refused(api.http.get(f"/v1/jobs/job_{'0' * 26}/partials/0"), "job_not_found")
    refused(api.http.get(f"/v1/jobs/{job_id}/partials/x"), "not_found")
    refused(api.http.get(f"/v1/jobs/{job_id}/partials/0?a=b"), "invalid_request")


@pytest.mark.parametrize(
    ("fields", "field"), [({"n": 2, "partial_images": 1}, "n"), ({"partial_images": 4}, "partial_images")]
)
def test_what_openai_would_refuse_is_refused_here(api: RunningApi, fields: dict[str, int], field: str) -> None:
    problem = refused(api.http.post("/v1/jobs", json={**BODY, **fields}), "invalid_request")
    assert [error["field"] for error in problem["errors"]] == [field]


def test_sessions_take_previews_too(api: RunningApi) -> None:
    image = f"job:{secrets.token_hex(2)}/0"
    problem = refused(
        api.http.post("/v1/sessions", json={"prompt": "x", "images": [image], "partial_images": 7}), "invalid_request"
    )
    assert problem["errors"][0]["field"] == "partial_images"


def test_previews_are_in_the_price(api: RunningApi) -> None:
    fixed = {"size": "1024x1024", "quality": "low"}
    prices = [
        api.http.post("/v1/jobs", json={**BODY, **fixed, "partial_images": number}).json()["estimate"]["expected_usd"]
        for number in (0, 3)
    ]
    assert prices[1] - prices[0] == pytest.approx(0.009)
