"""How soon 1,000 blocked clients learn that their jobs have ended: over REST, and as calls of MCP tools.

Each waits for a job of its own: a GET with `wait`, on an API of two processes; a call of `wait_for_jobs` that asks for
progress, on one bridge over streamable HTTP. While all of them are blocked, 200 jobs are ended, 40 a second, which is
ten times what OpenAI's highest tier makes. A delay is from `finished_at`, by Redis's clock, to the moment at which the
client has read its answer; this machine has one clock. Against 1,000 clients of the same API that ask every 0.5 s on a
connection that is kept. All clients are sockets of this process, which has little else to do.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from bench_stack import PROGRAM, Bench, answers, children, cpu_seconds, services
from side_by_side import Row, at_most, paired, percentile, run

from imagequeue.jobs import AttemptOutcome, Claim, JobState, NewJob, Result
from imagequeue.requests import GenerateRequest
from imagequeue.store.attempts import AttemptStore
from imagequeue.store.keys import Keys
from sandbox.stack.ports import HOST, choose_port

CLIENTS: Final = 1_000
ENDED: Final = 200
"""Whose delays count; the others wait meanwhile."""
ENDS_A_SECOND: Final = 40
POLL_SECONDS: Final = 0.5
BUSY: Final = 503
"""What an API answers that cannot keep up with those who ask: they ask again."""
API_PROCESSES: Final = 2
P50_MS: Final = 5
P99_MS: Final = 50
INSTEAD: Final = f"polling every {POLL_SECONDS:g} s"
QUIET_SHARE: Final = 0.7
"""Of a core, by the server's processes: all clients are blocked, and are told how it goes if they want to know."""
SETTLING_SECONDS: Final = 1.5
LEASE_MS: Final = 600_000
SUCCEEDED: Final = Result(state=JobState.SUCCEEDED, outcome=AttemptOutcome.SUCCEEDED)
Client = Callable[[int, str], Awaitable[float]]
"""Asks the server at a port about a job until it has ended; gives the time at which it knows."""


@dataclass(frozen=True, slots=True)
class Servers:
    """An API, a bridge, and the records behind both."""

    bench: Bench
    store: AttemptStore
    api_port: int
    api_processes: Sequence[int]
    bridge_port: int
    bridge: int


@dataclass(frozen=True, slots=True)
class Woken:
    """Delays in milliseconds, and Redis connections that were blocked while all clients waited."""

    delays: Sequence[float]
    blocked: int


def measure(runs: int) -> list[Row]:
    """Delays of both kinds of clients beside those that poll."""
    with services() as bench:
        servers = start(bench)

        def ours(number: int) -> tuple[Woken, Woken]:
            clients = clients_of(number)
            rest = asyncio.run(woken(servers, servers.api_port, wait, clients, servers.api_processes))
            return rest, asyncio.run(woken(servers, servers.bridge_port, wait_by_mcp, clients, [servers.bridge]))

        def instead(number: int) -> Woken:
            return asyncio.run(woken(servers, servers.api_port, poll, clients_of(number)))

        pairs = paired(ours, instead, runs)
    rows: list[Row] = []
    polled = [other.delays for _, other in pairs]
    for kind, name in enumerate(("REST", "MCP")):
        delays = [pair[0][kind].delays for pair in pairs]
        for percent, bound in ((50, P50_MS), (99, P99_MS)):
            mine, others = ([percentile(one, percent) for one in side] for side in (delays, polled))
            rows.append(Row(f"{name}: p{percent}", "ms", mine, others, INSTEAD, at_most(bound)))
    # The API's reader goes on while the bridge's waits.
    blocked = [pair[0][1].blocked / (API_PROCESSES + 1) for pair in pairs]
    return [*rows, Row("blocked Redis connections, a process", "", blocked, goal=at_most(1))]


def clients_of(run: int) -> int:
    """Few are enough to warm up."""
    return CLIENTS if run >= 0 else ENDED


def start(bench: Bench) -> Servers:
    """Both servers, and no worker: jobs are ended by hand."""
    api_port, api = bench.start_api(API_PROCESSES)
    port = choose_port()
    command = (f"{PROGRAM}-mcp", "--http", "--host", HOST, "--port", str(port))
    bridge = bench.start("bridge", command, lambda: answers(port, "/healthz"), IMAGEQUEUE_MCP_WAIT_SECONDS="600")
    store = AttemptStore(bench.redis, Keys(bench.settings.key_prefix))
    return Servers(bench, store, api_port, children(api), port, bridge)


