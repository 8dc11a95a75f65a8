"""One real API for all integration tests; every record has a key prefix of its own."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

import httpx2
import pytest
from api_kit import RunningApi, StandInWorker, start_api

StartApi = Callable[..., RunningApi]


@pytest.fixture(scope="session")
def api(service_environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningApi]:
    """A running API that tests share: each makes its own jobs."""
    environment = {**service_environment, "IMAGEQUEUE_KEY_PREFIX": f"{secrets.token_hex(4)}:"}
    running = start_api(environment, tmp_path_factory.mktemp("api") / "api.log")
    yield running
    running.stop()


@pytest.fixture
def start_own_api(service_environment: Mapping[str, str], tmp_path: Path) -> Generator[StartApi]:
    """Starts an API for one test, with records of its own and the given variables."""
    started: list[RunningApi] = []

    def start(**variables: str) -> RunningApi:
        environment = {**service_environment, "IMAGEQUEUE_KEY_PREFIX": f"{secrets.token_hex(4)}:", **variables}
        started.append(start_api(environment, tmp_path / f"api-{len(started)}.log"))
        return started[-1]

    yield start
    for running in started:
        running.stop()


@pytest.fixture
def http(api: RunningApi) -> httpx2.Client:
    """A client of the shared API."""
    return api.http


@pytest.fixture
def worker(api: RunningApi) -> StandInWorker:
    """Moves the shared API's jobs."""
    return StandInWorker(api.settings)
