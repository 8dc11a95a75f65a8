"""Edits through a real worker while `/v1/images/edits` refuses the model: the Responses API serves them."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, cast

import httpx2
import pytest
from fleet_kit import Fleet
from session_kit import add_turn, chained, picture, start_session

from imagequeue.jobs import AttemptOutcome, Job, JobState
from imagequeue.requests import parse_request
from imagequeue.store.keys import Keys
from worker.image_answers import SANDBOX_NOTE
from worker.responses_route import IMAGE_NOT_COUNTED_NOTE, ROUTE_NOTE

DIRECT, RESPONSES = "/v1/images/edits", "/v1/responses"


@pytest.fixture
def refusing(working_fleet: Fleet) -> Generator[Fleet]:
    """The shared fleet, with no memory of a refusal, and a sandbox that refuses the model at the edits endpoint."""
    refuse_edits(working_fleet, True)
    yield working_fleet
    refuse_edits(working_fleet, False)
    forget_refusal(working_fleet)


def refuse_edits(fleet: Fleet, refuse: bool) -> None:
    """Close or open the edits endpoint."""
    httpx2.post(f"{fleet.sandbox.url}/sandbox/settings", json={"refuse_edits": refuse}).raise_for_status()


def forget_refusal(fleet: Fleet) -> bool:
    """Let the fleet's memory of the refusal run out; False when it had none."""
    return bool(fleet.redis.delete(Keys(fleet.settings.key_prefix).edit_route))


def edited(fleet: Fleet, prompt: str, **fields: object) -> Job:
    """A small edit that has ended."""
    request = {"type": "edit", "prompt": prompt, "images": [picture(fleet, "red")], "quality": "low", **fields}
    return fleet.finished(fleet.queue.submit(parse_request(request)).job)


def endpoints(fleet: Fleet, prompt: str) -> list[str]:
    """Where the calls for a prompt went, in order."""
    return [call["endpoint"] for call in fleet.sandbox.calls(prompt)]


def kept_files(fleet: Fleet) -> list[Any]:
    """The uploads that the sandbox still has."""
    return cast("list[Any]", httpx2.get(f"{fleet.sandbox.url}/sandbox/files").raise_for_status().json()["files"])


def test_a_refused_edit_succeeds_by_responses_in_the_same_attempt(refusing: Fleet) -> None:
    image, mask = picture(refusing, "red"), picture(refusing, transparent=True)
    job = edited(refusing, "refused once", images=[image], mask=mask, output_format="webp", output_compression=70)
    assert job.state is JobState.SUCCEEDED, job.error
    (attempt,) = job.attempts
    assert (attempt.route, attempt.outcome) == ("responses", AttemptOutcome.SUCCEEDED)
    refused, served = refusing.sandbox.calls("refused once")
    assert (refused["endpoint"], refused["outcome"]) == (DIRECT, "refused")
    assert (served["endpoint"], served["outcome"]) == (RESPONSES, "answered")
    assert [f"upload:{sha256}" for sha256 in (*served["inputs"], served["mask"])] == [image, mask]
    assert [stored.sha256 for stored in job.images] == served["images"]
    assert job.images[0].mime_type == "image/webp"
    assert {ROUTE_NOTE, IMAGE_NOT_COUNTED_NOTE, SANDBOX_NOTE} <= set(job.notes)
    assert job.possible_extra_cost_usd == 0, "a refusal costs nothing"
    assert kept_files(refusing) == []


def test_two_images_are_two_calls(refusing: Fleet) -> None:
    job = edited(refusing, "two images", n=2)
    assert endpoints(refusing, "two images") == [DIRECT, RESPONSES, RESPONSES]
    calls = refusing.sandbox.calls("two images")[1:]
    assert [stored.sha256 for stored in job.images] == [call["images"][0] for call in calls]
    assert job.usage
    assert kept_files(refusing) == []


def test_the_fleet_remembers_the_refusal_and_tries_again_once_it_is_forgotten(refusing: Fleet) -> None:
    edited(refusing, "remember 1")
    assert endpoints(refusing, "remember 1") == [DIRECT, RESPONSES]
    other = refusing.start_worker()
    edited(refusing, "remember 2")
    assert endpoints(refusing, "remember 2") == [RESPONSES]
    refusing.kill(other)
    refuse_edits(refusing, False)
    assert forget_refusal(refusing)
    job = edited(refusing, "remember 3")
    assert endpoints(refusing, "remember 3") == [DIRECT]
    assert job.attempts[0].route == "direct"
    assert ROUTE_NOTE not in job.notes


def test_the_turns_of_a_session_go_on_by_responses_each_on_the_bytes_of_the_one_before(refusing: Fleet) -> None:
    first = start_session(refusing, "refused turn 1")
    ended = [refusing.finished(job) for job in (first, add_turn(refusing, first, "refused turn 2"))]
    assert [job.state for job in ended] == [JobState.SUCCEEDED] * 2
    assert chained(ended)
    assert ended[1].attempts[0].route == "responses"


def test_images_that_are_paid_for_are_kept_when_a_later_call_fails(refusing: Fleet) -> None:
    edited(refusing, "the memory of the refusal")
    refusing.sandbox.add_fault({"delay": 0.001}, prompt="half of it")
    refusing.sandbox.add_fault({"drop": "before"}, prompt="half of it")
    job = edited(refusing, "half of it", n=2)
    assert (job.state, len(job.images)) == (JobState.SUCCEEDED, 1)
    assert any("1 of 2 images" in note and "may have been billed" in note for note in job.notes)
    assert kept_files(refusing) == []


def test_a_refusal_by_responses_fails_the_job_with_openais_reason(refusing: Fleet) -> None:
    fault = {"status": 400, "code": "moderation_blocked", "type": "image_generation_user_error"}
    refusing.sandbox.add_fault(fault, prompt="refused twice")
    job = edited(refusing, "refused twice")
    assert (job.state, job.error and job.error.code) == (JobState.FAILED, "moderation_blocked")
    assert endpoints(refusing, "refused twice") == [DIRECT, RESPONSES]
    assert kept_files(refusing) == []


def test_a_busy_responses_api_is_asked_again_without_another_refusal(refusing: Fleet) -> None:
    fault = {"status": 503, "code": "overloaded", "headers": {"retry-after": "0"}}  # a 429 would slow the fleet down
    refusing.sandbox.add_fault(fault, prompt="busy responses")
    job = edited(refusing, "busy responses")
    assert [attempt.outcome for attempt in job.attempts] == [AttemptOutcome.BUSY, AttemptOutcome.SUCCEEDED]
    assert endpoints(refusing, "busy responses") == [DIRECT, RESPONSES, RESPONSES]


def test_cancelling_a_call_by_responses_leaves_no_upload(refusing: Fleet) -> None:
    refusing.sandbox.set_latency(600)
    request = {"type": "edit", "prompt": "cancelled responses", "images": [picture(refusing, "red")]}
    job = refusing.queue.submit(parse_request(request)).job
    refusing.eventually(lambda: RESPONSES in endpoints(refusing, "cancelled responses"))
    assert len(kept_files(refusing)) == 1
    refusing.queue.cancel(job.id)
    assert refusing.finished(job).state is JobState.CANCELLED
    refusing.eventually(lambda: kept_files(refusing) == [])
