"""The services of docker-compose.yml as processes: health, what they keep and refuse, and a job through all of them.

There need be no container engine: the commands of docker-compose.yml run as plain processes, with its environment, its
hosts and ports replaced by free ones of the loopback address.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from compose_kit import CONTAINER_PORTS, MONITOR_LOGIN, SECRETS, STARTING_ORDER, ComposeService, render
from fleet_kit import PROGRAM, start_sandbox
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult
from PIL import Image
from redis import Redis

from imagequeue.queue import RUN_JOB
from sandbox.stack.ports import HOST, choose_port
from sandbox.stack.processes import Service, start_healthy, stop, wait_until
from sandbox.stack.redis_server import answers_ping, find_redis
from sandbox.stack.s3_server import find_rclone


@dataclass
class Composed:
    """The services of the file as processes on free loopback ports."""

    services: Mapping[str, ComposeService]
    folder: Path
    ports: dict[str, int] = field(default_factory=lambda: {name: choose_port() for name in CONTAINER_PORTS})

    @property
    def url(self) -> str:
        """Where the API is."""
        return f"http://{HOST}:{self.ports['api']}"

    @property
    def key_header(self) -> dict[str, str]:
        """The header with the first API key."""
        return {"Authorization": f"Bearer {(self.folder / 'lib/keys/first').read_text().strip()}"}

    def run_check(self, name: str) -> bool:
        """Whether the service's health check passes."""
        service = self.services[name]
        if service.healthcheck == ("redis-cli", "-e", "ping"):  # the wheel with the server has no redis-cli
            return answers_ping(self.ports["redis"])
        check = subprocess.run(
            self.local_command(service.healthcheck),
            env=self.local_environment(name),
            capture_output=True,
            timeout=30,
            check=False,
        )
        return check.returncode == 0

    def process(self, name: str) -> Service:
        """The service as a process of this machine."""
        own = {"redis": ("--port", str(self.ports["redis"]), "--bind", HOST, "--dir", str(self.folder / "redis"))}
        for folder in ("redis", "s3", "lib/keys"):
            (self.folder / folder).mkdir(exist_ok=True, parents=True)
        return Service(
            name=name,
            command=(*self.local_command(self.services[name].command), *own.get(name, ())),
            environment=self.local_environment(name),
            log=self.folder / f"{name}.log",
            healthy=lambda: name == "worker" or self.run_check(name),
            stage=0,
            start_seconds=60,
        )

    def local_command(self, command: tuple[str, ...]) -> tuple[str, ...]:
        """The command with this machine's programs, folder and ports."""
        programs = {"imagequeue": PROGRAM, "python": sys.executable, "rclone": str(find_rclone())}
        program = str(find_redis(self.folder)) if command[0] == "redis-server" else programs[command[0]]
        words = (str(self.folder / "s3") if word == "/data" else self.local(word) for word in command[1:])
        return (program, *words)

    def local_environment(self, name: str) -> dict[str, str]:
        """The service's variables, and of this machine's only what a process cannot do without."""
        coverage = {variable: value for variable, value in os.environ.items() if variable.startswith("COVERAGE_")}
        needed = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "TMPDIR": str(self.folder), "LC_ALL": "C.UTF-8"}
        rendered = {
            variable: self.local(value).replace("/var/lib/imagequeue", str(self.folder / "lib"))
            for variable, value in self.services[name].environment.items()
        }
        listening = {
            f"{variable}_{part}": value
            for variable, service in {"IMAGEQUEUE_API": "api", "IMAGEQUEUE_MCP": "mcp", "FLOWER": "flower"}.items()
            for part, value in {"HOST": HOST, "ADDRESS": HOST, "PORT": str(self.ports[service])}.items()
        }
        return coverage | rendered | needed | listening

    def local(self, text: str) -> str:
        """The text with every address in the containers' network, like `redis:6379`, as it is here."""
        names = {port: name for name, port in CONTAINER_PORTS.items()}
        ports = "|".join(map(str, names))
        address = re.compile(rf"(?<![\w.])(?:redis|s3|api|127\.0\.0\.1|):({ports})\b")
        return address.sub(lambda match: f"{HOST}:{self.ports[names[int(match[1])]]}", text)


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Generator[Composed]:
    """Everything running; in the end it has to stop when it is told to."""
    folder = tmp_path_factory.mktemp("composed")
    sandbox = start_sandbox(folder)
    running = [sandbox.process]
    composed = Composed(render(SECRETS | MONITOR_LOGIN | {"OPENAI_BASE_URL": f"{sandbox.url}/v1"}), folder)
    try:
        for name in STARTING_ORDER:
            running.append(start_healthy(composed.process(name)))
        yield composed
    finally:
        stopped = [stop(process, seconds=10) for process in reversed(running)]
    assert all(stopped), "a process had to be killed"


