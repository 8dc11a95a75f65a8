"""The bridge over streamable HTTP: the same tools, no files, and only for those it is meant for."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from bridge_kit import HttpBridge, RunningBridge, connected, running_http_bridge
from fleet_kit import Fleet
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from picture_kit import png

LIST: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
HEADERS = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}
CALLS = 500


@pytest.fixture(scope="module")
def http_bridge(shared_fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Generator[HttpBridge]:
    """A bridge that listens, straight on the shared queue."""
    folder = tmp_path_factory.mktemp("http")
    with running_http_bridge(
        folder, {**shared_fleet.environment, "IMAGEQUEUE_MAX_EDIT_BODY_BYTES": "100000"}
    ) as bridge:
        yield bridge


@pytest.fixture
def client(http_bridge: HttpBridge, working_fleet: Fleet) -> Generator[RunningBridge]:
    """A client of it."""
    with connected(http_bridge) as connection:
        yield connection


def test_an_image_is_made_with_progress_and_no_file(client: RunningBridge, working_fleet: Fleet) -> None:
    working_fleet.sandbox.set_latency(1)
    answer = client.call("generate_image", prompt="Over HTTP", quality="low")
    assert (answer["status"], answer["images"][0]["file_path"], len(answer.pictures)) == ("succeeded", None, 1)
    assert any(told.endswith("about $0.006") for told in client.progress)
    edited = client.call("edit_image", prompt="Over HTTP", images=[answer["images"][0]["source"]], quality="low")
    assert edited["status"] == "succeeded"


@pytest.mark.parametrize("image", ["photo.png", "/etc/passwd", "file:///etc/passwd", "~/photo.png"])
def test_paths_are_refused(client: RunningBridge, http_bridge: HttpBridge, image: str) -> None:
    (http_bridge.folder / "photo.png").write_bytes(png())
    refused = client.refused("edit_image", prompt="Never", images=[image])
    assert refused.startswith("path_refused: images[0]: ")
    assert "reads no files" in refused


def test_an_output_folder_is_refused(client: RunningBridge, http_bridge: HttpBridge) -> None:
    refused = client.refused("generate_image", prompt="Never", output_dir="out")
    assert refused.startswith("output_dir_refused: ")
    assert not (http_bridge.folder / "out").exists()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost:5173"}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Host": "169.254.169.254"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_only_this_machines_hosts_and_origins_are_answered(
    http_bridge: HttpBridge, headers: dict[str, str], status: int
) -> None:
    answer = httpx2.post(http_bridge.url, json=LIST, headers=HEADERS | headers, trust_env=False)
    assert answer.status_code == status
    if status == 200:
        assert "generate_image" in answer.text


def test_large_bodies_are_refused(http_bridge: HttpBridge) -> None:
    body = json.dumps({**LIST, "params": {"cursor": "x" * 200_000}})
    headers = HEADERS | {"Content-Type": "application/json"}
    assert httpx2.post(http_bridge.url, content=body, headers=headers, trust_env=False).status_code == 413


def test_any_replica_goes_on_with_what_another_one_began(
    working_fleet: Fleet, http_bridge: HttpBridge, tmp_path: Path
) -> None:
    working_fleet.sandbox.set_latency(2)
    environment = {**working_fleet.environment, "IMAGEQUEUE_MCP_WAIT_SECONDS": "0.2"}
    with running_http_bridge(tmp_path, environment) as first, connected(first) as one:
        job_id = one.call("generate_image", prompt=f"Begun {first.pid}", quality="low")["job_id"]
    with connected(http_bridge) as other:
        (job,) = other.call("wait_for_jobs", job_ids=[job_id])["jobs"]
    assert job["status"] == "succeeded"


def test_500_waiting_calls_cost_no_thread_and_no_connection_to_redis_each(fleet: Fleet, tmp_path: Path) -> None:
    """`fleet` has no worker, so every call waits until its time is over."""
    environment = {**fleet.environment, "IMAGEQUEUE_MCP_WAIT_SECONDS": "5"}
    with running_http_bridge(tmp_path, environment) as bridge:
        before = connections(fleet)
        peak = asyncio.run(many_calls(bridge, fleet, before))
    print(f"\n{CALLS} waiting calls: {peak}")
    assert peak["threads"] < 60
    assert peak["redis_connections"] < 60
    assert peak["answered"] == CALLS


def connections(fleet: Fleet) -> int:
    """How many connections Redis has."""
    return int(fleet.redis.info("clients")["connected_clients"])


async def many_calls(bridge: HttpBridge, fleet: Fleet, before: int) -> dict[str, float]:
    """Make the calls from one client; gives what they cost while all of them waited."""
    started = time.monotonic()
    unlimited = httpx2.AsyncClient(limits=httpx2.Limits(max_connections=None), timeout=60, trust_env=False)
    async with unlimited, Client(streamable_http_client(bridge.url, http_client=unlimited)) as client:
        calls = [
            asyncio.create_task(client.call_tool("generate_image", {"prompt": f"Waits {number}", "quality": "low"}))
            for number in range(CALLS)
        ]
        while len(fleet.queue.list(limit=CALLS).jobs) < CALLS and time.monotonic() - started < 60:
            await asyncio.sleep(0.2)
        waiting_after = time.monotonic() - started
        status = dict(line.split(":", 1) for line in Path(f"/proc/{bridge.pid}/status").read_text().splitlines())
        peak = {
            "threads": float(status["Threads"]),
            "resident_mb": float(status["VmRSS"].split()[0]) / 1024,
            "redis_connections": float(connections(fleet) - before),
            "all_waiting_after_s": round(waiting_after, 1),
        }
        answers = await asyncio.gather(*calls)
    contents = [cast("dict[str, Any]", answer.structured_content or {}) for answer in answers]
    handles = [content for content in contents if content.get("status") == "running"]
    return {**peak, "answered": float(len(handles)), "all_answered_after_s": round(time.monotonic() - started, 1)}