async def woken(servers: Servers, port: int, client: Client, count: int, blocked_by: Sequence[int] = ()) -> Woken:
    """Let so many clients wait, and end the jobs of some; `blocked_by` are the processes that block the others."""
    claims = await asyncio.to_thread(lambda: [claimed(servers.store) for _ in range(count)])
    tasks = [asyncio.ensure_future(client(port, claim.job.id)) for claim in claims]
    await settled(blocked_by)
    clients = cast("list[dict[str, Any]]", cast("Any", servers.bench.redis).client_list())
    blocked = sum("b" in one["flags"] for one in clients)
    due = time.monotonic()
    for claim in claims[:ENDED]:
        await asyncio.to_thread(servers.store.finish, claim, SUCCEEDED)
        due += 1 / ENDS_A_SECOND
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    times = await asyncio.gather(*tasks[:ENDED])
    if blocked_by:  # they would be for long
        await asyncio.to_thread(lambda: [servers.store.finish(claim, SUCCEEDED) for claim in claims[ENDED:]])
    else:
        for task in tasks:
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=not blocked_by)
    jobs = servers.store.get_many([claim.job.id for claim in claims[:ENDED]])
    ends = [job.finished_at for job in jobs if job.finished_at]
    return Woken([1000 * at - end for at, end in zip(times, ends, strict=True)], blocked)


def claimed(store: AttemptStore) -> Claim:
    """A job that runs."""
    request = GenerateRequest(prompt="A lighthouse at dawn")
    new = NewJob(request=request, owner="local", lane="interactive", model="gpt-image-2", on_unknown_outcome="retry")
    claim = store.claim(store.submit(new).id, "bench", f"bench/{new.id}", LEASE_MS)
    assert claim
    return claim


async def settled(pids: Sequence[int]) -> None:
    """Wait until the processes have little to do: all clients are connected and blocked. Those that poll never are."""
    await asyncio.sleep(SETTLING_SECONDS)
    while pids:
        before = cpu_seconds(pids)
        await asyncio.sleep(SETTLING_SECONDS)
        if cpu_seconds(pids) - before < QUIET_SHARE * SETTLING_SECONDS:
            return


async def wait(port: int, job_id: str) -> float:
    """One request that the API answers when the job has ended."""
    reader, writer = await asyncio.open_connection(HOST, port)
    status, body = await got(reader, writer, f"/v1/jobs/{job_id}?wait=90")
    at = time.time()
    writer.close()
    assert status == 200, body
    assert state_of(body) == "succeeded", body
    return at


async def poll(port: int, job_id: str) -> float:
    """Requests on one connection, 0.5 s after each answer; they do not all begin at once."""
    await asyncio.sleep(random.uniform(0, POLL_SECONDS))
    reader, writer = await asyncio.open_connection(HOST, port)
    while True:
        status, body = await got(reader, writer, f"/v1/jobs/{job_id}")
        at = time.time()
        assert status in (200, BUSY), body
        if status == 200 and state_of(body) == "succeeded":
            break
        await asyncio.sleep(POLL_SECONDS)
    writer.close()
    return at


async def wait_by_mcp(port: int, job_id: str) -> float:
    """One call of a tool, whose answer is a stream of events: progress, and at last the result."""
    call = {"name": "wait_for_jobs", "arguments": {"job_ids": [job_id]}, "_meta": {"progressToken": job_id}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}).encode()
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: {HOST}:{port}\r\nContent-Type: application/json\r\n"
        "Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-11-25\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(head.encode() + body)
    while True:
        line = await reader.readline()
        assert line, "the stream ended too soon"
        if line.startswith(b"data:") and b'"result"' in line:
            at = time.time()
            writer.close()
            assert json.loads(line[5:])["result"]["structuredContent"]["jobs"][0]["status"] == "succeeded", line
            return at


async def got(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> tuple[int, bytes]:
    """The status and the body of an answer."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return int(head[9:12]), await reader.readexactly(int(length[15:]))


def state_of(body: bytes) -> str:
    """A job's."""
    return json.loads(body)["state"]


if __name__ == "__main__":
    run("waiters", __doc__, measure)
