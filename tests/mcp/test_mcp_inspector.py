"""Every tool, the resources and the prompts, through the MCP Inspector's command line over stdio.

One process is one client with one request. `pytest -s` shows what was asked and answered, shortened.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import pytest
from bridge_kit import BRIDGE, bridge_environment
from fleet_kit import Fleet
from node_kit import MODULES, run_node
from picture_kit import png

from mcp_bridge.server import TOOLS

INSPECTOR: Final = MODULES / "@modelcontextprotocol" / "inspector" / "cli" / "build" / "cli.js"
SHOWN: Final = 160
"""Characters of a line that the transcript shows."""


@dataclass(frozen=True)
class Inspector:
    """The Inspector with the bridge as its server, in a project's folder."""

    project: Path
    environment: Mapping[str, str]

    def ask(self, method: str, *options: str) -> dict[str, Any]:
        """Make a request; its result."""
        ended = run_node(
            INSPECTOR, "--cli", BRIDGE, "--method", method, *options, environment=self.environment, folder=self.project
        )
        assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
        result = cast("dict[str, Any]", json.loads(ended.stdout))
        print(f"\n$ mcp-inspector --cli imagequeue-mcp --method {method} {shlex.join(options)}\n{shortened(result)}")
        return result

    def call(self, tool: str, **arguments: object) -> dict[str, Any]:
        """Call a tool; its answer must be no error. Gives the structured content."""
        result = self._call(tool, arguments)
        assert result["isError"] is False, result
        return cast("dict[str, Any]", result["structuredContent"])

    def refused(self, tool: str, **arguments: object) -> str:
        """Call a tool; gives the text of the error that its answer must be."""
        result = self._call(tool, arguments)
        assert result["isError"] is True, result
        return cast("str", result["content"][0]["text"])

    def _call(self, tool: str, arguments: Mapping[str, object]) -> dict[str, Any]:
        pairs = [
            f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in arguments.items()
        ]
        return self.ask("tools/call", "--tool-name", tool, *(["--tool-arg", *pairs] if pairs else []))


def shortened(result: Mapping[str, Any]) -> str:
    """A result for people: whose names are listed, or what an answer holds, images by their size."""
    kind = next(name for name, value in result.items() if isinstance(value, list))
    blocks = cast("list[dict[str, Any]]", result[kind])
    if kind == "tools":
        return ", ".join(block["name"] for block in blocks)
    lines = [line for block in blocks for line in lines_of(block.get("content", block))]
    return "\n".join(["error" if result.get("isError") else "ok", *(f"  {line[:SHOWN]}" for line in lines)])


def lines_of(block: Mapping[str, Any]) -> list[str]:
    """A block of content for people."""
    if "text" in block:
        return cast("str", block["text"]).splitlines()
    if "uri" in block and "blob" not in block:
        return [f"[{block['type']} {block['uri']}]"]
    return [f"[{block['mimeType']}, {len(block.get('data') or block['blob'])} characters of base64]"]


InspectorWith = Callable[..., Inspector]
pytestmark = pytest.mark.timeout(300)  # a call starts three programs, which take their time on a busy machine


@pytest.fixture
def inspector(api_url: str, working_fleet: Fleet, tmp_path: Path) -> InspectorWith:
    """The Inspector of a bridge that goes through the API, with the given variables on top."""

    def make(**variables: str) -> Inspector:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        own = bridge_environment({"IMAGEQUEUE_API_URL": api_url, **variables}, home)
        return Inspector(tmp_path, own)

    return make


def test_it_lists_and_reads_what_the_bridge_offers(inspector: InspectorWith) -> None:
    ask = inspector().ask
    tools = ask("tools/list")["tools"]
    assert [tool["name"] for tool in tools] == [spec.name for spec in TOOLS]
    assert all(tool["inputSchema"]["additionalProperties"] is False and tool["outputSchema"] for tool in tools)
    prompt = ask("prompts/get", "--prompt-name", "photoreal_image", "--prompt-args", "subject=a ferry at dawn")
    assert "a ferry at dawn" in prompt["messages"][0]["content"]["text"]


def test_an_image_is_priced_refused_made_waited_for_and_read(inspector: InspectorWith, working_fleet: Fleet) -> None:
    inspect, hasty = inspector(), inspector(IMAGEQUEUE_MCP_WAIT_SECONDS="0.2")
    assert inspect.call("estimate_cost", prompt="A ferry", quality="high", n=2)["expected_usd"] > 0.1
    assert inspect.refused("generate_image", prompt="A ferry", size="100x100").startswith("invalid_request: size: ")
    working_fleet.sandbox.set_latency(2)
    handle = hasty.call("generate_image", prompt="A ferry, seen by the Inspector", quality="low")
    assert (handle["status"], handle["images"]) == ("running", [])
    (job,) = inspect.call("wait_for_jobs", job_ids=[handle["job_id"]])["jobs"]
    assert Path(job["images"][0]["file_path"]).is_file()
    (original,) = inspect.ask("resources/read", "--uri", job["images"][0]["resource"])["contents"]
    assert original["mimeType"] == "image/png"
    assert inspect.refused("cancel_job", job_id=handle["job_id"]).startswith("job_finished: ")


def test_a_session_goes_from_start_to_end_and_branches(inspector: InspectorWith) -> None:
    inspect = inspector()
    (inspect.project / "boat.png").write_bytes(png(size=(1024, 1024)))
    edited = inspect.call("edit_image", prompt="Make it dusk", images=["boat.png"], quality="low")
    source = edited["images"][0]["source"]
    session = inspect.call("start_edit_session", prompt="Add a pier", images=[source], quality="low")["session_id"]
    assert inspect.call("continue_edit_session", session_id=session, prompt="Add fog", quality="low")["turn"] == 2
    assert session in {one["session_id"] for one in inspect.call("list_edit_sessions")["sessions"]}
    history = inspect.call("get_edit_session", session_id=session)["history"]
    assert [turn["prompt"] for turn in history] == ["Add a pier", "Add fog"]
    assert inspect.call("fork_edit_session", session_id=session, turn=1)["forked_from"] == f"{session}/1"
    assert inspect.call("end_edit_session", session_id=session)["ended"] is True
    assert inspect.refused("continue_edit_session", session_id=session, prompt="More").startswith("session_ended: ")
