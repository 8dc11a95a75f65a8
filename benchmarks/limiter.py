"""How much of a rate limit is used: three workers, 600 images a minute that the sandbox enforces, 900 jobs.

Against the ideal line, on which a call leaves every tenth of a second; a call too early is answered 429.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import httpx2
from bench_stack import Bench, services
from side_by_side import Row, at_most, ratio_at_least, repeated, run

from imagequeue.jobs import JobState
from imagequeue.requests import parse_request

WORKERS: Final = 3
IMAGES_PER_MINUTE: Final = 600
JOBS: Final = 900
IDEAL_PER_SECOND: Final = IMAGES_PER_MINUTE / 60
_PATIENCE_SECONDS: Final = 300.0


def measure(runs: int) -> Sequence[Row]:
    """Images a second from the first call to the last, and refused calls."""
    with services(IMAGEQUEUE_IMAGES_PER_MINUTE=str(IMAGES_PER_MINUTE)) as bench:
        bench.set_sandbox(images_per_minute=IMAGES_PER_MINUTE, image_bytes=10_000)
        bench.start_workers(WORKERS)
        found = repeated(lambda number: _round(bench, JOBS if number >= 0 else WORKERS), runs)
    line = [IDEAL_PER_SECOND] * runs
    return [
        Row(f"{JOBS} jobs", "images/s", [rate for rate, _ in found], line, "ideal line", ratio_at_least(0.95)),
        Row("answers 429", "", [refused for _, refused in found], goal=at_most(0)),
    ]


def _round(bench: Bench, count: int) -> tuple[float, int]:
    before = len(_calls(bench))
    began = time.perf_counter()
    jobs = [bench.queue.submit(parse_request({"prompt": f"limited {number}"})).job for number in range(count)]
    for job in jobs:
        assert bench.queue.wait(job.id, _PATIENCE_SECONDS).state is JobState.SUCCEEDED
    seconds = time.perf_counter() - began
    calls = _calls(bench)[before:]
    return count / seconds, sum(call["status"] == 429 for call in calls)


def _calls(bench: Bench) -> list[dict[str, object]]:
    return httpx2.get(f"{bench.sandbox_url}/sandbox/calls", timeout=60).raise_for_status().json()["calls"]


if __name__ == "__main__":
    run("limiter", __doc__, measure)
