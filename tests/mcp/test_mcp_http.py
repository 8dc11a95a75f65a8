"""The bridge over streamable HTTP: the same tools, no files, and only for those it is meant for."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from bridge_kit import LIMIT_SECONDS, HttpBridge, RunningBridge, connected, running_http_bridge
from fleet_kit import Fleet
from mcp.shared.exceptions import MCPError
from picture_kit import png

LIST: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
HEADERS = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}


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
    assert "reads no files. Send the file to POST /v1/uploads" in refused


def test_an_output_folder_is_refused(client: RunningBridge, http_bridge: HttpBridge) -> None:
    refused = client.refused("generate_image", prompt="Never", output_dir="out")
    assert refused.startswith("output_dir_refused: ")
    assert not (http_bridge.folder / "out").exists()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost:5173"}, 200),
        ({"Origin": "http://localhost"}, 200),
        ({"Host": "localhost"}, 200),
        ({"Host": "localhost.evil.example"}, 421),
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
    setting = {421: "IMAGEQUEUE_MCP_ALLOWED_HOSTS", 403: "IMAGEQUEUE_MCP_ALLOWED_ORIGINS"}.get(status)
    assert (setting or "generate_image") in answer.text


def test_large_bodies_are_refused_with_the_limit_and_another_way(
    http_bridge: HttpBridge, client: RunningBridge
) -> None:
    body = json.dumps({**LIST, "params": {"cursor": "x" * 200_000}})
    headers = HEADERS | {"Content-Type": "application/json"}
    assert httpx2.post(http_bridge.url, content=body, headers=headers, trust_env=False).status_code == 413
    image = f"data:image/png;base64,{'A' * 200_000}"
    with pytest.raises(MCPError, match=r"(?s)may have 100,000 bytes.*Next: .*POST /v1/uploads"):
        client.start("edit_image", prompt="Never", images=[image]).result(LIMIT_SECONDS)


def test_files_come_by_upload(client: RunningBridge, api_url: str) -> None:
    kept = httpx2.post(f"{api_url}/v1/uploads", files={"file": png()}, trust_env=False).raise_for_status().json()
    answer = client.call("edit_image", prompt="Uploaded", images=[kept["image"]], quality="low")
    assert answer["status"] == "succeeded"


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
