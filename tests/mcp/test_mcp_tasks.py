"""The tasks extension, as it is on the wire: a job is a task, and any bridge answers for it."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest
from bridge_kit import HttpBridge, running_http_bridge
from fleet_kit import Fleet
from wire_kit import TASKS, Wire

UNKNOWN: Final = "job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"
INVALID_PARAMS, MISSING_CAPABILITY, HEADER_MISMATCH, NO_METHOD = -32602, -32021, -32020, -32601
METHODS: Final = ("tasks/get", "tasks/update", "tasks/cancel")


@pytest.fixture(scope="module")
def http_bridge(shared_fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Generator[HttpBridge]:
    """A bridge that listens."""
    with running_http_bridge(tmp_path_factory.mktemp("tasks"), shared_fleet.environment) as bridge:
        yield bridge


@pytest.fixture
def wire(http_bridge: HttpBridge, working_fleet: Fleet) -> Wire:
    """A client that takes tasks."""
    return Wire(http_bridge, {TASKS: {}})


def test_a_call_becomes_a_task_whose_result_comes_with_it_in_the_end(wire: Wire, working_fleet: Fleet) -> None:
    working_fleet.sandbox.set_latency(1)
    task = wire.generate("As a task")
    assert (task["resultType"], task["status"], type(task["ttlMs"])) == ("task", "working", int)
    assert not {"result", "error", "content", "ttl", "task"} & set(task)
    working = wire.result("tasks/get", taskId=task["taskId"])
    assert (working["resultType"], working["status"], "result" in working) == ("complete", "working", False)
    done = wire.settled(working_fleet, task["taskId"])
    assert (done["status"], done["result"]["structuredContent"]["status"]) == ("completed", "succeeded")
    assert [block["type"] for block in done["result"]["content"]] == ["text", "image", "resource_link"]
    assert wire.settled(working_fleet, task["taskId"])["result"] == done["result"], "as long as it is kept"


def test_another_bridge_answers_for_the_task(wire: Wire, working_fleet: Fleet, tmp_path: Path) -> None:
    working_fleet.sandbox.set_latency(1)
    task = wire.generate("For another bridge")
    with running_http_bridge(tmp_path, working_fleet.environment) as other:
        assert Wire(other, wire.extensions).settled(working_fleet, task["taskId"])["status"] == "completed"


def test_a_refused_image_is_a_completed_task_with_an_error_in_it(wire: Wire, working_fleet: Fleet) -> None:
    task = wire.generate("FORBIDDEN as a task")
    done = wire.settled(working_fleet, task["taskId"])
    assert (done["status"], done["result"]["isError"]) == ("completed", True)
    assert done["result"]["content"][0]["text"].startswith("moderation_blocked: ")


def test_a_cancelled_task_ends_cancelled_and_may_be_cancelled_again(wire: Wire, working_fleet: Fleet) -> None:
    working_fleet.sandbox.set_latency(30)
    task = wire.generate("To be cancelled")
    working_fleet.in_call("To be cancelled")
    for _ in range(2):
        assert set(wire.result("tasks/cancel", taskId=task["taskId"])) <= {"resultType", "_meta"}
        assert wire.settled(working_fleet, task["taskId"])["status"] == "cancelled"


def test_who_does_not_take_tasks_gets_the_image(http_bridge: HttpBridge, working_fleet: Fleet) -> None:
    plain = Wire(http_bridge, {})
    result = plain.generate("Without tasks")
    assert (result["resultType"], result["structuredContent"]["status"]) == ("complete", "succeeded")
    for method in METHODS:
        error = plain(method, taskId=result["structuredContent"]["job_id"], inputResponses={})["error"]
        assert error["code"] == MISSING_CAPABILITY
        assert TASKS in error["data"]["requiredCapabilities"]["extensions"]


@pytest.mark.parametrize("task_id", [UNKNOWN, "nonsense", "../jobs"])
@pytest.mark.parametrize("method", METHODS)
def test_an_unknown_task_is_an_error(wire: Wire, method: str, task_id: str) -> None:
    assert wire(method, taskId=task_id, inputResponses={})["error"]["code"] == INVALID_PARAMS


def test_a_header_that_names_another_task_is_refused(wire: Wire) -> None:
    task = wire.generate("With headers")
    answer = wire("tasks/get", headers={"Mcp-Name": UNKNOWN}, taskId=task["taskId"])
    assert answer["error"]["code"] == HEADER_MISMATCH


def test_tools_that_make_no_images_are_answered_at_once(wire: Wire) -> None:
    assert wire.result("tools/call", name="estimate_cost", arguments={"prompt": "A pier"})["resultType"] == "complete"


def test_the_extension_is_told_and_what_it_has_removed_is_gone(wire: Wire) -> None:
    assert TASKS in wire.result("server/discover")["capabilities"]["extensions"]
    for method in ("tasks/result", "tasks/list"):
        assert wire(method, taskId=UNKNOWN)["error"]["code"] == NO_METHOD
