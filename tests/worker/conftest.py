"""A sandbox for the economy lane alone: what its tests leave in files and faults is nobody else's."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path

import pytest
from economy_kit import POLL
from fleet_kit import Fleet, SandboxProcess, own_fleet, start_sandbox

from sandbox.stack.processes import stop


@pytest.fixture(scope="session")
def batch_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Generator[SandboxProcess]:
    """A sandbox whose batches and files are those of the economy lane's tests."""
    server = start_sandbox(tmp_path_factory.mktemp("batch-sandbox"))
    yield server
    stop(server.process, seconds=5)


@pytest.fixture(scope="session")
def economy_fleet(
    service_environment: Mapping[str, str], batch_sandbox: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Fleet]:
    """A queue with one worker that asks OpenAI often."""
    fleet = own_fleet({**service_environment, **POLL}, batch_sandbox, tmp_path_factory.mktemp("economy"))
    fleet.start_worker()
    yield fleet
    fleet.close()


@pytest.fixture
def idle_fleet(
    service_environment: Mapping[str, str], batch_sandbox: SandboxProcess, tmp_path: Path
) -> Generator[Fleet]:
    """The same without a worker, for one test."""
    fleet = own_fleet({**service_environment, **POLL}, batch_sandbox, tmp_path)
    yield fleet
    fleet.close()
