"""Many slow calls: 200 jobs of 2 s through one worker process, stored and previewed.

Against a hand-written asyncio script with a semaphore of the same width.
"""

from __future__ import annotations

import asyncio
import time

from openai import AsyncOpenAI
from script import SIZE, many_images
from side_by_side import Comparison, compare, services

from imagequeue.objects import ObjectStore
from imagequeue.requests import parse_request

RUNS = 5
JOBS = 200
AT_ONCE = 200


def measure() -> Comparison:
    """Seconds of wall time, paired."""
    with services(2, IMAGEQUEUE_WORKER_SLOTS=str(AT_ONCE)) as (queue, settings), asyncio.Runner() as runner:
        objects, client = ObjectStore(settings), AsyncOpenAI(max_retries=0)

        def ours(number: int) -> float:
            request = {"prompt": f"many {number}", "size": SIZE, "quality": "low", "output_format": "jpeg"}
            started = time.perf_counter()
            jobs = [queue.submit(parse_request(request)).job for _ in range(JOBS)]
            assert all(queue.wait(job.id, 90).images for job in jobs)
            return time.perf_counter() - started

        def instead(number: int) -> float:
            started = time.perf_counter()
            runner.run(many_images(client, objects, [f"many {number} {index}" for index in range(JOBS)], AT_ONCE))
            return time.perf_counter() - started

        return compare("many_calls", "s", ours, instead, "asyncio script", RUNS)


if __name__ == "__main__":
    print(measure().text())
