"""What a job costs besides the call and the storage: submit, claim, finish and wait, with a worker that does neither.

Against bare Celery's no-op with results ignored: the same Redis, two worker processes, the same pool and concurrency,
one process that submits and then waits for all.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, cast

import bare_celery
from bench_stack import Bench, cpu_seconds, services
from scripts_only import ScriptsOnly
from side_by_side import Row, at_most, paired, ratio_at_least, run

from imagequeue.jobs import JobState
from imagequeue.requests import parse_request
from imagequeue.store.connection import RedisClient, connect
from sandbox.stack.processes import wait_until

JOBS: Final = 5_000
COUNTED_JOBS: Final = 200
WORKERS: Final = 2
SLOTS: Final = 50
FLOOR: Final = (
    "Celery with the scripts of a durable job and nothing else (no record read, no call, no spool, nobody who waits) "
    "had {rate:,.0f} jobs/s in this run, {ratio:.2f} × of the no-op, and took {cpu:.2f} ms of the workers' CPU. The "
    "rest is reading the record, the hop to the loop and back, and the spool with its fsync."
)
_FOLDER: Final = Path(__file__).parent
_PATIENCE_SECONDS: Final = 300.0
_END: Final = "all jobs have ended"


def measure(runs: int) -> Sequence[Row]:
    """Jobs a second of both; our workers' CPU time and commands to Redis for a job."""
    with services(IMAGEQUEUE_WORKER_SLOTS=str(SLOTS)) as bench:
        workers = bench.start_workers(WORKERS, (sys.executable, str(_FOLDER / "null_worker.py")))
        bare = Bare.start(bench)
        pairs = paired(lambda _: _durable(bench, JOBS, workers), lambda _: bare.run(JOBS), runs)
        commands = [_commands(bench, workers) for _ in range(runs)]
        least = _least(bench, runs)
    celery = "bare Celery no-op"
    rates, cpu = [pair[0][0] for pair in pairs], [pair[0][1] for pair in pairs]
    others, other_cpu = [pair[1][0] for pair in pairs], [pair[1][1] for pair in pairs]
    rate, least_cpu = (median(one[kind] for one in least) for kind in (0, 1))
    floor = FLOOR.format(rate=rate, ratio=rate / median(others), cpu=least_cpu)
    return [
        Row(f"{JOBS:,} jobs", "jobs/s", rates, others, celery, ratio_at_least(0.5), floor),
        Row("worker CPU", "ms/job", cpu, other_cpu, celery, at_most(1.5), floor),
        Row("commands to Redis, client's and workers'", "/job", commands, goal=at_most(12)),
    ]


def _durable(bench: Bench, count: int, workers: Sequence[int]) -> tuple[float, float]:
    """Jobs a second, and milliseconds of the workers' CPU time for each."""
    cpu, began = cpu_seconds(workers), time.perf_counter()
    jobs = [bench.queue.submit(parse_request({"prompt": f"overhead {number}"})).job for number in range(count)]
    for job in jobs:
        assert bench.queue.wait(job.id, _PATIENCE_SECONDS).state is JobState.SUCCEEDED
    return count / (time.perf_counter() - began), 1000 * (cpu_seconds(workers) - cpu) / count


@dataclass(frozen=True, slots=True)
class Bare:
    """Bare Celery's workers, in a database of their own on the same Redis."""

    redis: RedisClient
    workers: Sequence[int]

    @classmethod
    def start(cls, bench: Bench) -> Bare:
        """Start them; the warm-up waits until they work."""
        url = bench.settings.redis_url.rsplit("/", 1)[0] + "/5"
        bare_celery.app.conf.update(broker_url=url)
        command = (sys.executable, str(_FOLDER / "bare_celery.py"), str(SLOTS))
        pids = [bench.start(f"bare-{number}", command, lambda: True, BARE_BROKER_URL=url) for number in range(WORKERS)]
        return cls(connect(url), pids)

    def run(self, count: int) -> tuple[float, float]:
        """As `_durable`."""
        cpu, began = cpu_seconds(self.workers), time.perf_counter()
        for _ in range(count):
            bare_celery.no_op.delay()
        assert wait_until(lambda: bare_celery.is_idle(self.redis), _PATIENCE_SECONDS)
        return count / (time.perf_counter() - began), 1000 * (cpu_seconds(self.workers) - cpu) / count


def _least(bench: Bench, runs: int) -> Sequence[tuple[float, float]]:
    """As `_durable`, of the scripts alone."""
    with bench.apart("floor") as apart:
        command = (sys.executable, str(_FOLDER / "scripts_only.py"))
        ends = ScriptsOnly.of(apart.settings)
        workers = [apart.start(f"floor-{number}", command, lambda: True) for number in range(WORKERS)]

        def run_all(count: int) -> tuple[float, float]:
            done = ends.ended() + count
            cpu, began = cpu_seconds(workers), time.perf_counter()
            for _ in range(count):
                ends.submit()
            assert wait_until(lambda: ends.ended() == done, _PATIENCE_SECONDS)
            return count / (time.perf_counter() - began), 1000 * (cpu_seconds(workers) - cpu) / count

        run_all(COUNTED_JOBS)
        return [run_all(JOBS) for _ in range(runs)]


def _commands(bench: Bench, workers: Sequence[int]) -> float:
    """Commands that clients sent for each of some jobs, as MONITOR sees them; those inside scripts are not sent."""
    seen: list[str] = []
    with cast("Any", bench.redis).monitor() as monitor:
        listening = threading.Thread(target=_listen, args=(monitor, seen))
        listening.start()
        _durable(bench, COUNTED_JOBS, workers)
        cast("Any", bench.redis).echo(_END)
        listening.join()
    return len(seen) / COUNTED_JOBS


def _listen(monitor: Any, seen: list[str]) -> None:
    for command in monitor.listen():
        if command["command"].endswith(_END):
            return
        if command["client_type"] != "lua":
            seen.append(command["command"].split(" ", 1)[0])


if __name__ == "__main__":
    run("overhead", __doc__, measure)
