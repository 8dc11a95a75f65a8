"""The services of the whole stack, and the environment that the processes read their settings from."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from imagequeue.local_stack import LocalStack
from sandbox.stack.errors import PortTaken
from sandbox.stack.ports import HOST, is_free
from sandbox.stack.processes import Service
from sandbox.stack.redis_server import redis_service, redis_url
from sandbox.stack.s3_server import BUCKET, REGION, s3_endpoint, s3_service
from sandbox.stack.state import load_remembered, remember_port, remembered_port, service_lock

DEFAULT_PORTS = {"api": 8080, "mcp": 8765}
_PORT_OPTIONS = {"api": "--port", "mcp": "--mcp-port"}
OPENAI_BASE_URL = "https://api.openai.com/v1"  # the OpenAI SDK's default

# A user's own broker, API or S3 account must not mix with the stack's: these variables are not passed on.
_NOT_PASSED = ("IMAGEQUEUE_BROKER_URL", "IMAGEQUEUE_API_URL")
_NOT_PASSED_PREFIX = "AWS_"

_RECOVERED = "its jobs in flight are recovered at the next start"
_RECOVERED_REAL = f"{_RECOVERED}, and OpenAI may charge for a call that was cut short"


@dataclass(frozen=True)
class StackPlan:
    """All that `imagequeue up` will start, and what it will tell others once that is healthy."""

    services: tuple[Service, ...]
    stack: LocalStack


def plan_stack(
    data: Path,
    *,
    port: int | None,
    mcp_port: int | None,
    workers: int,
    program: tuple[str, ...],
    user: Mapping[str, str],
    pid: int,
) -> StackPlan:
    """Choose ports and describe every process.

    Args:
        data: the data folder, which exists.
        port: the API's; None for the remembered one, else 8080, else any free one.
        mcp_port: the MCP bridge's; None for the remembered one, else 8765, else any free one.
        workers: how many worker processes.
        program: the command that `api`, `worker`, `mcp` and `sandbox` are appended to.
        user: the environment of the person who starts the stack.
        pid: of the supervisor.

    Raises:
        PortTaken: a port was given and is not to be had.
    """
    api_port = _public_port(data, "api", port, other=mcp_port)
    bridge_port = _public_port(data, "mcp", mcp_port, other=api_port)
    ports = {"api": api_port, "mcp": bridge_port}
    for name in ("redis", "s3", "sandbox"):
        ports[name] = remembered_port(data, name, avoid=ports.values())
    sandbox = not user.get("OPENAI_API_KEY")
    sandbox_url = f"http://{HOST}:{ports['sandbox']}/v1"
    stack = LocalStack(
        api_url=f"http://{HOST}:{api_port}",
        mcp_url=f"http://{HOST}:{bridge_port}/mcp",
        redis_url=redis_url(ports["redis"]),
        s3_endpoint=s3_endpoint(ports["s3"]),
        bucket=BUCKET,
        openai_base_url=sandbox_url if sandbox else user.get("OPENAI_BASE_URL") or OPENAI_BASE_URL,
        sandbox=sandbox,
        key_file=str(data / "api_key"),
        pid=pid,
    )
    environment = stack_environment(data, stack, api_port, user)
    services = [redis_service(data, ports["redis"]), s3_service(data, ports["s3"])]
    if sandbox:
        services.append(_sandbox_service(data, program, environment, ports["sandbox"]))
    services += _worker_services(data, program, environment, workers, _RECOVERED if sandbox else _RECOVERED_REAL)
    services.append(_api_service(data, program, environment, api_port))
    services.append(_mcp_service(data, program, environment, stack.mcp_url, bridge_port))
    return StackPlan(tuple(services), stack)


def stack_environment(data: Path, stack: LocalStack, api_port: int, user: Mapping[str, str]) -> dict[str, str]:
    """Return the user's environment with the settings that join a process to the stack."""
    passed = {
        name: value
        for name, value in user.items()
        if name not in _NOT_PASSED and not name.startswith(_NOT_PASSED_PREFIX)
    }
    keys = load_remembered(data)
    own = {
        "IMAGEQUEUE_REDIS_URL": stack.redis_url,
        "IMAGEQUEUE_S3_ENDPOINT": stack.s3_endpoint,
        "IMAGEQUEUE_S3_BUCKET": stack.bucket,
        "IMAGEQUEUE_API_HOST": HOST,
        "IMAGEQUEUE_API_PORT": str(api_port),
        "IMAGEQUEUE_SPOOL_DIR": str(data / "spool"),
        "IMAGEQUEUE_FIRST_KEY_FILE": stack.key_file,
        "IMAGEQUEUE_KEY_PEPPER": keys.key_pepper,
        "AWS_ACCESS_KEY_ID": keys.s3_access_key,
        "AWS_SECRET_ACCESS_KEY": keys.s3_secret_key,
        "AWS_REGION": REGION,
        "PYTHONUNBUFFERED": "1",  # a log line is in the file when it is written
    }
    if stack.sandbox:
        own |= {"OPENAI_BASE_URL": stack.openai_base_url, "OPENAI_API_KEY": "sandbox"}
    return passed | own | _without_proxies(user)


