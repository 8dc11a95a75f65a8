"""The bridge of `imagequeue up`, and the configuration that leads clients to it: each is used by a real client."""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from anyio.from_thread import start_blocking_portal
from bridge_kit import HttpBridge, RunningBridge, bridge_environment, connected, running_bridge
from fleet_kit import PROGRAM
from mcp import Client
from mcp.client.stdio import StdioServerParameters, get_default_environment
from stack_kit import Stack
from web_kit import answer, running_web

from imagequeue.cli.checks import Verdict, bridge_check
from imagequeue.local_stack import read_state
from mcp_bridge.server import TOOLS
from sandbox.stack.ports import choose_port

CLIENTS = ("claude-code", "claude-desktop", "cursor", "vscode")


def configured(stack: Stack, folder: Path, *arguments: str) -> dict[str, Any]:
    """The entry that `imagequeue mcp config` prints for the stack."""
    command = [PROGRAM, "mcp", "config", *arguments]
    run = subprocess.run(command, env=dict(stack.environment), cwd=folder, capture_output=True, text=True, check=True)
    document = cast("dict[str, dict[str, Any]]", json.loads(run.stdout))
    servers = document.get("servers") or document["mcpServers"]
    return cast("dict[str, Any]", servers["imagequeue"])


@contextmanager
def started_as(entry: Mapping[str, Any], folder: Path) -> Generator[RunningBridge]:
    """A client that starts the server as it is told to, in a folder of no meaning and with little of an environment."""
    variables = get_default_environment() | {"HOME": str(folder)} | entry.get("env", {})
    server = StdioServerParameters(command=entry["command"], args=entry["args"], env=variables, cwd=folder)
    with start_blocking_portal() as portal:
        client = Client(server)
        with portal.wrap_async_context_manager(client):
            yield RunningBridge(portal, client, folder, variables, 0)


@contextmanager
def calling(stack: Stack, folder: Path) -> Generator[RunningBridge]:
    """A client of the stack's bridge, with its key."""
    with connected(HttpBridge(stack.mcp_url, 0, folder, stack.key_header)) as client:
        yield client


def tools_of(bridge: RunningBridge) -> list[str]:
    """What a client sees."""
    return [tool.name for tool in bridge.portal.call(bridge.client.list_tools).tools]


def test_a_client_of_the_stacks_bridge_sees_all_tools_and_gets_an_image(stack: Stack, tmp_path: Path) -> None:
    with calling(stack, tmp_path) as client:
        assert tools_of(client) == [tool.name for tool in TOOLS]
        made = client.call("generate_image", prompt="By the stack's bridge", quality="low")
    assert (made["status"], len(made.pictures)) == ("succeeded", 1)
    assert stack.get(f"/v1/jobs/{made['job_id']}").json()["state"] == "succeeded"


@pytest.mark.parametrize("client", CLIENTS)
def test_what_is_printed_for_a_client_starts_a_bridge_on_the_stack(stack: Stack, tmp_path: Path, client: str) -> None:
    with started_as(configured(stack, tmp_path, client), tmp_path) as bridge:
        assert tools_of(bridge) == [tool.name for tool in TOOLS]
        assert bridge.call("list_edit_sessions")["sessions"] is not None
        if client == CLIENTS[0]:
            made = bridge.call("generate_image", prompt="As configured", quality="low", output_dir=str(tmp_path))
            assert Path(made["images"][0]["file_path"]).is_file()


@pytest.mark.parametrize("client", ["claude-code", "cursor", "vscode"])
def test_what_is_printed_for_http_leads_to_the_stacks_bridge(stack: Stack, tmp_path: Path, client: str) -> None:
    entry = configured(stack, tmp_path, client, "--http")
    assert entry["url"] == stack.mcp_url
    assert "API_KEY" in entry["headers"]["Authorization"].upper()


def test_without_its_key_the_stacks_bridge_answers_nobody(stack: Stack) -> None:
    refused = httpx2.post(stack.mcp_url, json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    assert refused.headers["www-authenticate"].startswith("Bearer")


def test_the_key_of_a_key_file_is_what_the_api_gets(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("iq_from-a-file\n")
    with running_web() as api:
        api.pages = defaultdict(lambda: answer(b"{}", 404))
        environment = bridge_environment({"IMAGEQUEUE_API_URL": api.origin}, tmp_path)
        with running_bridge(tmp_path, environment, ("--key-file", str(tmp_path / "key"))) as bridge:
            bridge.start("list_edit_sessions").result(30)
        assert api.requests
        assert re.search(r"(?im)^authorization: Bearer iq_from-a-file\r?$", api.requests[0])


def test_the_doctor_says_where_to_look_when_the_bridge_of_a_stack_does_not_answer(stack: Stack) -> None:
    state = read_state(Path(stack.environment["IMAGEQUEUE_DATA_DIR"]))
    assert state is not None
    assert bridge_check(state).verdict is Verdict.OK
    nowhere = f"http://127.0.0.1:{choose_port()}/mcp"
    found = bridge_check(replace(state, mcp_url=nowhere))
    assert (found.verdict, nowhere in found.detail, "logs/mcp.log" in found.mend) == (Verdict.WRONG, True, True)
    assert bridge_check(replace(state, mcp_url=f"{state.s3_endpoint}/mcp")).verdict is Verdict.WRONG, (
        "it is not the bridge"
    )
