"""Waiting: progress, the handle, re-attaching, killed bridges, and prices before there is a job."""

from __future__ import annotations

import subprocess
from concurrent.futures import Future
from pathlib import Path

import pytest
from bridge_kit import BRIDGE, LIMIT_SECONDS, RunningBridge, StartBridge, bridge_environment, good, running_bridge
from fleet_kit import Fleet


def test_a_call_that_takes_long_hands_back_the_job_and_what_to_call(
    start_bridge: StartBridge, working_fleet: Fleet
) -> None:
    bridge = start_bridge(IMAGEQUEUE_MCP_WAIT_SECONDS="0.5")
    working_fleet.sandbox.set_latency(3)
    handle = bridge.call("generate_image", prompt=f"Slow {bridge.pid}", quality="low", output_dir="out")
    assert (handle["status"], handle["images"], handle["usage"]) == ("running", [], None)
    assert f'wait_for_jobs with job_ids ["{handle["job_id"]}"]' in handle.text

    again = bridge.call("generate_image", prompt=f"Slow {bridge.pid}", quality="low", output_dir="out")
    assert (again["job_id"], again["notes"][0].startswith("Re-attached")) == (handle["job_id"], True)

    working_fleet.finished(working_fleet.queue.get(handle["job_id"]))
    waited = bridge.call("wait_for_jobs", job_ids=[handle["job_id"]])
    (job,) = waited["jobs"]
    assert (job["status"], waited["running"], len(waited.pictures)) == ("succeeded", [], 1)
    path = Path(job["images"][0]["file_path"])
    assert (path.parent, path.is_file()) == (bridge.project / "out", True), "where the first call wanted it"
    assert len(working_fleet.sandbox.calls(f"Slow {bridge.pid}")) == 1


def test_progress_tells_state_time_and_price_at_least_every_3_seconds(
    bridge: RunningBridge, working_fleet: Fleet
) -> None:
    working_fleet.sandbox.set_latency(4)
    bridge.call("generate_image", prompt=f"Told {bridge.pid}", quality="low")
    assert len(bridge.progress) >= 2, "in 4 s"
    assert any(told.startswith("running, about ") for told in bridge.progress)
    assert all(told.endswith("about $0.006") for told in bridge.progress)


def test_a_result_that_was_handed_over_is_not_served_again(bridge: RunningBridge, working_fleet: Fleet) -> None:
    prompt = f"Again {bridge.pid}"
    one, other = (bridge.call("generate_image", prompt=prompt, quality="low") for _ in range(2))
    assert one["job_id"] != other["job_id"]
    assert not any("Re-attached" in note for note in other["notes"])
    assert len(working_fleet.sandbox.calls(prompt)) == 2


def test_a_killed_bridge_loses_nothing_and_buys_nothing_twice(start_bridge: StartBridge, working_fleet: Fleet) -> None:
    killed, next_one = start_bridge(), start_bridge()
    prompt = f"Killed {killed.pid}"
    working_fleet.sandbox.set_latency(2)
    killed.start("generate_image", prompt=prompt, quality="low")
    working_fleet.in_call(prompt)
    killed.kill()
    answer = next_one.call("generate_image", prompt=prompt, quality="low")
    assert (answer["status"], len(answer.pictures)) == ("succeeded", 1)
    assert answer["notes"][0].startswith("Re-attached")
    assert len(working_fleet.sandbox.calls(prompt)) == 1


def test_a_call_that_the_client_gives_up_goes_on_and_is_found_again(
    bridge: RunningBridge, working_fleet: Fleet
) -> None:
    prompt = f"Given up {bridge.pid}"
    working_fleet.sandbox.set_latency(2)
    call = bridge.start("generate_image", prompt=prompt, quality="low")
    working_fleet.in_call(prompt)
    call.cancel()
    answer = bridge.call("generate_image", prompt=prompt, quality="low")
    assert answer["notes"][0].startswith("Re-attached")
    assert len(working_fleet.sandbox.calls(prompt)) == 1


def test_equal_turns_of_different_sessions_are_different_calls(bridge: RunningBridge) -> None:
    source = bridge.call("generate_image", prompt="To start from", quality="low")["images"][0]["source"]
    starts = [bridge.call("start_edit_session", prompt=f"Side {side}", images=[source], quality="low") for side in "ab"]
    turns = [
        bridge.start("continue_edit_session", session_id=start["session_id"], prompt="Warmer", quality="low")
        for start in starts
    ]
    assert len({good(turn)["job_id"] for turn in turns}) == 2