def http_ok(port: int, path: str) -> bool:
    """Whether GET `path` on a loopback port is answered with 200."""
    with closing(HTTPConnection(HOST, port, timeout=3)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False


def _without_proxies(user: Mapping[str, str]) -> dict[str, str]:
    """Name the loopback in no_proxy: the user's proxy cannot reach this machine's servers."""
    named = user.get("no_proxy") or user.get("NO_PROXY") or ""
    value = named if named == "*" else ",".join(filter(None, [named, HOST, "localhost"]))
    return {"no_proxy": value, "NO_PROXY": value}


def _public_port(data: Path, name: str, asked: int | None, *, other: int | None) -> int:
    """The port of a service that clients know; `other` is to be that of another one."""
    if asked is None:
        return remembered_port(data, name, DEFAULT_PORTS[name], avoid=(other,))
    way_out = f"choose another with {_PORT_OPTIONS[name]}"
    if asked == other:
        raise PortTaken(f"Port {asked} was asked for twice; {way_out}.")
    if not is_free(asked):
        raise PortTaken(f"Port {asked} is taken, or this user may not listen on it; {way_out}.")
    remember_port(data, name, asked)
    return asked


def _sandbox_service(data: Path, program: tuple[str, ...], environment: Mapping[str, str], port: int) -> Service:
    return Service(
        name="sandbox",
        command=(*program, "sandbox", "--host", HOST, "--port", str(port)),
        environment=environment,
        log=data / "logs" / "sandbox.log",
        healthy=partial(http_ok, port, "/healthz"),
        stage=0,
        address=environment["OPENAI_BASE_URL"],
        lock=service_lock(data, "sandbox"),
    )


def _worker_services(
    data: Path, program: tuple[str, ...], environment: Mapping[str, str], count: int, killed_note: str
) -> list[Service]:
    names = ["worker"] if count == 1 else [f"worker-{number}" for number in range(1, count + 1)]
    return [
        Service(
            name=name,
            command=(*program, "worker"),
            environment=environment,
            log=data / "logs" / f"{name}.log",
            healthy=lambda: True,  # the API's /readyz asks whether a worker answers
            stage=1,
            stop_seconds=5.5,
            killed_note=killed_note,
        )
        for name in names
    ]


def _api_service(data: Path, program: tuple[str, ...], environment: Mapping[str, str], port: int) -> Service:
    return Service(
        name="api",
        command=(*program, "api"),
        environment=environment,
        log=data / "logs" / "api.log",
        healthy=partial(http_ok, port, "/readyz"),
        stage=1,
        address=f"http://{HOST}:{port}",
        start_seconds=60,
        stop_seconds=5.5,
        lock=service_lock(data, "api"),
    )


def _mcp_service(data: Path, program: tuple[str, ...], environment: Mapping[str, str], url: str, port: int) -> Service:
    return Service(
        name="mcp",
        command=(*program, "mcp", "--http", "--host", HOST, "--port", str(port)),
        environment=environment,
        log=data / "logs" / "mcp.log",
        healthy=partial(http_ok, port, "/healthz"),
        stage=1,
        address=url,
        start_seconds=60,
        stop_seconds=5.5,
        lock=service_lock(data, "mcp"),
    )
