"""The protocol's official conformance suite against the bridge: every check by its outcome, every exception named.

The suite runs all scenarios of a revision, those that it does not score too; for 2026-07-28 these are the tasks.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from bridge_kit import bridge_environment
from conformance_server import SESSIONS
from conformance_tasks import prompt_of
from fleet_kit import Fleet, answers
from node_kit import FOLDER, MODULES, run_node

from sandbox.stack.ports import HOST, choose_port
from sandbox.stack.processes import Service, start_healthy

SERVER: Final = Path(__file__).with_name("conformance_server.py")
SUITE: Final = MODULES / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
SCENARIO: Final = re.compile(r"^server-|-\d{4}-\d\d-\d\dT[-\dZ]*$")
"""What is around a scenario's name in that of its results."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to: how many checks passed, and which did not, as `scenario:check`."""

    passed: int
    failed: frozenset[str] = frozenset()
    warned: frozenset[str] = frozenset()
    skipped: frozenset[str] = frozenset()


# A stream that broke is not resumed: the same call made again finds its job.
NO_EVENT_STORE: Final = frozenset(
    {"server-sse-polling:server-sse-priming-event", "server-sse-polling:server-sse-retry-field"}
)
# Any replica answers any request, so the bridge gives no session out.
NO_SESSION: Final = frozenset(
    {
        "server-sse-polling:server-sse-polling-session",
        "server-sse-multiple-streams:server-sse-multiple-streams-session",
    }
)
# A question to the client needs a session up to 2025-11-25, see conformance-baseline.yml.
NO_BACK_CHANNEL: Final = frozenset(
    {
        "tools-call-sampling:tools-call-sampling",
        "tools-call-elicitation:tools-call-elicitation",
        "elicitation-sep1034-defaults:elicitation-sep1034-general",
        "elicitation-sep1330-enums:elicitation-sep1330-general",
    }
)
# The suite itself has no check of tasks' notifications yet, and the bridge sends none.
NOT_WRITTEN: Final = frozenset({"tasks-status-notifications:tasks-status-notifications"})


def test_the_bridge_as_served_conforms_to_2026_07_28_with_its_tasks(working_fleet: Fleet, tmp_path: Path) -> None:
    for seconds in (1, 2, 60):
        working_fleet.sandbox.add_fault({"delay": seconds}, prompt=prompt_of(seconds), times=1_000)
    with running_server(working_fleet, tmp_path) as url:
        assert run_suite("2026-07-28", url, tmp_path) == Outcome(passed=196, skipped=NOT_WRITTEN)


def test_the_bridge_as_served_conforms_to_2025_11_25_and_asks_nothing(working_fleet: Fleet, tmp_path: Path) -> None:
    with running_server(working_fleet, tmp_path) as url:
        outcome = run_suite("2025-11-25", url, tmp_path, FOLDER / "conformance-baseline.yml")
    assert outcome == Outcome(passed=63, failed=NO_BACK_CHANNEL, warned=NO_SESSION | NO_EVENT_STORE)


def test_nothing_but_the_missing_session_keeps_it_from_asking(working_fleet: Fleet, tmp_path: Path) -> None:
    with running_server(working_fleet, tmp_path, **{SESSIONS: "1"}) as url:
        assert run_suite("2025-11-25", url, tmp_path) == Outcome(passed=81, warned=NO_EVENT_STORE)


@contextmanager
def running_server(fleet: Fleet, folder: Path, **variables: str) -> Generator[str]:
    """The bridge with the suite's fixtures until the block ends; gives its URL."""
    port = choose_port()
    own = {**bridge_environment(fleet.environment, folder), **variables}
    service = Service(
        name="conformance",
        command=(sys.executable, str(SERVER), "--port", str(port)),
        environment={**os.environ, **own, "PYTHONPATH": str(SERVER.parents[1] / "kit")},
        log=folder / "mcp.log",
        healthy=lambda: answers(port, "/healthz"),
        stage=0,
    )
    process = start_healthy(service)
    try:
        yield f"http://{HOST}:{port}/mcp"
    finally:
        process.terminate()
        process.wait(15)


def run_suite(revision: str, url: str, folder: Path, baseline: Path | None = None) -> Outcome:
    """Run all scenarios of a revision, which must end well: nothing fails that is required and not in `baseline`."""
    results = folder / "results"
    expected = ("--expected-failures", str(baseline)) if baseline else ()
    ended = run_node(SUITE, "server", "--url", url, "--requirements", revision, "-o", str(results), *expected)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    print(ended.stdout.partition("=== SUMMARY ===")[2])
    checks = [
        (file.parent.name, check) for file in sorted(results.glob("*/checks.json")) for check in read_checks(file)
    ]

    def named(status: str) -> frozenset[str]:
        return frozenset(f"{SCENARIO.sub('', run)}:{check['id']}" for run, check in checks if check["status"] == status)

    passed = sum(check["status"] == "SUCCESS" for _, check in checks)
    return Outcome(passed, named("FAILURE"), named("WARNING"), named("SKIPPED"))


def read_checks(file: Path) -> list[dict[str, Any]]:
    """What the suite wrote down of a scenario."""
    return cast("list[dict[str, Any]]", json.loads(file.read_text()))
