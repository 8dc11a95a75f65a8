"""Idle latency: how long one image takes from the request to the answer, when nothing else is to be done.

OpenAI answers at once (sandbox at 0 latency, 200 KB), so that what is left is the work around the call: imagequeue
stores the job, hands it to a worker, spools, verifies, previews and stores the image, and wakes the client, who waits
on one blocking request (`POST /v1/jobs` with `Prefer: wait`), or in the process of the caller (`ImageQueue`). Against
the same call, preview and upload done in sequence by a script with OpenAI's SDK, Pillow and boto3, on the same S3 and
sandbox. Both are warm.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Final

import httpx2
from bench_stack import Bench, services
from by_hand import by_hand
from side_by_side import Row, more_by_at_most, paired, percentile, run

from imagequeue.requests import parse_request
from sandbox.stack.ports import HOST

IMAGES: Final = 40
"""Of a run: the 99th percentile of one is its slowest, and the median of the runs is judged."""
IMAGE_BYTES: Final = 200_000
SIZE: Final = "1024x1024"
P50_MS: Final = 15
P99_MS: Final = 40
WHICH: Final = "script in sequence"
Way = Callable[[int], None]
"""Makes the image of this number, and returns when it is stored."""


def measure(runs: int) -> list[Row]:
    """Milliseconds of one image: p50 and p99 of each run, by both doors."""
    with services() as bench, by_rest(bench) as rest, by_hand(bench, SIZE) as script:
        bench.set_sandbox(image_bytes=IMAGE_BYTES)
        bench.start_workers()
        doors = {"REST": rest, "in process": in_process(bench)}
        rows: list[Row] = []
        for door, way in doors.items():
            _milliseconds(way, IMAGES)
            pairs = paired(
                lambda _, way=way: _milliseconds(way, IMAGES),
                lambda _: script.make(IMAGES, 1).milliseconds,
                runs,
            )
            rows += _rows(door, pairs)
        return rows


def _rows(door: str, pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> list[Row]:
    def row(what: str, of: Callable[[Sequence[float]], float], bound: float) -> Row:
        ours, instead = zip(*[(of(ours), of(instead)) for ours, instead in pairs], strict=True)
        return Row(f"one image, {door}, {what}", "ms", ours, instead, WHICH, more_by_at_most(bound))

    return [row("p50", statistics.median, P50_MS), row("p99", lambda values: percentile(values, 99), P99_MS)]


def _milliseconds(way: Way, count: int) -> list[float]:
    found: list[float] = []
    for number in range(count):
        started = perf_counter()
        way(number)
        found.append((perf_counter() - started) * 1000)
    return found


def in_process(bench: Bench) -> Way:
    """Through ImageQueue, as a program on the same Redis does."""

    def make(number: int) -> None:
        request = {"prompt": f"idle {number}", "size": SIZE, "quality": "low"}
        job = bench.queue.wait(bench.queue.submit(parse_request(request)).job.id, 60)
        assert job.images, job.error

    return make


@contextmanager
def by_rest(bench: Bench) -> Generator[Way]:
    """Through the REST API, with one request that waits."""
    port, _ = bench.start_api()
    with httpx2.Client(base_url=f"http://{HOST}:{port}", headers={"Prefer": "wait=60"}, timeout=90) as client:

        def make(number: int) -> None:
            body = {"type": "generate", "prompt": f"idle {number}", "size": SIZE, "quality": "low"}
            answer = client.post("/v1/jobs", json=body)
            assert answer.status_code == 201, answer.text

        yield make


if __name__ == "__main__":
    run("idle_latency", __doc__, measure)
