"""The MCP bridge under load and under SIGKILL, over each transport and each door."""

from __future__ import annotations

import statistics
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from bridge_kit import Answer, RunningBridge, connected, running_api, running_bridge, running_http_bridge
from drill_kit import PATIENCE_SECONDS, own_fleet, until
from fleet_kit import Fleet, port_of
from load_kit import call_and_go_on
from process_kit import Process
from rich.console import Console
from rich.table import Table

CALLS: Final = 500
WAKE_UPS: Final = 20
WATCHED_SECONDS: Final = 15.0
PAIRS: Final = [(transport, door) for door in ("redis", "api") for transport in ("http", "stdio")]


@dataclass(frozen=True)
class Load:
    """What so many waiting calls cost one bridge."""

    transport: str
    door: str
    before_mb: float
    waiting_mb: float
    peak_mb: float
    threads: int
    redis_connections: int
    api_connections: int
    accepted_s: float
    core_share: float
    commands_per_s: float
    silence_s: float
    wake_ms: tuple[float, float]  # median and longest
    succeeded: int
    handed_over_s: float


@contextmanager
def a_bridge(transport: str, folder: Path, environment: Mapping[str, str]) -> Generator[RunningBridge]:
    """A bridge and its client."""
    with ExitStack() as running:
        if transport == "stdio":
            yield running.enter_context(running_bridge(folder, environment))
        else:
            listening = running.enter_context(running_http_bridge(folder, environment))
            yield running.enter_context(connected(listening))


@contextmanager
def a_door(door: str, fleet: Fleet, folder: Path) -> Generator[Mapping[str, str]]:
    """The environment that leads a bridge to the queue; through the API, to that alone."""
    with ExitStack() as running:
        if door == "redis":
            yield fleet.environment
        else:
            yield {"IMAGEQUEUE_API_URL": running.enter_context(running_api(folder, fleet.environment))}


def bridge_load() -> None:
    """500 calls wait in one bridge process until a worker comes."""
    loads: list[Load] = []
    for transport, door in PAIRS:
        with own_fleet() as (fleet, _, folder), a_door(door, fleet, folder) as way:
            environment = {**way, "IMAGEQUEUE_MCP_WAIT_SECONDS": "600", "IMAGEQUEUE_LOG_LEVEL": "warning"}
            with a_bridge(transport, folder / "bridge", environment) as bridge:
                loads.append(load(transport, door, fleet, bridge, way.get("IMAGEQUEUE_API_URL")))
    Console(width=160).print(load_table(loads))


def load(transport: str, door: str, fleet: Fleet, bridge: RunningBridge, api_url: str | None) -> Load:
    """Measure one bridge whose fleet has no worker yet."""
    bridge.call("list_edit_sessions")  # opens the door
    process, started = Process(bridge.pid), time.monotonic()
    before_mb = process.resident_mb
    calls = [call_and_go_on(bridge, f"Waits {number}") for number in range(CALLS)]
    until(f"{transport}, {door}: {CALLS} calls wait", lambda: all(call.told for call in calls))
    accepted_s = time.monotonic() - started
    core_share, commands_per_s = watched(fleet, process)
    waiting_mb, threads = process.resident_mb, process.threads
    redis_connections = process.connections(port_of(fleet.settings.redis_url))
    api_connections = process.connections(port_of(api_url)) if api_url else 0
    wake_ups = sorted(wake_up(fleet, bridge, number) for number in range(WAKE_UPS))
    silence_s = max(call.longest_silence for call in calls)
    worked = time.monotonic()
    fleet.start_worker(IMAGEQUEUE_WORKER_SLOTS="500")
    until(f"{transport}, {door}: {CALLS} images handed over", lambda: all(call.answered for call in calls))
    statuses = [call.status(PATIENCE_SECONDS) for call in calls]
    return Load(
        transport=transport,
        door=door,
        before_mb=before_mb,
        waiting_mb=waiting_mb,
        peak_mb=process.peak_mb,
        threads=threads,
        redis_connections=redis_connections,
        api_connections=api_connections,
        accepted_s=accepted_s,
        core_share=core_share,
        commands_per_s=commands_per_s,
        silence_s=silence_s,
        wake_ms=(statistics.median(wake_ups) * 1000, wake_ups[-1] * 1000),
        succeeded=statuses.count("succeeded"),
        handed_over_s=time.monotonic() - worked,
    )


def watched(fleet: Fleet, process: Process) -> tuple[float, float]:
    """The part of a core that the waiting bridge takes, and the commands a second that Redis gets."""
    computed, began, commands = process.cpu_seconds, time.monotonic(), commands_of(fleet)
    until("They wait", lambda: time.monotonic() - began > WATCHED_SECONDS)
    seconds = time.monotonic() - began
    return (process.cpu_seconds - computed) / seconds, (commands_of(fleet) - commands) / seconds


