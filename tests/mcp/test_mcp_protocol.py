"""The wire: nothing but protocol on stdout; what the server offers, by name; resources and prompts."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from bridge_kit import BRIDGE, RunningBridge, bridge_environment
from fleet_kit import Fleet
from mcp.shared.exceptions import MCPError
from mcp.types import BlobResourceContents, TextContent, TextResourceContents


def test_nothing_but_protocol_is_on_stdout(working_fleet: Fleet, tmp_path: Path) -> None:
    environment = bridge_environment({**working_fleet.environment, "IMAGEQUEUE_LOG_LEVEL": "debug"}, tmp_path)
    hello = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    }
    call = {"name": "generate_image", "arguments": {"prompt": "On the wire", "quality": "low"}}
    said: list[dict[str, Any]] = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call},
        {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "nonsense", "arguments": {}}},
    ]
    with subprocess.Popen(
        [BRIDGE],
        env=environment,
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as bridge:
        assert bridge.stdin and bridge.stdout and bridge.stderr
        for message in said:
            bridge.stdin.write(json.dumps(message) + "\n")
        bridge.stdin.flush()
        heard: list[dict[str, Any]] = []
        while {1, 2, 3} - {message.get("id") for message in heard}:
            heard.append(json.loads(bridge.stdout.readline()))
        bridge.stdin.close()
        rest, logged = bridge.stdout.read(), bridge.stderr.read()
    assert (rest, bridge.returncode) == ("", 0)
    assert {message["jsonrpc"] for message in heard} == {"2.0"}
    assert "nonsense" in logged
    results = {message["id"]: message["result"] for message in heard if "id" in message}
    assert results[1]["protocolVersion"] == "2025-11-25"
    assert "wait_for_jobs" in results[1]["instructions"]
    assert results[2]["structuredContent"]["status"] == "succeeded"
    assert results[3]["isError"]


def test_an_image_is_read_as_a_resource_byte_for_byte(bridge: RunningBridge) -> None:
    answer = bridge.call("generate_image", prompt="As a resource", quality="low", output_format="jpeg")
    (image,) = answer["images"]
    (content,) = bridge.portal.call(bridge.client.read_resource, image["resource"]).contents
    assert isinstance(content, BlobResourceContents)
    assert content.mime_type == image["mime_type"] == "image/jpeg"
    assert hashlib.sha256(base64.b64decode(content.blob)).hexdigest() == image["sha256"]
    (record,) = bridge.portal.call(bridge.client.read_resource, f"job://{answer['job_id']}").contents
    assert isinstance(record, TextResourceContents)
    assert json.loads(record.text)["state"] == "succeeded"


@pytest.mark.parametrize(
    "uri",
    [
        "image://job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z/0",
        "job://job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z",
        "image://../../etc/passwd",
        "file:///etc/passwd",
    ],
)
def test_a_missing_resource_is_an_error(bridge: RunningBridge, uri: str) -> None:
    with pytest.raises(MCPError) as caught:
        bridge.portal.call(bridge.client.read_resource, uri)
    assert caught.value.error.code == -32602


def test_the_prompts_name_tools_that_exist(bridge: RunningBridge) -> None:
    tools = {tool.name for tool in bridge.portal.call(bridge.client.list_tools).tools}
    arguments: Mapping[str, dict[str, str]] = {
        "photoreal_image": {"subject": "a ferry"},
        "infographic": {"topic": "tides", "texts": "EBB\nFLOW"},
        "consistent_character": {"character": "Mo, a fox", "scenes": "at sea\nat home"},
    }
    offered = bridge.portal.call(bridge.client.list_prompts).prompts
    assert {prompt.name for prompt in offered} == set(arguments)
    for prompt in offered:
        given = bridge.portal.call(bridge.client.get_prompt, prompt.name, arguments[prompt.name])
        text = cast("TextContent", given.messages[0].content).text
        assert all(value in text for value in arguments[prompt.name].values())
        assert sum(tool in text for tool in tools) >= 2
