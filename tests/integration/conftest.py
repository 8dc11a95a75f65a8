"""One real API for all integration tests, each with records of its own; a whole stack for those of the command line."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from api_kit import RunningApi, StandInWorker, start_api
from cli_kit import LIMIT_SECONDS, Shell, clean_environment
from fleet_kit import Fleet
from keyed_kit import Person, first_person, key_settings
from redis import Redis

from sandbox.stack.ports import choose_port

StartApi = Callable[..., RunningApi]


@pytest.fixture(scope="session")
def api(service_environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningApi]:
    """A running API that tests share: each makes its own jobs."""
    environment = {**service_environment, "IMAGEQUEUE_KEY_PREFIX": f"{secrets.token_hex(4)}:"}
    running = start_api(environment, tmp_path_factory.mktemp("api") / "api.log")
    yield running
    running.stop()


@pytest.fixture(scope="session")
def narrow_api(
    service_environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Generator[RunningApi]:
    """An API with records and a spool of its own, and tight limits: it is idle soon, waits for 1 s, logs all."""
    folder = tmp_path_factory.mktemp("narrow-api")
    narrow = {
        "IMAGEQUEUE_KEY_PREFIX": f"{secrets.token_hex(4)}:",
        "IMAGEQUEUE_API_PROCESSES": "1",
        "IMAGEQUEUE_SESSION_IDLE_HOURS": "1",
        "IMAGEQUEUE_MAX_WAITING_TURNS": "2",
        "IMAGEQUEUE_MAX_WAIT_SECONDS": "1",
        "IMAGEQUEUE_LOG_LEVEL": "debug",
        "IMAGEQUEUE_LOG_FORMAT": "json",
        "IMAGEQUEUE_SPOOL_DIR": str(folder / "spool"),
    }
    running = start_api({**service_environment, **narrow}, folder / "api.log")
    yield running
    running.stop()


@pytest.fixture(scope="session")
def keyed_api(
    service_environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Generator[RunningApi]:
    """An API with records of its own that asks everybody for a key."""
    folder = tmp_path_factory.mktemp("keyed-api")
    own = {"IMAGEQUEUE_KEY_PREFIX": f"{secrets.token_hex(4)}:", **key_settings(folder)}
    running = start_api({**service_environment, **own}, folder / "api.log")
    yield running
    running.stop()


@pytest.fixture
def admin(keyed_api: RunningApi) -> Person:
    """Who has the first key of that API."""
    return first_person(keyed_api)


@pytest.fixture
def empty_api(narrow_api: RunningApi) -> RunningApi:
    """That API without any records, for tests of what is listed or missing."""
    with Redis.from_url(narrow_api.settings.redis_url) as client:  # pyright: ignore[reportUnknownMemberType]
        for key in cast("Any", client).scan_iter(match=f"{narrow_api.settings.key_prefix}*", count=1000):
            client.delete(key)
    return narrow_api


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


@pytest.fixture(scope="session")
def fleet_api(shared_fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningApi]:
    """An API over the queue that has a real worker."""
    ours = {name: value for name, value in shared_fleet.environment.items() if name.startswith(("IMAGEQUEUE_", "AWS_"))}
    running = start_api(ours, tmp_path_factory.mktemp("fleet-api") / "api.log")
    yield running
    running.stop()


@pytest.fixture
def http(api: RunningApi) -> httpx2.Client:
    """A client of the shared API."""
    return api.http


@pytest.fixture
def worker(api: RunningApi) -> StandInWorker:
    """Moves the shared API's jobs."""
    return StandInWorker(api.settings)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[Mapping[str, Any]]:
    """The state of a stack that `imagequeue up` runs, painting by the sandbox."""
    folder = tmp_path_factory.mktemp("cli-stack")
    shell = Shell(folder, clean_environment(folder / "data") | {"IMAGEQUEUE_API_PROCESSES": "1"})
    ports = ("--port", str(choose_port()), "--mcp-port", str(choose_port()))
    up = shell.start("up", *ports, "--ready-file", "ready.json")
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
