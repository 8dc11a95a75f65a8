"""Idle latency: submit to the waiting client's answer, sandbox at 0 latency, image stored and previewed.

Against the same steps done in sequence by a script without a queue.
"""

from __future__ import annotations

import asyncio
import time

from openai import AsyncOpenAI
from script import SIZE, many_images
from side_by_side import Comparison, compare, services

from imagequeue.objects import ObjectStore
from imagequeue.requests import parse_request

RUNS = 30


def measure() -> Comparison:
    """Milliseconds of one image, paired."""
    with services(0) as (queue, settings), asyncio.Runner() as runner:
        objects, client = ObjectStore(settings), AsyncOpenAI(max_retries=0)

        def ours(number: int) -> float:
            request = {"prompt": f"idle {number}", "size": SIZE, "quality": "low", "output_format": "jpeg"}
            started = time.perf_counter()
            job = queue.wait(queue.submit(parse_request(request)).job.id, 60)
            assert job.images
            return (time.perf_counter() - started) * 1000

        def instead(number: int) -> float:
            started = time.perf_counter()
            runner.run(many_images(client, objects, [f"idle {number}"], 1))
            return (time.perf_counter() - started) * 1000

        return compare("idle_latency", "ms", ours, instead, "script in sequence", RUNS)


if __name__ == "__main__":
    print(measure().text())
