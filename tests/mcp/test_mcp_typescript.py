"""The official TypeScript client, which gives a call up after 60 s unless progress sets its clock back.

Sixty seconds are six here, and all other times in proportion; slow_job.mjs runs them at full size, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from bridge_kit import BRIDGE, bridge_environment
from fleet_kit import Fleet
from node_kit import FOLDER, run_node

CLIENT_SECONDS: Final = 6.0
"""60 s in proportion."""
BRIDGE_SECONDS: Final = 4.5
"""45 s, the default of IMAGEQUEUE_MCP_WAIT_SECONDS, in proportion."""
JOB_SECONDS: Final = 9


def test_a_job_longer_than_the_clients_patience_comes_by_its_handle(working_fleet: Fleet, tmp_path: Path) -> None:
    prompt = f"Slower than the client, {tmp_path.name}"
    variables = {**working_fleet.environment, "IMAGEQUEUE_MCP_WAIT_SECONDS": str(BRIDGE_SECONDS)}
    first, *waits = slow_job(working_fleet, tmp_path, prompt, variables)
    assert (first["status"], first["pictures"]) == ("running", [])
    assert first["seconds"] < CLIENT_SECONDS
    assert {wait["job_id"] for wait in waits} == {first["job_id"]}
    assert (waits[-1]["status"], len(waits[-1]["pictures"]), len(waits[-1]["files"])) == ("succeeded", 1, 1)
    assert Path(waits[-1]["files"][0]).is_file()
    assert len(working_fleet.sandbox.calls(prompt)) == 1, "and is bought once"


def test_progress_keeps_the_client_waiting_for_as_long_as_it_takes(working_fleet: Fleet, tmp_path: Path) -> None:
    prompt = f"As slow as it likes, {tmp_path.name}"
    (only,) = slow_job(working_fleet, tmp_path, prompt, working_fleet.environment, "--progress")
    assert (only["status"], len(only["pictures"])) == ("succeeded", 1)
    assert only["seconds"] > CLIENT_SECONDS
    assert len(only["progress"]) >= 3
    assert all(told.startswith(("queued", "running")) and told.endswith("about $0.006") for told in only["progress"])


def slow_job(
    fleet: Fleet, folder: Path, prompt: str, variables: Mapping[str, str], *options: str
) -> list[dict[str, Any]]:
    """What each call of the client brought."""
    arguments = {
        "--bridge": BRIDGE,
        "--sandbox": fleet.sandbox.url,
        "--seconds": str(JOB_SECONDS),
        "--prompt": prompt,
        "--timeout": str(round(CLIENT_SECONDS * 1_000)),
    }
    flat = [word for pair in arguments.items() for word in pair]
    home = bridge_environment(variables, folder / "home")
    ended = run_node(FOLDER / "slow_job.mjs", *flat, *options, environment=home, folder=folder)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    print(ended.stdout)
    return cast("list[dict[str, Any]]", json.loads(ended.stdout)["calls"])
