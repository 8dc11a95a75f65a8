"""How long imagequeue's programs take until they serve, beside `python -c pass`, which no Python program can beat.

Each is started anew on Redis and S3 that run. Until then means: `imagequeue --help` has ended; the API has answered a
GET of /healthz; the worker has given its first sign of life in Redis (both are asked for every 20 ms); the bridge on
stdio has answered `initialize` and `tools/list`. The last row goes on with a call of a tool at once: what the bridge
puts off at its start, it pays there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from bench_stack import PROGRAM, Bench, answers, services
from side_by_side import Goal, Row, at_most, paired, run

from imagequeue.store.fleet import FleetStore
from imagequeue.store.keys import Keys
from sandbox.stack.ports import choose_port
from sandbox.stack.processes import Service, start_healthy, stop

HELP_SECONDS: Final = 0.4
BRIDGE_SECONDS: Final = 1.2
BRIDGE: Final = str(Path(PROGRAM).with_name("imagequeue-mcp"))
_STOP_SECONDS: Final = 30.0
_LONG_MS: Final = 86_400_000
_INITIALIZE: Final = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "benchmark", "version": "1"},
}


def measure(runs: int) -> list[Row]:
    """Seconds, paired."""
    with services() as bench:
        kinds: Sequence[tuple[str, Callable[[int], float], Goal | None]] = (
            ("`imagequeue --help`", lambda _: ended(bench, PROGRAM, "--help"), at_most(HELP_SECONDS)),
            ("API: first answer", lambda _: api(bench), None),
            ("worker: first sign of life", lambda _: worker(bench), None),
            ("bridge: initialize, tools/list", lambda _: bridge(bench, call=False), at_most(BRIDGE_SECONDS)),
            ("bridge: the same, and a first call", lambda _: bridge(bench, call=True), None),
        )
        return [row(bench, what, ours, goal, runs) for what, ours, goal in kinds]


def row(bench: Bench, what: str, ours: Callable[[int], float], goal: Goal | None, runs: int) -> Row:
    """One program beside the empty one."""
    pairs = paired(ours, lambda _: ended(bench, sys.executable, "-c", "pass"), runs)
    mine, others = zip(*pairs, strict=True)
    return Row(what, "s", mine, others, "`python -c pass`", goal)


def ended(bench: Bench, *command: str) -> float:
    """Seconds until a command has ended."""
    began = time.perf_counter()
    subprocess.run(command, env=bench.environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def api(bench: Bench) -> float:
    """Seconds until the API serves."""
    port = choose_port()
    return healthy(bench, "api", lambda: answers(port, "/healthz"), IMAGEQUEUE_API_PORT=str(port))


def worker(bench: Bench) -> float:
    """Seconds until a worker is known to the fleet."""
    fleet = FleetStore(bench.redis, Keys(bench.settings.key_prefix))
    known = set(fleet.live_workers(_LONG_MS))
    return healthy(bench, "worker", lambda: not known.issuperset(fleet.live_workers(_LONG_MS)))


def healthy(bench: Bench, process: str, serves: Callable[[], bool], **settings: str) -> float:
    """Seconds until a process serves; it is stopped then."""
    service = Service(
        name=process,
        command=(PROGRAM, process),
        environment={**bench.environment, **settings},
        log=bench.folder / f"{process}.log",
        healthy=serves,
        stage=0,
    )
    began = time.perf_counter()
    started = start_healthy(service)
    seconds = time.perf_counter() - began
    stop(started, _STOP_SECONDS)
    return seconds


def bridge(bench: Bench, *, call: bool) -> float:
    """Seconds until a bridge on stdio has answered what every client asks first, and perhaps a call of a tool."""
    environment = {**bench.environment, "HOME": str(bench.folder)}
    began = time.perf_counter()
    with subprocess.Popen([BRIDGE], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        ask(process, 1, "initialize", _INITIALIZE)
        tell(process, {"method": "notifications/initialized"})
        assert ask(process, 2, "tools/list", {})["tools"]
        if call:
            assert not ask(process, 3, "tools/call", {"name": "list_edit_sessions", "arguments": {}}).get("isError")
        seconds = time.perf_counter() - began
        with suppress(BrokenPipeError):
            process.communicate()  # stdin ends, and with it the bridge
    assert process.returncode == 0
    return seconds


def ask(process: subprocess.Popen[bytes], number: int, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Send a request and give its result."""
    tell(process, {"id": number, "method": method, "params": params})
    assert process.stdout
    while True:
        message: dict[str, Any] = json.loads(process.stdout.readline())
        if message.get("id") == number:
            return message["result"]


def tell(process: subprocess.Popen[bytes], message: Mapping[str, Any]) -> None:
    """Send a message as a line."""
    assert process.stdin
    process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
    process.stdin.flush()


if __name__ == "__main__":
    run("start", __doc__, measure)
