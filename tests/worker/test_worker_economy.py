"""The economy lane from a manifest to results: a real worker, and a sandbox that serves OpenAI's Batch API."""

from __future__ import annotations

from pathlib import Path

import pytest
from economy_kit import Lane, in_seconds, upload
from fleet_kit import Fleet
from picture_kit import mask, png

from imagequeue.api_keys import LOCAL_OWNER
from imagequeue.batch_requests import BatchChange
from imagequeue.batches import BatchNotFound, BatchRunning, BatchState, LineState
from imagequeue.errors import InvalidRequest

GENERATIONS = "BATCH /v1/images/generations"


@pytest.fixture
def lane(economy_fleet: Fleet) -> Lane:
    economy_fleet.sandbox.set_latency(0)
    return Lane.on(economy_fleet)


def test_generations_and_edits_come_back_under_their_custom_ids_at_half_the_price(lane: Lane, tmp_path: Path) -> None:
    image, hole = upload(lane.fleet, png(), tmp_path), upload(lane.fleet, mask(), tmp_path)
    lines = [lane.line(f"new {number}", n=1 + number % 2) for number in range(12)]
    lines += [lane.line(f"edit {number}", type="edit", images=[image, image]) for number in range(4)]
    lines.append(lane.line("masked", type="edit", images=[image], mask=hole))
    lines.insert(3, lane.line("first edit", type="edit", images=[image]))
    batch = lane.submit(lines, max_cost_usd=1)
    assert batch.economy
    assert batch.deadline
    ended = lane.over(batch)
    found = lane.results(ended)
    assert list(found) == [str(line["custom_id"]) for line in lines]
    assert {line.state for line in found.values()} == {LineState.SUCCEEDED}
    assert [len(line.images) for line in found.values()] == [line.get("n", 1) for line in lines]
    calls = lane.calls()
    assert {call["batch"] is None for call in calls} == {False}, "no call in real time"
    assert len(calls) == len(lines)
    assert ended.cost_usd_estimated == pytest.approx(lane.bill(), abs=1e-5)
    assert ended.cost_usd_estimated < 0.6 * ended.estimate.high_usd + 1
    assert (ended.reserved_usd, ended.possible_extra_cost_usd, ended.at_openai) == (0, 0, 0)
    (attempt,) = lane.job(found["new 0"]).attempts
    assert (attempt.route, attempt.request_id) == ("batch", calls[0]["request_id"])
    edited = lane.job(found["masked"])
    assert [given.sha256 for given in edited.inputs] == [image.partition(":")[2], hole.partition(":")[2]]
    lane.fleet.eventually(lane.nothing_left)


def test_a_line_that_asks_for_the_images_of_an_equal_request_gets_copies_and_is_not_sent(lane: Lane) -> None:
    first = lane.over(lane.submit([lane.line("one"), lane.line("two")]))
    earlier = lane.results(first)
    lines = [lane.line("one", reuse=True), lane.line("new", reuse=True), {**lane.line("two"), "custom_id": "again"}]
    again = lane.over(lane.submit(lines))
    found = lane.results(again)
    assert {line.state for line in found.values()} == {LineState.SUCCEEDED}
    copied = lane.job(found["one"])
    assert (copied.reused_from, copied.cost_usd_estimated, copied.attempts) == (earlier["one"].job_id, 0, ())
    assert found["one"].images[0].sha256 == earlier["one"].images[0].sha256
    assert lane.job(found["new"]).reused_from is None
    calls = [call["prompt"].removeprefix(f"{lane.words} ") for call in lane.calls()]
    assert sorted(calls) == ["new", "one", "two", "two"], "reuse is off unless a line asks for it"
    assert {call["batch"] is None for call in lane.calls()} == {False}, "nothing is paid in full"
    assert (again.moved_to_real_time, again.reserved_usd) == (1, 0)
    assert first.cost_usd_estimated + again.cost_usd_estimated == pytest.approx(lane.bill(), abs=1e-5)


