"""Bridges over both doors, shared by the tests that do no harm to them."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import pytest
from bridge_kit import RunningBridge, StartBridge, running_api, running_bridge
from fleet_kit import Fleet

DOORS = ("redis", "api")


@pytest.fixture(scope="session")
def api_url(shared_fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A REST API over the shared queue."""
    with running_api(tmp_path_factory.mktemp("mcp-api"), shared_fleet.environment) as url:
        yield url


@pytest.fixture(scope="session", params=DOORS)
def door(request: pytest.FixtureRequest, shared_fleet: Fleet) -> Mapping[str, str]:
    """The environment that leads a bridge to the shared queue: straight, or through the API and nothing else."""
    if request.param == "redis":
        return shared_fleet.environment
    return {"IMAGEQUEUE_API_URL": cast("str", request.getfixturevalue("api_url"))}


@pytest.fixture(scope="session")
def shared_bridge(door: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningBridge]:
    """One bridge for many tests."""
    with running_bridge(tmp_path_factory.mktemp("mcp-bridge"), door) as running:
        yield running


@pytest.fixture
def bridge(shared_bridge: RunningBridge, working_fleet: Fleet) -> RunningBridge:
    """That bridge, with nothing told yet and a sandbox that answers at once."""
    shared_bridge.progress.clear()
    return shared_bridge


@pytest.fixture
def start_bridge(door: Mapping[str, str], working_fleet: Fleet, tmp_path: Path) -> Generator[StartBridge]:
    """Starts a bridge for one test, with the given variables on top."""
    with ExitStack() as running:
        count = 0

        def start(**variables: str) -> RunningBridge:
            nonlocal count
            count += 1
            return running.enter_context(running_bridge(tmp_path / f"bridge-{count}", {**door, **variables}))

        yield start