def commands_of(fleet: Fleet) -> int:
    """Commands that Redis has executed."""
    return int(fleet.redis.info("stats")["total_commands_processed"])


def wake_up(fleet: Fleet, bridge: RunningBridge, number: int) -> float:
    """Seconds from a job's end to its waiting caller's answer, while the others wait."""
    call = call_and_go_on(bridge, f"Woken {number}")
    assert until("One more call waits", lambda: bool(call.told)) < PATIENCE_SECONDS
    (job,) = fleet.queue.list(limit=1).jobs
    ended = time.monotonic()
    fleet.queue.cancel(job.id)
    assert call.result(PATIENCE_SECONDS).is_error
    return cast("float", call.answered) - ended


def load_table(loads: list[Load]) -> Table:
    """The figures, one bridge a column."""
    table = Table(title=f"{CALLS} waiting calls in one bridge process")
    table.add_column("transport, door")
    for each in loads:
        table.add_column(f"{each.transport}, {each.door}", justify="right")
    rows = {
        "images handed over": [f"{each.succeeded} of {CALLS}" for each in loads],
        "memory before, MiB": [f"{each.before_mb:.0f}" for each in loads],
        "memory while all wait, MiB": [f"{each.waiting_mb:.0f}" for each in loads],
        "peak memory, handing over too, MiB": [f"{each.peak_mb:.0f}" for each in loads],
        "connections to Redis": [str(each.redis_connections) for each in loads],
        "connections to the API": [str(each.api_connections) for each in loads],
        "threads": [str(each.threads) for each in loads],
        "all accepted after, s": [f"{each.accepted_s:.1f}" for each in loads],
        "part of a core while all wait": [f"{each.core_share:.0%}" for each in loads],
        "Redis commands a second": [f"{each.commands_per_s:.0f}" for each in loads],
        "longest silence of a call, s": [f"{each.silence_s:.2f}" for each in loads],
        f"wake-up, median of {WAKE_UPS}, ms": [f"{each.wake_ms[0]:.1f}" for each in loads],
        "wake-up, longest, ms": [f"{each.wake_ms[1]:.1f}" for each in loads],
        "all handed over, s after a worker started": [f"{each.handed_over_s:.1f}" for each in loads],
    }
    for name, cells in rows.items():
        table.add_row(name, *cells)
    return table


def bridge_kill() -> None:
    """A bridge is killed while OpenAI paints; the same call through another one."""
    table = Table(title="SIGKILL of a bridge in mid-call, then the same call through a second one")
    for column in (
        "transport",
        "door",
        "the killed call",
        "the second call",
        "OpenAI calls seen",
        "note of the answer",
    ):
        table.add_column(column)
    with own_fleet() as (fleet, _, folder):
        fleet.start_worker()
        fleet.sandbox.set_latency(3)
        for transport, door in PAIRS:
            own = folder / f"{transport}-{door}"
            own.mkdir()
            with a_door(door, fleet, own) as way:
                table.add_row(transport, door, *killed(transport, way, fleet, own))
    Console(width=160).print(table)


def killed(transport: str, way: Mapping[str, str], fleet: Fleet, folder: Path) -> tuple[str, ...]:
    """A row of the table."""
    prompt = f"Killed {folder.name}"
    lost = killed_call(transport, way, fleet, folder / "first", prompt)
    with a_bridge(transport, folder / "second", way) as second:
        again = call_and_go_on(second, prompt)
        answer = Answer(again.result(PATIENCE_SECONDS))
    calls = len(fleet.sandbox.calls(prompt))
    assert (answer["status"], len(answer.pictures), calls) == ("succeeded", 1, 1)
    return lost, f"{answer['status']}, {len(answer.pictures)} image", str(calls), answer["notes"][0].split(".")[0]


def killed_call(transport: str, way: Mapping[str, str], fleet: Fleet, folder: Path, prompt: str) -> str:
    """Kill a bridge once OpenAI has its call; how the call ended."""
    running = ExitStack()
    try:
        bridge = running.enter_context(a_bridge(transport, folder, way))
        call = call_and_go_on(bridge, prompt)
        until(f"{prompt}: OpenAI has the call", lambda: bool(fleet.sandbox.calls(prompt)))
        bridge.kill()
        until(f"{prompt}: the client notices", lambda: call.answered is not None)
        return call.error(PATIENCE_SECONDS)
    finally:
        with suppress(Exception):  # the client, too, may end by it
            running.close()
