"""API keys on the bridge: who gets in over HTTP, and that each key reaches its own records only, by either door."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import httpx2
import pytest
from bridge_kit import HttpBridge, running_api, running_bridge, running_http_bridge
from fleet_kit import Fleet, settings_of
from picture_kit import png
from stack_kit import Stack
from wire_kit import TASKS, Wire

from imagequeue.api_keys import ALL_SCOPES, KeyLimits, Scope
from imagequeue.key_service import IssuedKey
from imagequeue.service import ImageQueue, open_queue
from sandbox.stack.ports import HOST, choose_port

UNKNOWN: Final = "iq_" + "x" * 40
INVALID_PARAMS: Final = -32602
DOORS = ("redis", "api")


@dataclass(frozen=True)
class Keyed:
    """A queue that asks for keys, without workers, and the way to it for a bridge."""

    queue: ImageQueue
    way: Mapping[str, str]

    def issue(self, **request: Any) -> IssuedKey:
        """Make a key."""
        return self.queue.keys.create("test", **request)


@pytest.fixture(scope="module", params=DOORS)
def keyed(
    request: pytest.FixtureRequest, shared_fleet: Fleet, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Keyed]:
    """A queue with records of its own, reached straight or through its API and nothing else."""
    own = {"IMAGEQUEUE_KEY_PREFIX": f"{secrets.token_hex(4)}:", "IMAGEQUEUE_KEY_PEPPER": secrets.token_hex(16)}
    environment = {**shared_fleet.environment, **own}
    queue = open_queue(settings_of(environment))
    queue.keys.create("admin", scopes=ALL_SCOPES)
    with ExitStack() as running:
        running.callback(queue.close)
        if request.param == "redis":
            yield Keyed(queue, {**environment, "IMAGEQUEUE_MCP_WAIT_SECONDS": "0.2"})
        else:
            url = running.enter_context(running_api(tmp_path_factory.mktemp("keyed-api"), environment))
            yield Keyed(queue, {"IMAGEQUEUE_API_URL": url, "IMAGEQUEUE_MCP_WAIT_SECONDS": "0.2"})


@pytest.fixture(scope="module")
def bridge(keyed: Keyed, tmp_path_factory: pytest.TempPathFactory) -> Generator[HttpBridge]:
    """A bridge over HTTP that has no key of its own."""
    with running_http_bridge(tmp_path_factory.mktemp("keyed-bridge"), keyed.way) as running:
        yield running


@pytest.fixture
def wires(keyed: Keyed, bridge: HttpBridge) -> tuple[Wire, Wire]:
    """Two clients with keys of two owners."""
    one, other = (Wire(bridge, {}, keyed.issue().secret) for _ in range(2))
    return one, other


def listed(bridge: HttpBridge, authorization: str | None) -> httpx2.Response:
    """Ask for the tools with this Authorization."""
    headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}
    given = {} if authorization is None else {"Authorization": authorization}
    body: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    return httpx2.post(bridge.url, json=body, headers={**headers, **given}, timeout=30, trust_env=False)


def call(wire: Wire, tool: str, **arguments: object) -> dict[str, Any]:
    """What a tool answers in structured form; it must be no error."""
    result = wire.result("tools/call", name=tool, arguments=arguments)
    assert not result.get("isError"), result
    return cast("dict[str, Any]", result["structuredContent"])


def refused(wire: Wire, tool: str, **arguments: object) -> str:
    """The text of the error that a tool must answer."""
    result = wire.result("tools/call", name=tool, arguments=arguments)
    assert result["isError"], result
    return cast("str", result["content"][0]["text"])


@pytest.mark.parametrize("given", [None, "", "Bearer", f"Bearer {UNKNOWN}", "Bearer iq_short", "Basic aXE6aXE="])
def test_without_a_good_key_nobody_gets_in(bridge: HttpBridge, given: str | None) -> None:
    answer = listed(bridge, given)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert "generate_image" not in answer.text


def test_a_good_key_gets_in_and_one_that_may_not_submit_does_not(keyed: Keyed, bridge: HttpBridge) -> None:
    reader = keyed.issue(scopes=frozenset({Scope.READ, Scope.ADMIN}))
    answer = listed(bridge, f"Bearer {reader.secret}")
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "submit" in answer.json()["detail"]
    answer = listed(bridge, f"bearer {keyed.issue().secret}")
    assert (answer.status_code, "generate_image" in answer.text) == (200, True)


def test_health_asks_for_no_key(bridge: HttpBridge) -> None:
    assert httpx2.get(bridge.url.replace("/mcp", "/healthz"), trust_env=False).status_code == 200


def test_each_key_reaches_its_own_jobs_and_sessions_only(wires: tuple[Wire, Wire], keyed: Keyed) -> None:
    one, other = wires
    job_id = call(one, "generate_image", prompt="Mine", quality="low")["job_id"]
    turn = call(one, "start_edit_session", prompt="Mine", images=[data_url()], quality="low")
    session_id = turn["session_id"]
    assert call(one, "get_edit_session", session_id=session_id)["session_id"] == session_id
    assert session_id in str(call(one, "list_edit_sessions"))
    assert session_id not in str(call(other, "list_edit_sessions"))
    for tool, arguments in (
        ("wait_for_jobs", {"job_ids": [job_id]}),
        ("cancel_job", {"job_id": job_id}),
    ):
        assert refused(other, tool, **arguments).startswith("job_not_found: ")
    for tool, more in (
        ("get_edit_session", {}),
        ("continue_edit_session", {"prompt": "Theirs"}),
        ("fork_edit_session", {}),
        ("end_edit_session", {}),
    ):
        assert refused(other, tool, session_id=session_id, **more).startswith("session_not_found: ")
    stolen = refused(other, "edit_image", prompt="Theirs", images=[f"job:{job_id}/0"])
    assert "no such job of yours" in stolen
    assert call(one, "wait_for_jobs", job_ids=[job_id])["jobs"][0]["status"] == "running"


def test_each_key_reads_its_own_resources_and_tasks_only(wires: tuple[Wire, Wire]) -> None:
    one, other = (replace(wire, extensions={TASKS: {}}) for wire in wires)
    job_id = one.generate("As a task")["taskId"]
    assert one.result("tasks/get", taskId=job_id)["status"] == "working"
    own = one.result("resources/read", uri=f"job://{job_id}")
    assert job_id in own["contents"][0]["text"]
    for method in ("tasks/get", "tasks/cancel"):
        error = other(method, taskId=job_id)["error"]
        assert (error["code"], "No such task" in error["message"]) == (INVALID_PARAMS, True)
    for uri in (f"job://{job_id}", f"image://{job_id}/0"):
        assert "job_not_found" in str(other("resources/read", uri=uri)["error"])
    assert one.result("tasks/get", taskId=job_id)["status"] == "working"


def test_the_clients_own_key_pays(keyed: Keyed, bridge: HttpBridge) -> None:
    issued = keyed.issue(limits=KeyLimits(jobs_in_flight=1))
    wire = Wire(bridge, {}, issued.secret)
    call(wire, "generate_image", prompt=f"Paid {secrets.token_hex(4)}", quality="low")
    assert keyed.queue.keys.spending(issued.key.id).jobs_in_flight == 1
    told = refused(wire, "generate_image", prompt=f"One more {secrets.token_hex(4)}", quality="low")
    assert told.startswith("too_many_jobs_in_flight: ")
    assert "Next: Call wait_for_jobs" in told
    keyed.queue.keys.set_limits(issued.key.id, KeyLimits(daily_budget_usd=0.0001))
    assert refused(wire, "generate_image", prompt="Dear", quality="high").startswith("budget_exceeded: ")


def test_a_revoked_key_reaches_nothing_any_more(keyed: Keyed, bridge: HttpBridge) -> None:
    issued = keyed.issue()
    wire = Wire(bridge, {}, issued.secret)
    call(wire, "list_edit_sessions")
    keyed.queue.keys.revoke(issued.key.id)
    answer = wire.post("tools/list", {})
    if answer.status_code != 401:  # through the API: the bridge knows it, the API refuses it
        assert refused(wire, "list_edit_sessions").startswith("unauthorized: ")
    assert keyed.queue.keys.spending(issued.key.id).jobs_in_flight == 0


def test_on_the_loopback_the_bridges_own_key_is_lent(keyed: Keyed, tmp_path: Path) -> None:
    issued, other = keyed.issue(), keyed.issue()
    own = {**keyed.way, "IMAGEQUEUE_API_KEY": issued.secret}
    with running_http_bridge(tmp_path, own) as bridge:
        job_id = call(Wire(bridge, {}), "generate_image", prompt="Lent", quality="low")["job_id"]
        assert refused(Wire(bridge, {}, other.secret), "cancel_job", job_id=job_id).startswith("job_not_found: ")
        assert listed(bridge, f"Bearer {UNKNOWN}").status_code == 401
    assert keyed.queue.get(job_id, owner=issued.key.owner).key_id == issued.key.id


def test_to_a_network_it_is_not_lent(keyed: Keyed, tmp_path: Path) -> None:
    own = {**keyed.way, "IMAGEQUEUE_API_KEY": keyed.issue().secret}
    with running_http_bridge(tmp_path, own, "0.0.0.0") as bridge:
        assert listed(bridge, None).status_code == 401
        assert listed(bridge, f"Bearer {keyed.issue().secret}").status_code == 200


def test_a_bridge_to_an_api_without_keys_lets_no_stranger_in(shared_fleet: Fleet, api_url: str, tmp_path: Path) -> None:
    """The API trusts this machine, and the bridge is on it: others must not come in through the bridge."""
    with running_http_bridge(tmp_path, {"IMAGEQUEUE_API_URL": api_url}, "0.0.0.0") as bridge:
        for given in (None, f"Bearer {UNKNOWN}", "Bearer anything"):
            assert listed(bridge, given).status_code == 401, given


@pytest.mark.parametrize("variable", ["IMAGEQUEUE_REDIS_URL", "IMAGEQUEUE_API_URL"])
def test_without_the_queue_the_tools_are_listed_and_say_what_is_missing(variable: str, tmp_path: Path) -> None:
    scheme = "redis" if "REDIS" in variable else "http"
    with running_http_bridge(tmp_path, {variable: f"{scheme}://{HOST}:{choose_port()}"}) as bridge:
        assert "generate_image" in listed(bridge, None).text
        assert "generate_image" in listed(bridge, f"Bearer {UNKNOWN}").text
        told = refused(Wire(bridge, {}, UNKNOWN), "generate_image", prompt="Never", quality="low")
        assert told.startswith(("store_unavailable: ", "api_unreachable: "))


def test_on_stdio_the_key_of_the_stack_on_this_machine_is_used(stack: Stack, tmp_path: Path) -> None:
    with running_bridge(tmp_path, {"IMAGEQUEUE_DATA_DIR": stack.environment["IMAGEQUEUE_DATA_DIR"]}) as bridge:
        made = bridge.call("generate_image", prompt="By itself", quality="low")
        assert made["status"] == "succeeded"
        assert len(list(Path(made["images"][0]["file_path"]).parent.iterdir())) == 1
    assert stack.get(f"/v1/jobs/{made['job_id']}").json()["state"] == "succeeded"


def test_the_stacks_key_is_of_no_use_on_another_redis(stack: Stack, working_fleet: Fleet, tmp_path: Path) -> None:
    """Who names a Redis goes there as its owner, whatever runs on this machine besides."""
    data = {"IMAGEQUEUE_DATA_DIR": stack.environment["IMAGEQUEUE_DATA_DIR"]}
    with running_bridge(tmp_path, {**working_fleet.environment, **data}) as bridge:
        job_id = bridge.call("generate_image", prompt="By Redis", quality="low")["job_id"]
    assert working_fleet.queue.get(job_id).key_id is None


def data_url() -> str:
    """A small image."""
    return f"data:image/png;base64,{base64.b64encode(png()).decode()}"
