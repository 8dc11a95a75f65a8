"""Memory of a worker for each call in flight, when the answers of all arrive at once: 20 of 2 MB, 6 of 24 MB.

It is the largest resident set during the calls less the resident set before them, of a worker that is warm (it has made
such images, one after the other) and idle, by the number of calls. Against the bytes of one image: a program that reads
an answer whole holds them as text of base64, decoded, and as pixels. Every run has a new worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench_stack import Bench, peak_mb, reset_peak, resident_mb, services
from side_by_side import Row, ratio_at_most, repeated, run

from imagequeue.requests import parse_request

MOST_TIMES_THE_IMAGE: Final = 2.2
WARM_UPS: Final = 3
TOGETHER_SECONDS: Final = 1.5
"""How long each call takes: longer than it takes to submit all of them."""


@dataclass(frozen=True, slots=True)
class Load:
    """So many calls of one kind of image."""

    calls: int
    size: str
    image_bytes: int

    @property
    def what(self) -> str:
        """For the table."""
        return f"for each of {self.calls} calls, image of {self.image_bytes / 1e6:.0f} MB"


LOADS: Final = (Load(20, "1024x1024", 2_000_000), Load(6, "3840x2160", 24_000_000))


@dataclass(frozen=True, slots=True)
class Found:
    """MB that each call took, and MB of its image."""

    per_call: float
    image: float


def measure(runs: int) -> list[Row]:
    """MB by call."""
    with services() as bench:
        found = [
            repeated(lambda number, load=load: _once(bench, load, number), runs, warm_up=False)  # each has a new worker
            for load in LOADS
        ]
    return [_row(load, each) for load, each in zip(LOADS, found, strict=True)]


def _row(load: Load, found: list[Found]) -> Row:
    ours, images = [each.per_call for each in found], [each.image for each in found]
    return Row(load.what, "MB", ours, images, "the image's bytes", ratio_at_most(MOST_TIMES_THE_IMAGE))


def _once(bench: Bench, load: Load, number: int) -> Found:
    with bench.apart(f"{load.calls}-{number}") as apart:
        (worker,) = apart.start_workers()
        bench.set_sandbox(image_bytes=load.image_bytes, latency_seconds=0)
        for _ in range(WARM_UPS):
            _make(apart, load, 1)
        bench.set_sandbox(latency_seconds=TOGETHER_SECONDS)
        before = resident_mb(worker)
        reset_peak(worker)
        sizes = _make(apart, load, load.calls)
        return Found((peak_mb(worker) - before) / load.calls, sizes[0] / 1e6)


def _make(bench: Bench, load: Load, count: int) -> list[int]:
    """Bytes of the images that were made at once."""
    requests = [{"prompt": f"image {number}", "size": load.size, "quality": "low"} for number in range(count)]
    jobs = [bench.queue.submit(parse_request(request)).job for request in requests]
    return [image.size_bytes for job in jobs for image in bench.queue.wait(job.id, 90).images]


if __name__ == "__main__":
    run("memory", __doc__, measure)