@pytest.mark.parametrize("name", STARTING_ORDER)
def test_health_checks_pass_while_all_runs(composed: Composed, name: str) -> None:
    assert composed.run_check(name)


@pytest.mark.parametrize("name", STARTING_ORDER)
def test_health_checks_fail_when_nobody_listens(composed: Composed, name: str) -> None:
    nobody = replace(composed, ports={service: choose_port() for service in CONTAINER_PORTS})
    assert not nobody.run_check(name)


def test_redis_appends_every_write_to_a_file_and_drops_nothing(composed: Composed) -> None:
    with Redis(host=HOST, port=composed.ports["redis"], decode_responses=True) as client:
        config = cast("Any", client).config_get("appendonly", "maxmemory-policy", "save")
    assert config == {"appendonly": "yes", "maxmemory-policy": "noeviction", "save": ""}
    assert list((composed.folder / "redis").rglob("*.aof"))


def test_s3_takes_no_other_key(composed: Composed) -> None:
    other = {"AWS_SECRET_ACCESS_KEY": "another-secret-key"}
    service = composed.services["s3"]
    intruder = replace(composed, services={"s3": replace(service, environment={**service.environment, **other})})
    assert not intruder.run_check("s3")


def test_a_job_goes_through_all_services_and_its_image_is_fetched_from_outside(composed: Composed) -> None:
    body = {"type": "generate", "prompt": "A lighthouse at dawn", "quality": "low", "size": "1024x1024"}
    assert httpx2.post(f"{composed.url}/v1/jobs", json=body, timeout=30).status_code == 401
    headers = {"Prefer": "wait=60", **composed.key_header}
    job = httpx2.post(f"{composed.url}/v1/jobs", json=body, headers=headers, timeout=90).json()
    assert job["state"] == "succeeded", job
    (image,) = job["images"]
    redirect = httpx2.get(f"{composed.url}{image['url']}", headers=composed.key_header, timeout=30)
    assert redirect.status_code == 302
    assert redirect.headers["location"].startswith(f"http://{HOST}:{composed.ports['s3']}/")
    content = httpx2.get(redirect.headers["location"], timeout=30).content
    assert hashlib.sha256(content).hexdigest() == image["sha256"]
    assert Image.open(io.BytesIO(content)).size == (1024, 1024)
    assert (composed.folder / "s3" / "imagequeue" / image["key"]).is_file()


def test_an_mcp_client_on_this_machine_gets_an_image_and_other_hosts_only_by_the_services_name(
    composed: Composed,
) -> None:
    url = f"http://{HOST}:{composed.ports['mcp']}/mcp"

    async def paint() -> CallToolResult:
        http = httpx2.AsyncClient(headers=composed.key_header, timeout=60)
        async with http, Client(streamable_http_client(url, http_client=http)) as client:
            return await client.call_tool("generate_image", {"prompt": "Through the composed bridge", "quality": "low"})

    made = asyncio.run(paint())
    assert not made.is_error, made
    assert [block.type for block in made.content if block.type == "image"] == ["image"]
    ask = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    accept = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}
    accept |= composed.key_header
    statuses = {
        host: httpx2.post(url, json=ask, headers={**accept, "Host": host}, timeout=30).status_code
        for host in ("mcp:8765", "images.example.com")
    }
    assert list(statuses.values()) == [200, 421], statuses


def test_the_monitor_shows_workers_and_messages_to_those_who_may_look_and_lets_nobody_touch_them(
    composed: Composed,
) -> None:
    url = f"http://{HOST}:{composed.ports['flower']}"
    assert httpx2.get(f"{url}/api/workers", timeout=30).status_code == 401
    assert httpx2.get(url, timeout=30).status_code == 401
    name, _, password = MONITOR_LOGIN["FLOWER_BASIC_AUTH"].partition(":")
    with httpx2.Client(base_url=url, auth=(name, password), timeout=30) as operator:
        (worker,) = operator.get("/api/workers", params={"refresh": "1"}).raise_for_status().json()
        assert worker in operator.get("/").text, "the dashboard"
        body = {"type": "generate", "prompt": "Seen by the monitor", "quality": "low"}

        def submitted() -> str:
            answer = httpx2.post(f"{composed.url}/v1/jobs", json=body, headers=composed.key_header)
            return cast("str", answer.json()["id"])

        # It has the workers send events every 5 s, so the first messages may have gone unseen.
        assert wait_until(lambda: _shown(operator, submitted()), 30)
        assert operator.post(f"/api/worker/shutdown/{worker}").status_code == 403


def _shown(operator: httpx2.Client, job: str) -> bool:
    def found() -> bool:
        tasks = operator.get("/api/tasks").json().values()
        return any(task["name"] == RUN_JOB and job in task["args"] for task in tasks)

    return wait_until(found, 3)
