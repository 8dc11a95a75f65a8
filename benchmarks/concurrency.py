"""Many slow calls at once: 400 images of 2 MB, each call 2 s long, 200 calls at once, stored and previewed.

With one worker of 200 slots, and with two of 100 each, so that as many calls are in flight. Against an asyncio script
of the same width with OpenAI's SDK, a preview by Pillow and boto3 in threads, on the same S3 and sandbox; it keeps no
records and does not survive a crash. The time runs from the first submit to the last image stored, the memory is the
largest resident set of the workers together, and of the script. A worker has run before; the script is new for each
run.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from bench_stack import Bench, peak_mb, reset_peak, services
from by_hand import by_hand
from side_by_side import Row, paired, ratio_at_most, run

from imagequeue.requests import parse_request

JOBS: Final = 400
AT_ONCE: Final = 200
CALL_SECONDS: Final = 2.0
IMAGE_BYTES: Final = 2_000_000
SIZE: Final = "1024x1024"
WORKERS: Final = (1, 2)
MOST_TIME: Final = 1.2
MOST_MEMORY: Final = 0.5
WHICH: Final = "asyncio script"


@dataclass(frozen=True, slots=True)
class Cost:
    """What all images together took."""

    seconds: float
    memory_mb: float


@dataclass(frozen=True, slots=True)
class Fleet:
    """Workers with records of their own."""

    bench: Bench
    workers: Sequence[int]

    @classmethod
    def start(cls, bench: Bench, count: int, cleanup: ExitStack) -> Fleet:
        """Start so many workers, with all slots together."""
        apart = cleanup.enter_context(bench.apart(f"fleet-{count}"))
        return cls(apart, apart.start_workers(count, IMAGEQUEUE_WORKER_SLOTS=str(AT_ONCE // count)))

    def make(self, count: int) -> Cost:
        """Submit so many jobs and wait for their images."""
        for worker in self.workers:
            reset_peak(worker)
        queue, started = self.bench.queue, perf_counter()
        requests = [{"prompt": f"image {number}", "size": SIZE, "quality": "low"} for number in range(count)]
        jobs = [queue.submit(parse_request(request)).job for request in requests]
        for job in jobs:
            ended = queue.wait(job.id, 90)
            assert ended.images, ended.error
        return Cost(perf_counter() - started, sum(map(peak_mb, self.workers)))


def measure(runs: int) -> list[Row]:
    """Seconds and MB of all images."""
    with services() as bench, ExitStack() as cleanup:
        bench.set_sandbox(image_bytes=IMAGE_BYTES)
        fleets = [Fleet.start(bench, count, cleanup) for count in WORKERS]
        for fleet in fleets:
            fleet.make(AT_ONCE // 10)
        bench.set_sandbox(latency_seconds=CALL_SECONDS)
        pairs = paired(
            lambda _: [fleet.make(JOBS) for fleet in fleets], lambda _: _by_script(bench), runs, warm_up=False
        )
    return [row for index, count in enumerate(WORKERS) for row in _rows(count, [(o[index], i) for o, i in pairs])]


def _by_script(bench: Bench) -> Cost:
    with by_hand(bench, SIZE) as script:
        return Cost(script.make(JOBS, AT_ONCE).seconds, script.peak_mb())


def _rows(count: int, pairs: Sequence[tuple[Cost, Cost]]) -> list[Row]:
    workers = f"{JOBS} jobs, {count} × {AT_ONCE // count} slots"
    ours, instead = zip(*pairs, strict=True)
    return [
        Row(
            workers,
            "s",
            [cost.seconds for cost in ours],
            [cost.seconds for cost in instead],
            WHICH,
            ratio_at_most(MOST_TIME),
        ),
        Row(
            f"{workers}: memory",
            "MB",
            [cost.memory_mb for cost in ours],
            [cost.memory_mb for cost in instead],
            WHICH,
            ratio_at_most(MOST_MEMORY),
        ),
    ]


if __name__ == "__main__":
    run("concurrency", __doc__, measure)