def test_refusals_and_failures_end_as_in_real_time_and_what_was_not_served_is_run_there(lane: Lane) -> None:
    lane.fleet.sandbox.add_fault_at(GENERATIONS, {"status": 500, "code": "server_error"}, prompt=f"{lane.words} busy")
    lane.fleet.sandbox.add_fault_at(GENERATIONS, {"drop": "before"}, prompt=f"{lane.words} late")
    lane.fleet.sandbox.add_fault_at(GENERATIONS, {"body": "not_an_image"}, prompt=f"{lane.words} spoiled")
    names = ("good", "busy", "late", "spoiled", "FORBIDDEN")
    ended = lane.over(lane.submit([lane.line(name) for name in names]))
    found = lane.results(ended)
    assert {name: line.state.value for name, line in found.items()} == {
        "good": "succeeded",
        "busy": "succeeded",
        "late": "failed",
        "spoiled": "failed",
        "FORBIDDEN": "refused",
    }
    codes = {name: line.error.code for name, line in found.items() if line.error}
    assert codes == {"late": "outcome_unknown", "spoiled": "bad_output", "FORBIDDEN": "moderation_blocked"}
    assert (ended.moved_to_real_time, lane.job(found["busy"]).attempts[-1].route) == (1, "direct")
    expected = lane.job(found["late"]).estimate.expected_usd
    assert found["late"].possible_extra_cost_usd == pytest.approx(expected)
    assert expected == pytest.approx(0.5 * lane.job(found["busy"]).estimate.expected_usd, rel=0.01)
    assert found["busy"].cost_usd_estimated == pytest.approx(2 * (found["good"].cost_usd_estimated or 0), rel=0.05)
    assert ended.reserved_usd == 0
    lane.fleet.eventually(lane.nothing_left)


def test_what_openai_has_not_done_when_its_window_closes_is_run_in_real_time(lane: Lane) -> None:
    lane.fleet.sandbox.add_fault_at(GENERATIONS, {"hang": True}, prompt=f"{lane.words} slow")
    with lane.fleet.sandbox.batches_with(window_seconds=1.5):
        ended = lane.over(lane.submit([lane.line("quick"), lane.line("slow")]))
    found = lane.results(ended)
    assert {line.state for line in found.values()} == {LineState.SUCCEEDED}
    routes = {name: lane.job(line).attempts[-1].route for name, line in found.items()}
    assert routes == {"quick": "batch", "slow": "direct"}
    assert ended.cost_usd_estimated == pytest.approx(lane.bill(), abs=1e-5)


def test_a_line_that_would_miss_the_deadline_leaves_openai_in_time(lane: Lane) -> None:
    lane.fleet.sandbox.add_fault_at(GENERATIONS, {"hang": True}, prompt=f"{lane.words} slow")
    quickly = {"gpt-image-2:low:usual": "100:20"}
    lane.fleet.redis.hset(f"{lane.fleet.settings.key_prefix}durations", mapping=quickly)
    deadline = in_seconds(10)
    ended = lane.over(lane.submit([lane.line("quick"), lane.line("slow")], deadline=deadline))
    found = lane.results(ended)
    routes = {name: lane.job(line).attempts[-1].route for name, line in found.items()}
    assert routes == {"quick": "batch", "slow": "direct"}
    assert ended.finished_at is not None
    assert ended.finished_at <= deadline
    assert lane.calls()[-1]["batch"] is None


def test_a_deadline_that_is_near_means_real_time_at_once(lane: Lane) -> None:
    ended = lane.over(lane.submit([lane.line("now")], deadline=in_seconds(2)))
    assert (ended.economy, ended.state, ended.moved_to_real_time) == (False, BatchState.COMPLETED, 0)
    assert [call["batch"] for call in lane.calls()] == [None]


@pytest.mark.parametrize("seconds", [-1, 31 * 86_400])
def test_a_deadline_that_nobody_can_keep_is_refused(lane: Lane, seconds: float) -> None:
    with pytest.raises(InvalidRequest, match="deadline"):
        lane.submit([lane.line("never")], deadline=in_seconds(seconds))


