"""Calls of `generate_image` on one stdio connection: 1, 20 and 100 at once, images of 200 KB and 2 MB, 0.2 s each.

Against a tool that calls OpenAI's SDK in its own process, saves the image and returns it whole (direct_tool.py): what
one installs instead of a queue. Both get the same bytes of the same sandbox, save the original on disk, and are asked
by the official client in this process. Ours goes through Redis, a worker and S3, and hands over a preview, or the
original where that is small, with a link. Memory is the peak during 100 calls at once of the process that runs beside
the agent, and, so that nobody is fooled, of that and the worker together.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, cast
from uuid import uuid4

from anyio.from_thread import BlockingPortal, start_blocking_portal
from bench_stack import PROGRAM, Bench, children, peak_mb, reset_peak, services
from by_hand import by_hand
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.types import CallToolResult, ImageContent, ResourceLink, TextContent
from side_by_side import Goal, Row, more_by_at_most, paired, ratio_at_most, run

LATENCY_SECONDS: Final = 0.2
SIZES: Final = (200_000, 2_000_000)
AT_ONCE: Final = (20, 100)
SINGLE_CALLS: Final = 5
"""One after the other in a run: the first row is one call's share."""
MORE_MS: Final = 30
BRIDGE: Final = str(Path(PROGRAM).with_name("imagequeue-mcp"))
INSTEAD: Final = "SDK in the tool"
STORING_FLOOR: Final = (
    "the other neither verifies the image, makes a preview nor stores both in S3. A script that only does that "
    "(script.py), without queue and MCP, took {single:.0f} ms for a call and {many:.2f} s for {calls} at once in "
    "this run."
)
IMPORT_FLOOR: Final = (
    "half of the other's memory at 0.2 MB is less than the 67 MB that importing MCP's SDK takes, which both do."
)


@dataclass(frozen=True, slots=True)
class Server:
    """A server on stdio, its client, and where it saves."""

    portal: BlockingPortal
    client: Client
    pid: int
    folder: Path
    saved: Callable[[CallToolResult], Path]


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one run: milliseconds of one call, seconds of so many at once, MB."""

    single_ms: float
    seconds: Mapping[int, float]
    peak_mb: float
    with_worker_mb: float


def measure(runs: int) -> list[Row]:
    """Rows for each size of images."""
    with services() as bench:
        bench.set_sandbox(latency_seconds=LATENCY_SECONDS)
        (worker,) = bench.start_workers()
        with (
            connected(bench, "bridge", (BRIDGE,), saved_by_us) as ours,
            connected(
                bench, "direct", (sys.executable, str(Path(__file__).with_name("direct_tool.py"))), saved
            ) as other,
        ):
            return [row for size in SIZES for row in rows(bench, ours, other, worker, size, runs)]


def rows(bench: Bench, ours: Server, other: Server, worker: int, size: int, runs: int) -> list[Row]:
    """Both sides with images of one size, in turn."""
    bench.set_sandbox(image_bytes=size)
    pairs = paired(lambda _: figures(ours, size, worker), lambda _: figures(other, size), runs)
    floor = storing_floor(bench, runs)

    def of(what: str, unit: str, figure: Callable[[Figures], float], goal: Goal | None = None, floor: str = "") -> Row:
        mine, others = ([figure(pair[side]) for pair in pairs] for side in (0, 1))
        return Row(f"{size / 1e6:g} MB: {what}", unit, mine, others, INSTEAD, goal, floor)

    goals = {AT_ONCE[-1]: ratio_at_most(1)}
    return [
        of("1 call", "ms", lambda one: one.single_ms, more_by_at_most(MORE_MS), floor),
        *(
            of(f"{calls} at once", "s", lambda one, calls=calls: one.seconds[calls], goals.get(calls), floor)
            for calls in AT_ONCE
        ),
        of("peak memory, bridge", "MB", lambda one: one.peak_mb, ratio_at_most(0.5), IMPORT_FLOOR),
        of("peak memory, bridge and worker", "MB", lambda one: one.with_worker_mb),
    ]


def storing_floor(bench: Bench, runs: int) -> str:
    """What no durable queue can do without, measured."""
    with by_hand(bench, "1024x1024") as script:
        many = [script.make(AT_ONCE[-1], AT_ONCE[-1]).seconds for _ in range(runs)]
        single = script.make(runs * SINGLE_CALLS, 1).milliseconds
    return STORING_FLOOR.format(single=median(single), many=median(many), calls=AT_ONCE[-1])


def figures(server: Server, size: int, worker: int | None = None) -> Figures:
    """All calls of one run."""
    single_ms = sum(timed(server, 1, size) for _ in range(SINGLE_CALLS)) * 1000 / SINGLE_CALLS
    pids = [server.pid, *([worker] if worker else [])]
    for pid in pids:
        reset_peak(pid)
    seconds = {calls: timed(server, calls, size) for calls in AT_ONCE}
    peaks = [peak_mb(pid) for pid in pids]
    return Figures(single_ms, seconds, peaks[0], sum(peaks))


def timed(server: Server, calls: int, size: int) -> float:
    """Seconds until so many calls, made at once, are answered; each must have saved its image."""
    began = time.perf_counter()
    answers = server.portal.call(at_once, server.client, calls)
    seconds = time.perf_counter() - began
    files = {server.saved(answer) for answer in answers}
    assert len(files) == calls
    for file in files:
        assert 0.9 * size < file.stat().st_size < 1.1 * size, file.stat()
        file.unlink()  # or the disk would be full of them
    return seconds


async def at_once(client: Client, calls: int) -> Sequence[CallToolResult]:
    """Answers to calls that nobody made before."""
    arguments = [{"prompt": f"A lighthouse {uuid4()}", "quality": "low", "size": "1024x1024"} for _ in range(calls)]
    return await asyncio.gather(*(client.call_tool("generate_image", one) for one in arguments))


def saved_by_us(answer: CallToolResult) -> Path:
    """Where our bridge saved the image; the answer must hold all that it promises."""
    assert not answer.is_error, answer.content
    kinds = [type(block) for block in answer.content]
    assert kinds == [TextContent, ImageContent, ResourceLink], kinds
    content = cast("dict[str, Any]", answer.structured_content)
    assert content["status"] == "succeeded", content
    return Path(content["images"][0]["file_path"])


def saved(answer: CallToolResult) -> Path:
    """Where the other tool saved the image."""
    assert not answer.is_error, answer.content
    text, picture = answer.content
    assert isinstance(text, TextContent)
    assert isinstance(picture, ImageContent)
    return Path(text.text.removeprefix("Saved as "))


@contextmanager
def connected(
    bench: Bench, name: str, command: Sequence[str], saved: Callable[[CallToolResult], Path]
) -> Generator[Server]:
    """A server in a folder of its own and a client of it."""
    folder = bench.folder / name
    folder.mkdir()
    environment = {**bench.environment, "HOME": str(folder), "GPT_IMAGE_2_OUTPUT_DIR": str(folder)}
    before = children(os.getpid())
    with start_blocking_portal() as portal:
        client = Client(StdioServerParameters(command=command[0], args=[*command[1:]], env=environment, cwd=folder))
        with portal.wrap_async_context_manager(client):
            (pid,) = set(children(os.getpid())) - set(before)
            yield Server(portal, client, pid, folder, saved)


if __name__ == "__main__":
    run("mcp_calls", __doc__, measure)
