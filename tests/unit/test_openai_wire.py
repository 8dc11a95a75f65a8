"""OpenAI's wire format: which requests become which jobs, and how refusals and failures are put in OpenAI's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from api.openai_wire.bodies import edit_order, generation_order
from api.openai_wire.errors import OpenAIError, failure_as_openai, problem_as_openai, speaks_openai
from imagequeue.jobs import Job, JobError, JobState, NewJob
from imagequeue.requests import EditRequest, GenerateRequest
from imagequeue.store.jobs import CANCELLED, OUTCOME_UNKNOWN, WORKER_LOST

MODEL = "gpt-image-2"
UPLOAD = "upload:" + "0" * 64


def generated(**fields: object) -> GenerateRequest:
    """The job's request that a request in OpenAI's format becomes."""
    request = generation_order({"prompt": "a fox", **fields}, MODEL).request
    assert isinstance(request, GenerateRequest)
    return request


def test_defaults_are_the_queues_own() -> None:
    assert generated() == GenerateRequest(prompt="a fox")


def test_every_parameter_reaches_the_job() -> None:
    fields = {
        "model": MODEL,
        "n": 1,
        "size": "1536x1024",
        "quality": "high",
        "background": "opaque",
        "output_format": "webp",
        "output_compression": 80,
        "moderation": "low",
        "partial_images": 3,
    }
    request = generated(**fields, stream=True, user="u-1")
    expected = {name: value for name, value in fields.items() if name != "model"}
    assert request.model_dump(include=set(expected)) == expected
    assert request.user == "u-1"
    assert generation_order({"prompt": "a fox", "stream": True}, MODEL).streamed


def test_what_is_null_counts_as_left_out() -> None:
    names = ("model", "n", "size", "quality", "stream", "partial_images", "user", "moderation", "output_compression")
    assert generated(**dict.fromkeys(names)) == generated()


@pytest.mark.parametrize(
    ("fields", "user"),
    [({"safety_identifier": "s"}, "s"), ({"safety_identifier": "s", "user": "u"}, "s"), ({"user": "u"}, "u")],
)
def test_the_safety_identifier_comes_before_the_older_user(fields: Mapping[str, object], user: str) -> None:
    assert generated(**fields).user == user


def test_an_edits_references_become_sources() -> None:
    images = [{"image_url": UPLOAD}, {"image_url": "https://example.com/a.png"}]
    order = edit_order({"prompt": "a fox", "images": images, "mask": {"image_url": UPLOAD}}, MODEL)
    assert isinstance(order.request, EditRequest)
    assert order.request.images == (UPLOAD, "https://example.com/a.png")
    assert (order.request.mask, order.event, order.streamed) == (UPLOAD, "image_edit", False)


REFUSED_EDITS: list[tuple[dict[str, Any], str, str]] = [
    ({"images": []}, "missing_required_parameter", "images"),
    ({"images": UPLOAD}, "invalid_type", "images"),
    ({"images": [UPLOAD]}, "invalid_type", "images[0]"),
    ({"images": [{}]}, "missing_required_parameter", "images[0].image_url"),
    ({"images": [{"image_url": ""}]}, "empty_string", "images[0].image_url"),
    ({"images": [{"image_url": UPLOAD, "b": 1}]}, "unknown_parameter", "images[0].b"),
    ({"images": [{"file_id": "file-1"}]}, "unsupported_value", "images[0].file_id"),
    ({"images": [{"image_url": UPLOAD}], "mask": {"file_id": "file-1"}}, "unsupported_value", "mask.file_id"),
    ({"images": [{"image_url": UPLOAD}] * 9}, "array_above_max_length", "images"),
    ({"images": [{"image_url": UPLOAD}], "moderation": "low"}, "unsupported_value", "moderation"),
    ({"images": [{"image_url": UPLOAD}], "input_fidelity": "high"}, "unknown_parameter", "input_fidelity"),
]


@pytest.mark.parametrize(("fields", "code", "param"), REFUSED_EDITS, ids=[str(row[0])[:60] for row in REFUSED_EDITS])
def test_a_refused_edit_names_code_and_parameter(fields: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(OpenAIError) as caught:
        edit_order({"prompt": "a fox", **fields}, MODEL)
    error = caught.value.body.error
    assert (caught.value.status, error.type, error.code, error.param) == (400, "invalid_request_error", code, param)


def test_a_form_calls_its_images_by_the_name_of_the_field() -> None:
    with pytest.raises(OpenAIError) as caught:
        edit_order({"prompt": "a fox", "images": []}, MODEL, images_name="image")
    assert caught.value.body.error.message == "Missing required parameter: 'image'."


def ended(error: JobError) -> Job:
    """A job that ended so."""
    new = NewJob(
        request=GenerateRequest(prompt="a fox"), owner="o", lane="interactive", model=MODEL, on_unknown_outcome="fail"
    )
    return Job(
        **new.model_dump(exclude={"request"}),
        type="generate",
        request=new.request,
        fingerprint=new.fingerprint,
        estimate=new.estimate,
        state=JobState.CANCELLED if error is CANCELLED else JobState.FAILED,
        created_at=1,
        error=error,
    )


FAILURES = {
    "moderation_blocked": (400, "image_generation_user_error", "moderation_blocked"),
    "provider_refused": (400, "invalid_request_error", "provider_refused"),
    "url_unreachable": (400, "image_generation_user_error", "url_unreachable"),
    "rate_limited": (429, "requests", "rate_limit_exceeded"),
    "provider_busy": (503, "server_error", "provider_busy"),
    "bad_output": (502, "server_error", "bad_output"),
    "cancelled": (409, "invalid_request_error", "cancelled"),
    "outcome_unknown": (500, "server_error", "outcome_unknown"),
    "worker_lost": (500, "server_error", "worker_lost"),
    "objects_unavailable": (500, "server_error", "objects_unavailable"),
}


@pytest.mark.parametrize(("reason", "told"), FAILURES.items())
def test_a_failed_job_is_an_error_that_no_sdk_tries_again_by_itself(reason: str, told: tuple[int, str, str]) -> None:
    known = {error.code: error for error in (CANCELLED, OUTCOME_UNKNOWN, WORKER_LOST)}
    refusal = failure_as_openai(ended(known.get(reason, JobError(code=reason, message="So it is."))))
    assert (refusal.status, refusal.body.error.type, refusal.body.error.code) == told
    assert refusal.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("status", "code", "told", "retry"),
    [
        (401, "unauthorized", (401, "invalid_api_key"), None),
        (402, "budget_exceeded", (429, "insufficient_quota"), "false"),
        (403, "forbidden", (403, "insufficient_permissions"), None),
        (429, "too_many_jobs_per_minute", (429, "rate_limit_exceeded"), None),
        (503, "store_unavailable", (503, "store_unavailable"), None),
    ],
)
def test_problems_of_ours_have_openais_statuses_and_codes(
    status: int, code: str, told: tuple[int, str], retry: str | None
) -> None:
    response = problem_as_openai(status, code, "So it is.", None)
    assert (response.status_code, response.get_json()["error"]["code"]) == told
    assert response.headers.get("x-should-retry") == retry


@pytest.mark.parametrize(
    ("path", "speaks"),
    [("/v1/images/edits", True), ("/v1/models", True), ("/v1/models/x", True), ("/v1/jobs/j/images/0", False)],
)
def test_only_openais_paths_speak_its_language(path: str, speaks: bool) -> None:
    assert speaks_openai(path) == speaks
