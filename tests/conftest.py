"""A fleet of real parts: one Redis, S3 server and sandbox for the run, a key prefix and workers for each test."""

from __future__ import annotations

import signal
from collections.abc import Generator, Mapping
from pathlib import Path

import pytest
from fleet_kit import Fleet, SandboxProcess, own_fleet, start_sandbox
from receiver_kit import Receiver
from stack_kit import Stack, running_stack

from sandbox.stack.ports import HOST, choose_port
from sandbox.stack.processes import stop
from sandbox.stack.redis_server import RunningServer, start_redis
from sandbox.stack.s3_server import REGION, RunningS3, start_s3


def pytest_configure() -> None:
    """Give the processes under test a Ctrl-C that works: one that starts us in the background may have it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningServer]:
    """A real Redis; every test keeps to a key prefix of its own."""
    server = start_redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningS3]:
    """A real S3 server with a bucket."""
    server = start_s3(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def service_environment(redis_server: RunningServer, s3_server: RunningS3) -> Mapping[str, str]:
    """The variables that join a process to the servers, without a key prefix."""
    return {
        "IMAGEQUEUE_REDIS_URL": redis_server.url,
        "IMAGEQUEUE_S3_ENDPOINT": s3_server.endpoint,
        "IMAGEQUEUE_S3_BUCKET": s3_server.bucket,
        "AWS_ACCESS_KEY_ID": s3_server.access_key,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret_key,
        "AWS_REGION": REGION,
        "IMAGEQUEUE_API_PROCESSES": "2",
    }


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Generator[SandboxProcess]:
    """The sandbox image server."""
    server = start_sandbox(tmp_path_factory.mktemp("worker-sandbox"))
    yield server
    stop(server.process, seconds=5)


@pytest.fixture(scope="session")
def receivers() -> Generator[tuple[Receiver, Receiver]]:
    """Two servers that webhooks may be sent to; every test keeps to paths of its own."""
    with Receiver().serving() as first, Receiver().serving() as second:
        yield first, second


@pytest.fixture
def fleet(service_environment: Mapping[str, str], sandbox: SandboxProcess, tmp_path: Path) -> Generator[Fleet]:
    """A queue of its own, without workers yet."""
    sandbox.calm()
    fleet = own_fleet(service_environment, sandbox, tmp_path)
    yield fleet
    fleet.close()


@pytest.fixture(scope="session")
def shared_fleet(
    service_environment: Mapping[str, str],
    sandbox: SandboxProcess,
    receivers: tuple[Receiver, Receiver],
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[Fleet]:
    """A queue with one worker, for tests that do no harm to it: starting a worker takes longer than most of them."""
    origins = {"IMAGEQUEUE_WEBHOOK_ORIGINS": ",".join(receiver.origin for receiver in receivers)}
    fleet = own_fleet({**service_environment, **origins}, sandbox, tmp_path_factory.mktemp("shared-fleet"))
    fleet.start_worker()
    yield fleet
    fleet.close()


@pytest.fixture
def working_fleet(shared_fleet: Fleet) -> Fleet:
    """The shared queue, with a sandbox that answers at once."""
    shared_fleet.sandbox.calm()
    return shared_fleet


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stack]:
    """The whole stack as a user starts it, for tests that do not stop it."""
    receiver = f"http://{HOST}:{choose_port()}"  # of the guide of webhooks
    with running_stack(tmp_path_factory.mktemp("stack"), IMAGEQUEUE_WEBHOOK_ORIGINS=receiver) as running:
        yield running
