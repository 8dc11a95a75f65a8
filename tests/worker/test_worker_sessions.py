"""Edit sessions through real workers: order, exact bytes, failures, restarts."""

from __future__ import annotations

import os
import signal

import httpx2
import pytest
from fleet_kit import Fleet
from session_kit import add_turn, chained, picture, start_session

from imagequeue.errors import SessionClosed
from imagequeue.jobs import AttemptOutcome, JobState
from imagequeue.requests import parse_request
from imagequeue.service import LOCAL_OWNER
from imagequeue.sessions import SessionState

SUCCEEDED, CANCELLED, FAILED = JobState.SUCCEEDED, JobState.CANCELLED, JobState.FAILED


def test_an_edit_sends_the_very_bytes_of_its_images_and_mask(working_fleet: Fleet) -> None:
    image, mask = picture(working_fleet, "red"), picture(working_fleet, transparent=True)
    request = {"type": "edit", "prompt": "masked edit", "images": [image], "mask": mask, "quality": "low", "n": 2}
    job = working_fleet.finished(working_fleet.queue.submit(parse_request(request)).job)
    assert job.state is SUCCEEDED, job.error
    assert len(job.images) == 2
    (call,) = working_fleet.sandbox.calls("masked edit")
    assert [f"upload:{sha256}" for sha256 in (*call["inputs"], call["mask"])] == [image, mask]
    assert [given.sha256 for given in job.inputs] == [*call["inputs"], call["mask"]]


def test_turns_enqueued_at_once_run_in_order_each_on_the_bytes_of_the_one_before(fleet: Fleet) -> None:
    fleet.start_worker()
    fleet.start_worker()
    first = start_session(fleet, "order 1")
    jobs = [first, *(add_turn(fleet, first, f"order {number}") for number in range(2, 7))]
    ended = [fleet.finished(job) for job in jobs]
    assert [job.turn for job in ended] == [1, 2, 3, 4, 5, 6]
    assert chained(ended)
    calls = [call for call in fleet.sandbox.calls() if str(call["prompt"]).startswith("order ")]
    assert [call["prompt"] for call in calls] == [f"order {number}" for number in range(1, 7)]
    for before, after in zip(ended, calls[1:], strict=False):
        assert after["inputs"] == [before.images[0].sha256]


def test_turns_that_wait_run_where_the_one_before_has_run(fleet: Fleet) -> None:
    for _ in range(3):
        fleet.start_worker()
    first = start_session(fleet, "stays 1")
    jobs = [first, *(add_turn(fleet, first, f"stays {number}") for number in range(2, 7))]
    ended = [fleet.finished(job) for job in jobs]
    assert chained(ended)
    assert len({job.attempts[0].worker for job in ended}) == 1


def test_sessions_that_share_one_slot_take_turns(fleet: Fleet) -> None:
    firsts = [start_session(fleet, f"shared {name}1") for name in "ab"]
    behind = [
        add_turn(fleet, first, f"shared {name}{number}")
        for first, name in zip(firsts, "ab", strict=True)
        for number in (2, 3)
    ]
    fleet.start_worker(IMAGEQUEUE_WORKER_SLOTS="1")
    assert all(fleet.finished(job).state is SUCCEEDED for job in (*firsts, *behind))
    calls = [call["prompt"] for call in fleet.sandbox.calls_beginning("shared ")]
    assert calls == [f"shared {turn}" for turn in ("a1", "b1", "a2", "b2", "a3", "b3")]


def test_the_format_is_kept_until_a_turn_names_another(working_fleet: Fleet) -> None:
    first = start_session(working_fleet, "format 1", output_format="webp")
    jobs = [
        first,
        add_turn(working_fleet, first, "format 2"),
        add_turn(working_fleet, first, "format 3", output_format="jpeg"),
    ]
    jobs.append(add_turn(working_fleet, first, "format 4"))
    kept = [working_fleet.finished(job).images[0].mime_type for job in jobs]
    assert kept == ["image/webp", "image/webp", "image/jpeg", "image/jpeg"]


def test_a_failed_turn_halts_those_behind_it_and_the_session_goes_on_from_its_last_good_image(fleet: Fleet) -> None:
    fleet.sandbox.add_fault({"status": 400, "code": "moderation_blocked"}, prompt="halt bad")
    first = start_session(fleet, "halt good")
    jobs = [first, *(add_turn(fleet, first, prompt) for prompt in ("halt bad", "halt lost 1", "halt lost 2"))]
    fleet.start_worker()
    good, *behind = [fleet.finished(job) for job in jobs]
    assert [(job.state, job.error and job.error.code) for job in behind] == [
        (FAILED, "moderation_blocked"),
        (CANCELLED, "previous_turn_failed"),
        (CANCELLED, "previous_turn_failed"),
    ]
    after = fleet.finished(add_turn(fleet, good, "halt after"))
    assert after.inputs[0].sha256 == good.images[0].sha256
    assert not [call for call in fleet.sandbox.calls() if str(call["prompt"]).startswith("halt lost")]


