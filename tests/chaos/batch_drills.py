"""Drills of batches: 10,000 lines with figures, and the same while everything is killed in the middle."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any, Final

from batch_kit import lines
from drill_kit import own_fleet, until
from fleet_kit import PROGRAM, Fleet, answers
from manifest_kit import jsonl

from imagequeue.batch_views import BatchView, ResultLine
from imagequeue.client import Client
from sandbox.stack.ports import HOST, choose_port
from sandbox.stack.processes import Service, kill_group, start_healthy

LINES: Final = int(os.environ.get("BATCH_LINES", "10000"))
LATENCY_SECONDS: Final = 0.1
_WORKERS: Final = 2
_MB: Final = 1 << 20


def batch_load() -> None:
    """10,000 lines through two workers; an interactive job in between."""
    with own_fleet() as (fleet, _, folder), _running_api(fleet, folder) as (client, api):
        fleet.sandbox.set_latency(LATENCY_SECONDS)
        client.batches.cancel(client.batches.submit(lines(1, "loads the scripts")).id)
        empty = _redis_bytes(fleet)
        batch, seconds = _submitted(client, folder)
        waiting = (_redis_bytes(fleet) - empty) / LINES
        peak_api = _peak_bytes(_processes_of(api)) / _MB
        print(
            f"batch-load: {LINES:,} lines accepted in {seconds:.1f} s ({LINES / seconds:,.0f} a second), {waiting:.2f} "
            f"bytes of Redis each while they wait, API at its peak {peak_api:.0f} MB",
            flush=True,
        )
        for _ in range(_WORKERS):
            fleet.start_worker()
        began = time.monotonic()
        _progressed(client, batch, LINES // 10)
        job = client.wait(client.submit({"prompt": "in between", "quality": "low"}).id)
        assert job.started_at
        assert job.finished_at
        waited = (job.started_at - job.created_at).total_seconds()
        whole = (job.finished_at - job.created_at).total_seconds()
        ended = client.batches.wait(batch.id)
        took = time.monotonic() - began
        results, reading = _results(client, batch)
        after = (_redis_bytes(fleet) - empty) / LINES
        _check(results)
        print(
            f"batch-load: all ended after {took:.0f} s ({LINES / took:.0f} a second) on {_WORKERS} workers, "
            f"{ended.counts.succeeded:,} succeeded, {len(fleet.sandbox.calls()) - 1:,} calls; {after:,.0f} bytes of "
            f"Redis a line at the end, jobs included; an interactive job between was started after {waited:.3f} s and "
            f"done after {whole:.2f} s; results read in {reading:.1f} s"
        )


def batch_kill() -> None:
    """The same, and SIGKILL of API and workers when a third is done; they are started again."""
    with own_fleet() as (fleet, _, folder):
        fleet.sandbox.set_latency(LATENCY_SECONDS)
        for _ in range(_WORKERS):
            fleet.start_worker()
        with _running_api(fleet, folder) as (client, _):
            batch, _ = _submitted(client, folder)
            _progressed(client, batch, LINES // 3)
        for worker in tuple(fleet.workers):
            fleet.kill(worker)
        for _ in range(_WORKERS):
            fleet.start_worker()
        with _running_api(fleet, folder) as (client, _):
            ended = client.batches.wait(batch.id)
            results, _ = _results(client, batch)
            _check(results)
            jobs = [client.get(line.job_id) for line in results if line.attempts > 1 and line.job_id]
        received = len(fleet.sandbox.calls())
        unknown = sum(attempt.outcome == "unknown" for job in jobs for attempt in job.attempts)
        print(
            f"batch-kill: SIGKILL of all after a third of {LINES:,} lines: {ended.counts.succeeded:,} succeeded, "
            f"{received:,} calls seen, {received - LINES} beyond {LINES:,}, {unknown} attempts shown as unknown "
            f"(${ended.possible_extra_cost_usd:.4f}); doubled in silence {max(0, received - LINES - unknown)}"
        )


def _progressed(client: Client, batch: BatchView, lines_done: int) -> None:
    until(f"{lines_done:,} lines are done", lambda: client.batches.get(batch.id).counts.succeeded >= lines_done)


@contextmanager
def _running_api(fleet: Fleet, folder: Path) -> Generator[tuple[Client, Popen[bytes]]]:
    port = choose_port()
    service = Service(
        name="api",
        command=(PROGRAM, "api"),
        environment={**fleet.environment, "IMAGEQUEUE_API_PORT": str(port), "IMAGEQUEUE_API_PROCESSES": "2"},
        log=folder / f"api-{port}.log",
        healthy=lambda: answers(port, "/healthz"),
        stage=0,
    )
    process = start_healthy(service)
    try:
        with Client(f"http://{HOST}:{port}", timeout_seconds=300) as client:
            yield client, process
    finally:
        kill_group(process)


def _submitted(client: Client, folder: Path) -> tuple[BatchView, float]:
    file = folder / "manifest.jsonl"
    file.write_bytes(jsonl(*lines(LINES, "A lighthouse at dawn, oil on canvas, seen from the sea, number")))
    began = time.monotonic()
    batch = client.batches.submit(file, window=1000)
    return batch, time.monotonic() - began


def _results(client: Client, batch: BatchView) -> tuple[Sequence[ResultLine], float]:
    began = time.monotonic()
    return list(client.batches.results(batch.id)), time.monotonic() - began


def _check(results: Sequence[ResultLine]) -> None:
    counted = Counter(line.custom_id for line in results)
    assert len(counted) == LINES, len(counted)
    assert set(counted.values()) == {1}
    assert all(line.state == "succeeded" for line in results)


def _redis_bytes(fleet: Fleet) -> int:
    redis: Any = fleet.redis
    return int(redis.info("memory")["used_memory"])


def _processes_of(api: Popen[bytes]) -> list[int]:
    children = Path(f"/proc/{api.pid}/task/{api.pid}/children").read_text().split()
    return [api.pid, *map(int, children)]


def _peak_bytes(pids: Iterable[int]) -> int:
    """The largest resident set that one of the processes has had."""
    texts = (Path(f"/proc/{pid}/status").read_text() for pid in pids)
    return max(int(line.split()[1]) * 1024 for text in texts for line in text.splitlines() if line.startswith("VmHWM"))
