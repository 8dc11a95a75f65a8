"""A worker process carries a job from its hint to stored images."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess

import httpx2
import pytest
from fleet_kit import PROGRAM, Fleet
from outage_kit import joined_fleet
from PIL import Image

from imagequeue.jobs import AttemptOutcome, JobState
from imagequeue.objects import ObjectStore
from imagequeue.requests import parse_request
from worker.image_answers import SANDBOX_NOTE


def test_a_job_ends_with_the_very_bytes_that_openai_painted(working_fleet: Fleet) -> None:
    job = working_fleet.finished(
        working_fleet.submit("bytes", size="1536x1024", output_format="png", n=2, filename_prefix="Hero 1")
    )
    assert job.state is JobState.SUCCEEDED, job.error
    (call,) = working_fleet.sandbox.calls("bytes")
    assert [image.sha256 for image in job.images] == call["images"]
    for image in job.images:
        body = httpx2.get(working_fleet.queue.image_url(job.id, image.index, "original")).raise_for_status().content
        assert hashlib.sha256(body).hexdigest() == image.sha256
        assert len(body) == image.size_bytes
        assert Image.open(io.BytesIO(body)).size == (image.width, image.height) == (1536, 1024)
    assert job.images[1].filename == f"Hero-1-{job.id[-8:].lower()}-1.png"


def test_the_broker_keeps_no_book_of_a_hint_that_a_worker_has(working_fleet: Fleet) -> None:
    working_fleet.sandbox.add_fault({"delay": 600}, prompt="no book")
    job = working_fleet.submit("no book")
    working_fleet.in_call("no book")
    assert working_fleet.redis.keys(f"{working_fleet.settings.key_prefix}unacked*") == []
    working_fleet.queue.cancel(job.id)
    assert working_fleet.finished(job).state is JobState.CANCELLED


def test_downloads_carry_type_name_and_cache_headers(working_fleet: Fleet) -> None:
    job = working_fleet.finished(working_fleet.submit("headers", output_format="webp"))
    headers = httpx2.get(working_fleet.queue.image_url(job.id, 0, "original")).raise_for_status().headers
    assert headers["content-type"] == "image/webp"
    assert headers["content-disposition"] == f"inline; filename*=UTF-8''{job.images[0].filename}"
    assert "immutable" in headers["cache-control"]


def test_a_preview_and_a_sidecar_are_stored_beside_the_image(working_fleet: Fleet) -> None:
    job = working_fleet.finished(working_fleet.submit("beside", size="1536x1024"))
    preview = httpx2.get(working_fleet.queue.image_url(job.id, 0, "preview")).raise_for_status()
    assert preview.headers["content-type"] == "image/jpeg"
    assert preview.headers["content-disposition"].endswith(f"{job.images[0].filename}.preview.jpg")
    with Image.open(io.BytesIO(preview.content)) as image:
        assert (image.format, image.size) == ("JPEG", (768, 512))
    sidecar = json.loads(ObjectStore(working_fleet.settings).get_bytes(f"images/{job.id}/1/job.json"))
    assert sidecar["request"]["prompt"] == "beside"
    assert sidecar["images"][0]["sha256"] == job.images[0].sha256


def test_cost_usage_and_what_was_applied_come_from_the_answer(working_fleet: Fleet) -> None:
    job = working_fleet.finished(working_fleet.submit("a price", size="1024x1024", quality="low"))
    assert job.usage
    assert job.usage.output_tokens == 196
    assert job.cost_usd_estimated == pytest.approx(196 * 30e-6 + (job.usage.input_tokens or 0) * 5e-6)
    assert job.applied
    assert (job.applied.size, job.applied.quality) == ("1024x1024", "low")


def test_images_of_the_sandbox_are_marked_as_painted(working_fleet: Fleet) -> None:
    assert SANDBOX_NOTE in working_fleet.finished(working_fleet.submit("marked")).notes


def test_usage_that_openai_does_not_give_leaves_the_cost_unknown(working_fleet: Fleet) -> None:
    working_fleet.sandbox.add_fault({"body": "no_usage"}, prompt="no usage")
    job = working_fleet.finished(working_fleet.submit("no usage"))
    assert (job.state, job.usage, job.cost_usd_estimated) == (JobState.SUCCEEDED, None, None)


def test_a_repeated_hint_does_not_call_again(working_fleet: Fleet) -> None:
    job = working_fleet.finished(working_fleet.submit("once"))
    dispatcher = working_fleet.queue._dispatcher  # pyright: ignore[reportPrivateUsage]
    dispatcher.dispatch(job.id, "interactive")
    assert working_fleet.queue.probe_messages(10), "the worker takes no messages"
    working_fleet.finished(working_fleet.submit("after the repeated hint"))
    assert len(working_fleet.sandbox.calls("once")) == 1


def test_interactive_jobs_are_served_before_batch_jobs_that_came_earlier(fleet: Fleet) -> None:
    request = parse_request({"prompt": "a batch line", "quality": "low"})
    batch = [fleet.queue.submit(request, lane="batch").job for _ in range(3)]
    interactive = [fleet.submit(f"interactive {n}") for n in range(3)]
    assert fleet.queue.view(batch[0]).position == 4, "three interactive jobs go first"
    fleet.start_worker(IMAGEQUEUE_WORKER_SLOTS="1")
    ended = [fleet.finished(job) for job in (*batch, *interactive)]
    started = [job.started_at or 0 for job in ended]
    assert max(started[3:]) <= min(started[:3])


def test_fifty_jobs_submitted_at_once_all_finish(working_fleet: Fleet) -> None:
    jobs = [working_fleet.submit(f"fifty {n}") for n in range(50)]
    ended = [working_fleet.finished(job) for job in jobs]
    assert {job.state for job in ended} == {JobState.SUCCEEDED}
    calls = [call["prompt"] for call in working_fleet.sandbox.calls() if str(call["prompt"]).startswith("fifty")]
    assert sorted(calls) == sorted(f"fifty {n}" for n in range(50))


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"status": 400, "code": "moderation_blocked", "type": "image_generation_user_error"}, "moderation_blocked"),
        ({"status": 400, "code": "invalid_value"}, "provider_refused"),
        ({"body": "broken_base64"}, "bad_output"),
        ({"body": "empty_list"}, "bad_output"),
        ({"body": "not_an_image"}, "bad_output"),
    ],
)
def test_what_will_not_pass_is_not_tried_again(working_fleet: Fleet, fault: dict[str, object], code: str) -> None:
    working_fleet.sandbox.add_fault(fault, prompt=f"hopeless {fault}")
    job = working_fleet.finished(working_fleet.submit(f"hopeless {fault}"))
    assert (job.state, job.error and job.error.code) == (JobState.FAILED, code)
    assert [attempt.outcome for attempt in job.attempts] == [AttemptOutcome.FAILED]
    assert len(working_fleet.sandbox.calls(f"hopeless {fault}")) == 1


@pytest.mark.parametrize("status", [500, 503])
def test_a_busy_openai_is_asked_again(working_fleet: Fleet, status: int) -> None:
    fault = {"status": status, "code": "busy", "headers": {"retry-after": "0"}}
    working_fleet.sandbox.add_fault(fault, prompt=f"busy {status}")
    job = working_fleet.finished(working_fleet.submit(f"busy {status}"))
    assert job.state is JobState.SUCCEEDED
    assert [attempt.outcome for attempt in job.attempts] == [AttemptOutcome.BUSY, AttemptOutcome.SUCCEEDED]
    assert job.possible_extra_cost_usd == 0


@pytest.mark.parametrize(("setting", "asked", "calls"), [("retry", "fail", 1), ("fail", "retry", 2)])
def test_a_request_overrides_the_setting_for_calls_of_unknown_fate(
    working_fleet: Fleet, setting: str, asked: str, calls: int
) -> None:
    with joined_fleet(working_fleet, {"IMAGEQUEUE_ON_UNKNOWN_OUTCOME": setting}) as joined:
        for prompt, fields in (
            (f"unknown, set to {setting}", {}),
            (f"unknown, {asked}", {"on_unknown_outcome": asked}),
        ):
            working_fleet.sandbox.add_fault({"drop": "middle"}, prompt=prompt)
            job = joined.finished(joined.submit(prompt, **fields))
            expected = calls if fields else 3 - calls
            assert len(working_fleet.sandbox.calls(prompt)) == expected
            assert [attempt.outcome for attempt in job.attempts][:1] == [AttemptOutcome.UNKNOWN]
            assert job.state is (JobState.FAILED if expected == 1 else JobState.SUCCEEDED)
            assert (job.error and job.error.code) == ("outcome_unknown" if expected == 1 else None)
            assert job.possible_extra_cost_usd == pytest.approx(job.estimate.expected_usd)


def test_a_worker_without_a_key_says_how_to_go_on_and_exits(fleet: Fleet) -> None:
    environment = {name: value for name, value in fleet.environment.items() if name != "OPENAI_API_KEY"}
    run = subprocess.run([PROGRAM, "worker"], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 2
    assert "OPENAI_API_KEY" in run.stderr
    assert "Traceback" not in run.stderr