def test_cancelling_a_waiting_turn_in_the_middle_removes_just_that_turn(fleet: Fleet) -> None:
    jobs = [first := start_session(fleet, "middle 1")]
    jobs += [add_turn(fleet, first, f"middle {number}") for number in (2, 3)]
    assert fleet.queue.cancel(jobs[1].id).state is CANCELLED
    fleet.start_worker()
    ended = [fleet.finished(job) for job in jobs]
    assert [job.state for job in ended] == [SUCCEEDED, CANCELLED, SUCCEEDED]
    assert ended[2].inputs[0].sha256 == ended[0].images[0].sha256


def test_a_first_turn_that_fails_ends_the_session(working_fleet: Fleet) -> None:
    working_fleet.sandbox.add_fault({"status": 400, "code": "invalid_value"}, prompt="first fails")
    first = working_fleet.finished(start_session(working_fleet, "first fails"))
    view = working_fleet.queue.sessions.get(first.session_id or "", owner=LOCAL_OWNER)
    assert (first.state, view.state, view.end_reason) == (FAILED, SessionState.ENDED, "first_turn_failed")
    with pytest.raises(SessionClosed, match="takes no more turns"):
        add_turn(working_fleet, first, "too late")


def test_ending_a_session_cancels_what_waits_and_lets_the_running_turn_finish(working_fleet: Fleet) -> None:
    first = working_fleet.finished(start_session(working_fleet, "end 1"))
    working_fleet.sandbox.set_latency(1)
    running, waiting = add_turn(working_fleet, first, "end 2"), add_turn(working_fleet, first, "end 3")
    working_fleet.in_call("end 2")
    view = working_fleet.queue.sessions.end(first.session_id or "", owner=LOCAL_OWNER)
    assert view.state is SessionState.ENDED
    assert working_fleet.finished(running).state is SUCCEEDED
    lost = working_fleet.finished(waiting)
    assert (lost.state, lost.error and lost.error.code) == (CANCELLED, "session_ended")


def test_an_idle_session_expires_and_can_still_be_forked(fleet: Fleet) -> None:
    fleet.start_worker(IMAGEQUEUE_SESSION_IDLE_HOURS="0.0003")
    first = fleet.finished(start_session(fleet, "idle 1"))
    session_id = first.session_id or ""
    fleet.eventually(lambda: fleet.queue.sessions.get(session_id, owner=LOCAL_OWNER).state is SessionState.EXPIRED)
    with pytest.raises(SessionClosed, match="expired"):
        add_turn(fleet, first, "idle 2")
    fork = fleet.queue.sessions.fork(session_id, 1, owner=LOCAL_OWNER)
    job = fleet.finished(add_turn(fleet, first, "idle forked", session_id=fork.id))
    assert job.inputs[0].sha256 == first.images[0].sha256


def test_a_turn_whose_worker_was_stopped_past_its_lease_is_taken_over_and_the_late_one_refused(fleet: Fleet) -> None:
    paused = fleet.start_worker()
    first = fleet.finished(start_session(fleet, "stopped 1"))
    fleet.sandbox.set_latency(1)
    second, third = add_turn(fleet, first, "stopped 2"), add_turn(fleet, first, "stopped 3")
    fleet.in_call("stopped 2")
    os.killpg(paused.pid, signal.SIGSTOP)
    fleet.start_worker()
    ended = [first, fleet.finished(second), fleet.finished(third)]
    os.killpg(paused.pid, signal.SIGCONT)
    fleet.eventually(lambda: "claim_lost" in (fleet.folder / "worker-0.log").read_text())
    assert chained(ended)
    assert [attempt.outcome for attempt in ended[1].attempts] == [AttemptOutcome.UNKNOWN, AttemptOutcome.SUCCEEDED]
    assert [fleet.queue.get(job.id) for job in ended] == ended, "the late worker changed something"
    view = fleet.queue.sessions.get(first.session_id or "", owner=LOCAL_OWNER)
    assert (view.state, view.turn, view.turns_waiting) == (SessionState.ACTIVE, 3, 0)
    body = httpx2.get(fleet.queue.image_url(ended[2].id, 0, "original")).raise_for_status().content
    assert len(body) == ended[2].images[0].size_bytes


def test_an_input_that_cannot_be_had_fails_the_job_before_anything_is_spent(working_fleet: Fleet) -> None:
    image = picture(working_fleet)
    request = parse_request({"type": "edit", "prompt": "gone input", "images": [image]})
    job = working_fleet.queue.submit(request.model_copy(update={"images": ("http://images.invalid/picture.png",)})).job
    job = working_fleet.finished(job)
    assert (job.state, job.error and job.error.code) == (FAILED, "url_unreachable")
    assert working_fleet.sandbox.calls("gone input") == []
