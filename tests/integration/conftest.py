"""One real API for all integration tests, each with records of its own; a whole stack for those of the command line."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from api_kit import RunningApi, StandInWorker, start_api
from cli_kit import LIMIT_SECONDS, Shell, clean_environment

from sandbox.stack.ports import choose_port

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


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[Mapping[str, Any]]:
    """The state of a stack that `imagequeue up` runs, painting by the sandbox."""
    folder = tmp_path_factory.mktemp("cli-stack")
    shell = Shell(folder, clean_environment(folder / "data") | {"IMAGEQUEUE_API_PROCESSES": "1"})
    up = shell.start("up", "--port", str(choose_port(None)), "--ready-file", "ready.json")
    assert up.stdout
    printed = ""
    while "Ctrl-C stops everything" not in printed:
        line = up.stdout.readline()
        assert line, f"up ended: {printed}"
        printed += line
    yield json.loads((folder / "ready.json").read_text()) | {"data": str(folder / "data")}
    stopped = shell("down")
    up.communicate(timeout=LIMIT_SECONDS)
    assert (stopped.code, up.returncode) == (0, 0)


@pytest.fixture
def iq(stack: Mapping[str, Any], tmp_path: Path) -> Shell:
    """The command on the machine where the stack runs, in an empty folder."""
    return Shell(tmp_path, clean_environment(Path(stack["data"])))
