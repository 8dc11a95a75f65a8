"""Many waiting clients: 1,000 requests that wait and 300 streams of events on two API processes.

Against the same 1,000 clients that ask every 2 s, as one would without either. All jobs are ended by hand, 10 a second.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

from side_by_side import PROGRAM, services

from imagequeue.jobs import AttemptOutcome, Claim, JobState, NewJob, Result
from imagequeue.requests import GenerateRequest
from imagequeue.settings import Settings
from imagequeue.store.attempts import AttemptStore
from imagequeue.store.connection import RedisClient, connect
from imagequeue.store.keys import Keys
from sandbox.stack.ports import HOST, choose_port
from sandbox.stack.processes import wait_until

WAITING: Final = 1_000
FOLLOWING: Final = 300
JOBS: Final = 100
JOBS_A_SECOND: Final = 10
POLL_SECONDS: Final = 2.0
QUIET_CPU_SECONDS: Final = 0.6
"""What the API's processes use in 2 s while all wait; 1,000 clients that poll are never so quiet …"""
MOST_LOOKS: Final = 10
"""… and are not waited for any longer."""
PREFIX: Final = "waiting:"
CLIENT_NAME: Final = "waiting-api"
LEASE_MS: Final = 600_000
SUCCEEDED: Final = Result(state=JobState.SUCCEEDED, outcome=AttemptOutcome.SUCCEEDED)
Client = Callable[[int, str], Awaitable[float]]
"""Asks the API at a port about a job until it has ended; gives the seconds between its end and its knowledge."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Clients of one kind and what became of them; delays in milliseconds."""

    name: str
    asked: int
    delays: Sequence[float]

    def text(self) -> str:
        """One row."""
        p50, p99 = statistics.median(self.delays), statistics.quantiles(self.delays, n=100)[98]
        return f"| {self.name} | {len(self.delays)} of {self.asked} | {p50:.1f} | {p99:.1f} | {max(self.delays):.1f} |"


@dataclass(frozen=True, slots=True)
class Load:
    """What the API used: memory and connections to Redis while all wait, CPU time from then on."""

    memory_mb: float
    connections: int
    cpu_seconds: float

    def text(self) -> str:
        """In words."""
        return f"{self.memory_mb:.0f} MB, {self.connections} Redis connections, {self.cpu_seconds:.1f} s of CPU"


@dataclass(frozen=True, slots=True)
class Table:
    """All kinds, and what they cost."""

    kinds: Sequence[Kind]
    ours: Load
    instead: Load

    def text(self) -> str:
        """A table with a line below."""
        head = "| clients | served | p50 ms | p99 ms | max ms |\n|---|---|---|---|---|"
        costs = f"Of the API's processes: {self.ours.text()}; with the polling clients: {self.instead.text()}."
        return "\n".join([f"waiting_clients: {JOBS} jobs", "", head, *(kind.text() for kind in self.kinds), "", costs])

    def markdown(self) -> str:
        """For RESULTS.md."""
        return f"\n## {self.text()}\n"


def measure() -> Table:
    """Delays from the end of a job to each client's knowledge of it."""
    with services(0) as (_, settings), running_api(settings) as (port, api):
        settings = settings.model_copy(update={"key_prefix": PREFIX})
        client = connect(settings.redis_url)
        run = Run(settings, client, port, api)
        (waiting, following), ours = run.round([(_wait, WAITING), (_follow, FOLLOWING)])
        (polling,), instead = run.round([(_poll, WAITING)])
        client.close()
    kinds = [
        Kind("wait", WAITING, waiting),
        Kind("events", FOLLOWING, following),
        Kind(f"polling every {POLL_SECONDS:g} s", WAITING, polling),
    ]
    return Table(kinds, ours, instead)