def test_any_and_all_of_several_jobs_can_be_waited_for(start_bridge: StartBridge, working_fleet: Fleet) -> None:
    bridge = start_bridge(IMAGEQUEUE_MCP_WAIT_SECONDS="20")
    fast = bridge.call("generate_image", prompt="Fast one", quality="low")["job_id"]
    working_fleet.sandbox.set_latency(4)
    slow: Future[object] = bridge.start("generate_image", prompt=f"Slow one {bridge.pid}", quality="low")  # pyright: ignore[reportAssignmentType]
    working_fleet.in_call(f"Slow one {bridge.pid}")
    slow_id = working_fleet.queue.list(limit=1).jobs[0].id
    first = bridge.call("wait_for_jobs", job_ids=[slow_id, fast], wait_for="any")
    assert [job["status"] for job in first["jobs"]] == ["running", "succeeded"]
    assert first["running"] == [slow_id]
    both = bridge.call("wait_for_jobs", job_ids=[slow_id, fast, slow_id])
    assert [(job["job_id"], job["status"]) for job in both["jobs"]] == [(slow_id, "succeeded"), (fast, "succeeded")]
    slow.result(LIMIT_SECONDS)


def test_a_failed_job_is_told_and_an_unknown_one_is_an_error(bridge: RunningBridge, working_fleet: Fleet) -> None:
    failed = working_fleet.finished(working_fleet.submit("FORBIDDEN to wait for"))
    (job,) = bridge.call("wait_for_jobs", job_ids=[failed.id])["jobs"]
    assert (job["status"], job["error"]["code"]) == ("failed", "moderation_blocked")
    for unknown in ("job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z", "../sessions", ""):
        assert bridge.refused("wait_for_jobs", job_ids=[unknown]).startswith("job_not_found: ")


def test_a_cancelled_job_is_not_found_again_by_the_same_call(start_bridge: StartBridge, working_fleet: Fleet) -> None:
    bridge = start_bridge(IMAGEQUEUE_MCP_WAIT_SECONDS="0.3")
    prompt = f"Stopped {bridge.pid}"
    working_fleet.sandbox.set_latency(20)
    job_id = bridge.call("generate_image", prompt=prompt, quality="low")["job_id"]
    working_fleet.in_call(prompt)
    assert bridge.call("cancel_job", job_id=job_id)["status"] in ("running", "cancelled")
    working_fleet.finished(working_fleet.queue.get(job_id))
    working_fleet.sandbox.set_latency(0)
    assert bridge.call("cancel_job", job_id=job_id)["status"] == "cancelled", "again, and nothing changes"
    new = working_fleet.finished(
        working_fleet.queue.get(bridge.call("generate_image", prompt=prompt, quality="low")["job_id"])
    )
    assert new.id != job_id
    assert bridge.refused("cancel_job", job_id=new.id).startswith("job_finished: ")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [({"size": "1024x1024", "quality": "high"}, 0.21), ({"quality": "low", "n": 4, "size": "1024x1024"}, 0.0235)],
)
def test_prices_are_told_before_there_is_a_job(
    bridge: RunningBridge, arguments: dict[str, object], expected: float
) -> None:
    answer = bridge.call("estimate_cost", prompt="A pier", **arguments)
    assert answer["expected_usd"] == pytest.approx(expected, abs=0.001)  # pyright: ignore[reportUnknownMemberType]
    assert answer["low_usd"] <= answer["expected_usd"] <= answer["high_usd"]


def test_without_the_queue_the_bridge_starts_and_says_what_is_missing(tmp_path: Path) -> None:
    with running_bridge(tmp_path, {"IMAGEQUEUE_API_URL": "http://127.0.0.1:1"}) as bridge:
        assert bridge.call("estimate_cost", prompt="A pier")["expected_usd"] > 0
        refused = bridge.refused("list_edit_sessions")
    assert refused.startswith("api_unreachable: ")
    assert "imagequeue up" in refused


def test_a_bad_setting_ends_the_bridge_with_a_line_and_nothing_on_stdout(tmp_path: Path) -> None:
    environment = bridge_environment({"IMAGEQUEUE_MCP_WAIT_SECONDS": "soon"}, tmp_path)
    ended = subprocess.run([BRIDGE], env=environment, input="", capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "IMAGEQUEUE_MCP_WAIT_SECONDS" in ended.stderr
