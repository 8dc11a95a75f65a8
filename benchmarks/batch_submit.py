"""How fast a manifest of 50,000 lines is accepted over HTTP: read, each line checked and priced, stored, answered.

Against writing the same lines to one Redis list by pipeline, which checks nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

from bench_stack import Bench, children, peak_mb, reset_peak, resident_mb, services
from side_by_side import Row, at_least, at_most, paired, run

from imagequeue.client import Client
from sandbox.stack.ports import HOST

LINES: Final = 50_000
_AT_ONCE: Final = 1_000
_TIMEOUT_SECONDS: Final = 300.0


def measure(runs: int) -> Sequence[Row]:
    """Lines a second, and how much the API's memory grows above what it was."""
    with services() as bench:
        manifest = bench.folder / "manifest.jsonl"
        lines = [_line(number) for number in range(LINES)]
        manifest.write_bytes(b"".join(lines))
        port, api = bench.start_api(1)
        with Client(f"http://{HOST}:{port}", timeout_seconds=_TIMEOUT_SECONDS) as client:
            processes = [api, *children(api)]
            pairs = paired(lambda _: _accepted(client, manifest, processes), lambda _: _pushed(bench, lines), runs)
    rates, growths = [pair[0][0] for pair in pairs], [pair[0][1] for pair in pairs]
    others = [other for _, other in pairs]
    return [
        Row(f"{LINES:,} lines", "lines/s", rates, others, "one Redis list by pipeline", at_least(5_000)),
        Row("growth of the API", "MB", growths, goal=at_most(20)),
    ]


def _line(number: int) -> bytes:
    prompt = f"A lighthouse at dawn, oil on canvas, seen from the sea, number {number}"
    return json.dumps({"custom_id": f"line-{number}", "prompt": prompt, "quality": "low"}).encode() + b"\n"


def _accepted(client: Client, manifest: Path, processes: Sequence[int]) -> tuple[float, float]:
    """Lines a second; MB by which the process that grows most exceeds its size before."""
    before = {pid: resident_mb(pid) for pid in processes}
    for pid in processes:
        reset_peak(pid)
    began = time.perf_counter()
    batch = client.batches.submit(manifest)
    seconds = time.perf_counter() - began
    assert batch.lines == LINES
    growth = max(peak_mb(pid) - size for pid, size in before.items())
    client.batches.cancel(batch.id)
    return LINES / seconds, growth


def _pushed(bench: Bench, lines: Sequence[bytes]) -> float:
    redis = cast("Any", bench.redis)
    began = time.perf_counter()
    for start in range(0, LINES, _AT_ONCE):
        pipeline = redis.pipeline(transaction=False)
        for line in lines[start : start + _AT_ONCE]:
            pipeline.rpush("lines", line)
        pipeline.execute()
    seconds = time.perf_counter() - began
    redis.delete("lines")
    return LINES / seconds


if __name__ == "__main__":
    run("batch_submit", __doc__, measure)
