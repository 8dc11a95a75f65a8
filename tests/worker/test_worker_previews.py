"""Previews of unfinished images, from OpenAI's stream to the job's events, its record and S3."""

from __future__ import annotations

import io
import json
from typing import Any

import httpx2
import pytest
from fleet_kit import Fleet
from PIL import Image
from session_kit import picture, start_session

from imagequeue.jobs import AttemptOutcome, Job, JobState
from imagequeue.store.keys import Keys


def events(fleet: Fleet, job: Job) -> list[tuple[str, dict[str, Any]]]:
    """The job's events, oldest first."""
    entries = fleet.redis.xrange(Keys(fleet.settings.key_prefix).events(job.id))
    return [(fields["event"], json.loads(fields["data"])) for _, fields in entries]


def previews_told(fleet: Fleet, job: Job) -> list[tuple[int, int]]:
    """Attempt and number of each preview in the job's events."""
    told = (data for name, data in events(fleet, job) if name == "partial_image")
    return [(data["attempt"], data["partial_index"]) for data in told]


def test_previews_are_told_stored_and_paid_for(working_fleet: Fleet) -> None:
    job = working_fleet.finished(
        working_fleet.submit("two previews", partial_images=2, size="1024x1024", output_format="webp")
    )
    assert job.state is JobState.SUCCEEDED, job.error
    names = [name for name, _ in events(working_fleet, job)]
    assert names == ["queued", "running", "partial_image", "partial_image", "succeeded"]
    for partial in job.partial_images:
        answer = httpx2.get(working_fleet.queue.partials.url(job, partial.partial_index)).raise_for_status()
        with Image.open(io.BytesIO(answer.content)) as image:
            assert (image.format, image.size, partial.size) == ("WEBP", (1024, 1024), "1024x1024")
        assert (len(answer.content), answer.headers["content-type"]) == (partial.size_bytes, "image/webp")
    (call,) = working_fleet.sandbox.calls("two previews")
    assert [image.sha256 for image in job.images] == call["images"]
    assert job.usage
    assert job.usage.output_tokens == 196 + 200
    assert job.cost_usd_estimated == pytest.approx(job.estimate.expected_usd, rel=0.01)


def test_edits_and_turns_have_previews_too(working_fleet: Fleet) -> None:
    edit = {"type": "edit", "images": [picture(working_fleet)], "partial_images": 1}
    jobs = [working_fleet.submit("an edit", **edit), start_session(working_fleet, "a turn", partial_images=1)]
    for job in map(working_fleet.finished, jobs):
        assert job.state is JobState.SUCCEEDED, job.error
        assert previews_told(working_fleet, job) == [(1, 0)]


def test_previews_are_there_while_the_image_is_not(working_fleet: Fleet) -> None:
    working_fleet.sandbox.add_fault({"stream": "hang", "after": 1}, prompt="half done")
    job = working_fleet.submit("half done", partial_images=3)
    working_fleet.eventually(lambda: bool(working_fleet.queue.get(job.id).partial_images))
    (shown,) = working_fleet.queue.view(working_fleet.queue.get(job.id)).partial_images
    assert shown.url == f"/v1/jobs/{job.id}/partials/0"
    working_fleet.queue.cancel(job.id)
    job = working_fleet.finished(job)
    assert job.state is JobState.CANCELLED
    assert job.possible_extra_cost_usd > 0
    assert len(working_fleet.sandbox.calls("half done")) == 1


@pytest.mark.parametrize("how", ["cut", "no_completed"])
def test_a_stream_that_breaks_off_may_be_billed_and_is_repeated_once(working_fleet: Fleet, how: str) -> None:
    working_fleet.sandbox.add_fault({"stream": how, "after": 2}, prompt=f"broken by {how}")
    job = working_fleet.finished(working_fleet.submit(f"broken by {how}", partial_images=2))
    assert job.state is JobState.SUCCEEDED, job.error
    assert [attempt.outcome for attempt in job.attempts] == [AttemptOutcome.UNKNOWN, AttemptOutcome.SUCCEEDED]
    assert previews_told(working_fleet, job) == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert job.possible_extra_cost_usd == pytest.approx(job.estimate.expected_usd)


def test_a_refusal_in_mid_stream_ends_the_job_without_another_call(working_fleet: Fleet) -> None:
    fault = {"stream": "error", "code": "moderation_blocked", "type": "image_generation_user_error"}
    working_fleet.sandbox.add_fault(fault, prompt="refused late")
    job = working_fleet.finished(working_fleet.submit("refused late", partial_images=1))
    assert job.error
    assert (job.state, job.error.code) == (JobState.FAILED, "moderation_blocked")
    assert len(working_fleet.sandbox.calls("refused late")) == 1