def test_a_cancelled_batch_keeps_what_was_done_and_costs_nothing_more(lane: Lane) -> None:
    lane.fleet.sandbox.add_fault_at(GENERATIONS, {"hang": True}, prompt=f"{lane.words} slow")
    batch = lane.submit([lane.line("quick"), lane.line("slow")])
    lane.fleet.eventually(lambda: any(call["outcome"] == "answered" for call in lane.calls()))
    with pytest.raises(BatchRunning, match="has not ended"):
        lane.fleet.queue.batches.delete(batch.id, owner=LOCAL_OWNER)
    lane.fleet.queue.batches.cancel(batch.id, owner=LOCAL_OWNER)
    ended = lane.over(batch)
    states = {name: line.state.value for name, line in lane.results(ended).items()}
    assert states == {"quick": "succeeded", "slow": "cancelled"}
    assert (ended.state, ended.reserved_usd) == (BatchState.CANCELLED, 0)
    assert ended.cost_usd_estimated == pytest.approx(lane.bill(), abs=1e-5)
    lane.fleet.eventually(lane.nothing_left)
    lane.fleet.queue.batches.delete(batch.id, owner=LOCAL_OWNER)
    with pytest.raises(BatchNotFound):
        lane.look(batch)


def test_a_batch_is_not_deleted_before_its_files_at_openai_are(lane: Lane) -> None:
    lane.fleet.sandbox.add_fault_at("DELETE /v1/files/{file_id}", {"delay": 5})
    ended = lane.over(lane.submit([lane.line("only")]))
    with pytest.raises(BatchRunning, match="has files at OpenAI that are being deleted"):
        lane.fleet.queue.batches.delete(ended.id, owner=LOCAL_OWNER)
    assert lane.look(ended).counts.succeeded == 1
    lane.fleet.eventually(lane.nothing_left)
    lane.fleet.queue.batches.delete(ended.id, owner=LOCAL_OWNER)


def test_a_lost_answer_about_a_new_batch_never_makes_a_second_one(lane: Lane) -> None:
    lane.fleet.sandbox.add_fault_at("POST /v1/batches", {"drop": "middle"})
    ended = lane.over(lane.submit([lane.line("only")]))
    assert ended.counts.succeeded == 1
    assert len(lane.calls()) == 1


def test_downloads_that_break_off_are_begun_again_and_every_line_lands_once(lane: Lane) -> None:
    for _ in range(2):
        lane.fleet.sandbox.add_fault_at("GET /v1/files/{file_id}/content", {"drop": "middle"})
    ended = lane.over(lane.submit([lane.line(f"{number}") for number in range(8)]))
    found = lane.results(ended)
    assert {line.state for line in found.values()} == {LineState.SUCCEEDED}
    assert len({line.job_id for line in found.values()}) == len(lane.calls()) == 8
    assert ended.cost_usd_estimated == pytest.approx(lane.bill(), abs=1e-5)


def test_the_cap_holds_at_half_price_and_when_raised_the_rest_is_shipped(lane: Lane) -> None:
    lines = [lane.line(f"{number}") for number in range(8)]
    whole = lane.submit([lane.line("priced")]).estimate.high_usd
    paused = lane.over(lane.submit(lines, max_cost_usd=4.5 * whole))
    assert paused.pause
    assert paused.pause.code == "max_cost_usd"
    assert 1 <= paused.counts.succeeded < 8
    assert paused.cost_usd_estimated <= 4.5 * whole
    raised = lane.fleet.queue.batches.change(paused.id, BatchChange(max_cost_usd=10 * whole), owner=LOCAL_OWNER)
    ended = lane.over(raised)
    assert (ended.state, ended.counts.succeeded) == (BatchState.COMPLETED, 8)
    assert len(lane.calls()) == 9


def test_after_a_kill_in_the_middle_of_a_landing_the_next_worker_lands_the_rest(idle_fleet: Fleet) -> None:
    fleet, lane, count = idle_fleet, Lane.on(idle_fleet), 100
    first = fleet.start_worker()
    batch = lane.submit([lane.line(f"{number}") for number in range(count)])
    fleet.eventually(lambda: lane.look(batch).counts.succeeded >= 5)
    fleet.kill(first)
    done = lane.look(batch).counts.succeeded
    assert done < count, "the kill came too late to say anything"
    fleet.start_worker()
    ended = lane.over(batch)
    found = lane.results(ended)
    assert {line.state for line in found.values()} == {LineState.SUCCEEDED}
    assert len(lane.calls()) == count, "nothing was called again"
    assert ended.cost_usd_estimated == pytest.approx(lane.bill(), abs=1e-5)
    assert (ended.possible_extra_cost_usd, ended.reserved_usd) == (0, 0)
    fleet.eventually(lane.nothing_left)