@dataclass(frozen=True, slots=True)
class Run:
    """An API and the records behind it."""

    settings: Settings
    redis: RedisClient
    port: int
    api: subprocess.Popen[bytes]

    def round(self, groups: Sequence[tuple[Client, int]]) -> tuple[list[list[float]], Load]:
        """Let so many clients of each group learn of the ends of all jobs."""
        store = AttemptStore(self.redis, Keys(PREFIX))
        claims = [self._claimed(store) for _ in range(JOBS)]
        return asyncio.run(self._clients(groups, claims, store))

    async def _clients(
        self, groups: Sequence[tuple[Client, int]], claims: Sequence[Claim], store: AttemptStore
    ) -> tuple[list[list[float]], Load]:
        tasks = [
            [asyncio.create_task(_as_task(client(self.port, claims[number % JOBS].job.id))) for number in range(count)]
            for client, count in groups
        ]
        await self._settled()
        memory, connections = sum(map(_memory_mb, self._processes())), self._connections()
        cpu = self._cpu_seconds()
        for claim in claims:
            await asyncio.to_thread(store.finish, claim, SUCCEEDED)
            await asyncio.sleep(1 / JOBS_A_SECOND)
        found = [await asyncio.gather(*group, return_exceptions=True) for group in tasks]
        for error in (error for group in found for error in group if isinstance(error, BaseException)):
            print(f"a client was not served: {error!r}", file=sys.stderr)
        delays = [[1000 * delay for delay in group if isinstance(delay, float)] for group in found]
        return delays, Load(memory, connections, self._cpu_seconds() - cpu)

    async def _settled(self) -> None:
        """Wait until all are connected and wait: the API has little to do then."""
        for _ in range(MOST_LOOKS):
            before = self._cpu_seconds()
            await asyncio.sleep(2)
            if self._cpu_seconds() - before < QUIET_CPU_SECONDS:
                return

    def _claimed(self, store: AttemptStore) -> Claim:
        request = GenerateRequest(prompt="A lighthouse at dawn")
        new = NewJob(
            request=request, owner="local", lane="interactive", model="gpt-image-2", on_unknown_outcome="retry"
        )
        claim = store.claim(store.submit(new).id, "bench", f"bench/{new.id}", LEASE_MS)
        assert claim
        return claim

    def _connections(self) -> int:
        clients = cast("Any", self.redis).client_list()
        return sum(client["name"] == CLIENT_NAME for client in clients)

    def _cpu_seconds(self) -> float:
        return sum(map(_cpu_seconds, self._processes()))

    def _processes(self) -> list[int]:
        children = Path(f"/proc/{self.api.pid}/task/{self.api.pid}/children").read_text()
        return [int(pid) for pid in children.split()]


@contextmanager
def running_api(settings: Settings) -> Generator[tuple[int, subprocess.Popen[bytes]]]:
    """An API with two processes and records of its own."""
    port = choose_port()
    own = {
        "IMAGEQUEUE_API_PORT": str(port),
        "IMAGEQUEUE_API_PROCESSES": "2",
        "IMAGEQUEUE_KEY_PREFIX": PREFIX,
        "IMAGEQUEUE_REDIS_URL": f"{settings.redis_url}?client_name={CLIENT_NAME}",
    }
    api = subprocess.Popen([PROGRAM, "api"], env={**os.environ, **own}, stdout=subprocess.DEVNULL)
    try:
        assert wait_until(lambda: asyncio.run(_status(port)) == 200, 30), "the API does not start"
        yield port, api
    finally:
        api.terminate()
        api.wait()


async def _wait(port: int, job_id: str) -> float:
    body = await _get(port, f"/v1/jobs/{job_id}?wait=90")
    return time.time() - _finished(body)


async def _poll(port: int, job_id: str) -> float:
    while True:
        body = await _get(port, f"/v1/jobs/{job_id}")
        if json.loads(body)["state"] == "succeeded":
            return time.time() - _finished(body)
        await asyncio.sleep(POLL_SECONDS)


async def _follow(port: int, job_id: str) -> float:
    reader, writer = await _asked(port, f"/v1/jobs/{job_id}/events")
    while True:
        line = await reader.readline()
        assert line, "the stream ended too soon"
        if line.startswith(b"data:") and b'"state":"succeeded"' in line:
            delay = time.time() - datetime.fromisoformat(json.loads(line[5:])["at"]).timestamp()
            writer.close()
            return delay


async def _get(port: int, path: str) -> bytes:
    reader, writer = await _asked(port, path)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert b" 200 " in head, head
    return body


async def _asked(port: int, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
    return reader, writer


async def _status(port: int) -> int:
    try:
        reader, writer = await _asked(port, "/healthz")
    except OSError:
        return 0
    status = (await reader.read()).split(b" ")[1]
    writer.close()
    return int(status)


async def _as_task(waiting: Awaitable[float]) -> float:
    return await waiting


def _finished(body: bytes) -> float:
    return datetime.fromisoformat(json.loads(body)["finished_at"]).timestamp()


def _memory_mb(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    print(measure().text())
