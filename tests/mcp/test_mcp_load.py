"""Many calls that wait in one bridge; `make drills` has the large numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bridge_kit import LIMIT_SECONDS, RunningBridge, connected, running_api, running_bridge, running_http_bridge
from fleet_kit import Fleet, port_of
from load_kit import WaitingCall, call_and_go_on
from process_kit import Process

from mcp_bridge.direct import THREADS
from sandbox.stack.processes import wait_until

CALLS = 60
READERS = 1
"""Connections to Redis that wait."""
SENDERS = 24
"""Connections to Redis that Celery may keep for sending hints."""


def test_calls_that_wait_at_redis_share_its_connections(fleet: Fleet, tmp_path: Path) -> None:
    with running_http_bridge(tmp_path, bridge_for(fleet.environment)) as listening, connected(listening) as bridge:
        calls = waiting_calls(bridge)
        process = Process(bridge.pid)
        assert process.threads < CALLS
        assert process.connections(port_of(fleet.settings.redis_url)) <= THREADS + READERS + SENDERS
        assert_all_are_woken(fleet, calls)


def test_calls_that_wait_at_the_api_hold_a_connection_each_and_no_more(fleet: Fleet, tmp_path: Path) -> None:
    with (
        running_api(tmp_path, fleet.environment) as url,
        running_bridge(tmp_path / "bridge", bridge_for({"IMAGEQUEUE_API_URL": url})) as bridge,
    ):
        calls = waiting_calls(bridge)
        process = Process(bridge.pid)
        assert process.threads < CALLS
        assert process.connections(port_of(fleet.settings.redis_url)) == 0
        assert process.connections(port_of(url)) <= CALLS + 2, "one each, and those that look and submit"
        assert_all_are_woken(fleet, calls)


def bridge_for(way: Mapping[str, str]) -> dict[str, str]:
    """The environment of a bridge whose calls wait longer than the test."""
    return {**way, "IMAGEQUEUE_MCP_WAIT_SECONDS": "60", "IMAGEQUEUE_LOG_LEVEL": "warning"}


def waiting_calls(bridge: RunningBridge) -> list[WaitingCall]:
    """Calls that have been told what they wait for: `fleet` has no worker."""
    calls = [call_and_go_on(bridge, f"Waits {number}") for number in range(CALLS)]
    assert wait_until(lambda: all(call.told for call in calls), LIMIT_SECONDS)
    return calls


def assert_all_are_woken(fleet: Fleet, calls: list[WaitingCall]) -> None:
    """End the jobs: every call is answered."""
    for job in fleet.queue.list(limit=CALLS).jobs:
        fleet.queue.cancel(job.id)
    assert all(call.result(LIMIT_SECONDS).is_error for call in calls)
