"""Whether imagequeue slows down as it fills: what clients and workers do most, at 1,000, 10,000 and 100,000 jobs.

Against itself at 1,000 jobs. Each size has a Redis and an API of its own; one job in ten waits, the others have ended.
"""

from __future__ import annotations

import http.client
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from bench_stack import Bench, services
from sample_image import sample_image
from side_by_side import Row, at_most, ratio_at_most, repeated, run

from imagequeue.jobs import Applied, AttemptOutcome, Claim, JobState, NewJob, Result, Usage
from imagequeue.requests import GenerateRequest
from imagequeue.store.attempts import AttemptStore
from imagequeue.store.connection import connect
from imagequeue.store.keys import Keys
from sandbox.stack.ports import HOST
from sandbox.stack.processes import wait_until

SIZES: Final = (1_000, 10_000, 100_000)
TIMES: Final = 100
PROCESSES: Final = 2
GOAL: Final = 1.2
BYTES_A_JOB: Final = 2_500
LEASE_MS: Final = 600_000
_PROMPT: Final = "A lighthouse at dawn, oil on canvas, seen from the sea, with the keeper's daughter waving, number"
Operation = Callable[[], object]


def measure(runs: int) -> Sequence[Row]:
    """Milliseconds of each operation at each size; bytes of Redis for each job that has ended."""
    with ExitStack() as cleanup:
        stores = [Filled.of(size, cleanup) for size in SIZES]
        rounds = repeated(lambda _: [filled.round() for filled in stores], runs)
    rows: list[Row] = []
    for name in rounds[0][0]:
        for position, size in enumerate(SIZES[1:], start=1):
            ours, least = [found[position][name] for found in rounds], [found[0][name] for found in rounds]
            goal = ratio_at_most(GOAL) if size == SIZES[-1] else None
            rows.append(Row(f"{name} at {size:,} jobs", "ms", ours, least, f"at {SIZES[0]:,} jobs", goal))
    return [*rows, Row("a finished job in Redis", "bytes", [stores[-1].bytes_a_job], goal=at_most(BYTES_A_JOB))]


@dataclass(frozen=True, slots=True)
class Filled:
    """A Redis with so many jobs, and an API on it."""

    bench: Bench
    store: AttemptStore
    port: int
    queued: str
    bytes_a_job: float

    @classmethod
    def of(cls, size: int, cleanup: ExitStack) -> Filled:
        """Start the services and fill them."""
        bench = cleanup.enter_context(services())
        store = AttemptStore(bench.redis, Keys(bench.settings.key_prefix))
        _fill(bench, PROCESSES, ended=True)  # what the first job brings once for all
        before = bench.redis_info("memory")["used_memory"]
        _fill(bench, size * 9 // 10, ended=True)
        bytes_a_job = (bench.redis_info("memory")["used_memory"] - before) / (size * 9 // 10)
        _fill(bench, size // 10, ended=False)
        rewritten = wait_until(lambda: not bench.redis_info("persistence")["aof_rewrite_in_progress"], 300)
        assert rewritten, "Redis still rewrites its file"  # as it does every now and then, beside what is measured
        port, _ = bench.start_api(1)
        return cls(bench, store, port, store.submit(_new(size)).id, bytes_a_job)

    def round(self) -> Mapping[str, float]:
        """The median time of each operation in milliseconds."""
        queued = [self.store.submit(_new(0)).id for _ in range(TIMES)]
        operations: Mapping[str, Operation] = {
            "submit": lambda: self.store.submit(_new(0)),
            "claim": lambda: _claimed(self.store, queued.pop()),
            "list page": lambda: self._get("/v1/jobs?limit=50"),
            "position": lambda: self._get(f"/v1/jobs/{self.queued}"),
            "SSE open": lambda: self._first_event(f"/v1/jobs/{self.queued}/events"),
        }
        return {name: _milliseconds(operation) for name, operation in operations.items()}

    def _get(self, path: str) -> None:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
        connection.close()

    def _first_event(self, path: str) -> None:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        connection.request("GET", path)
        answer = connection.getresponse()
        while not answer.readline().startswith(b"data:"):
            pass
        connection.close()


def _milliseconds(operation: Operation) -> float:
    taken: list[float] = []
    for _ in range(TIMES):
        began = time.perf_counter()
        operation()
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken)


def _fill(bench: Bench, count: int, *, ended: bool) -> None:
    share = count // PROCESSES
    with ProcessPoolExecutor(PROCESSES) as pool:
        for done in [
            pool.submit(_fill_share, bench.settings.redis_url, bench.settings.key_prefix, share, ended)
            for _ in range(PROCESSES)
        ]:
            done.result()


def _fill_share(redis_url: str, key_prefix: str, count: int, ended: bool) -> None:
    client = connect(redis_url)
    store = AttemptStore(client, Keys(key_prefix))
    for number in range(count):
        job_id = store.submit(_new(number)).id
        if ended:
            claim = _claimed(store, job_id)
            store.start_call(claim, "direct")
            store.answered(claim)
            store.finish(claim, _result(claim))
    client.close()


def _new(number: int) -> NewJob:
    request = GenerateRequest(prompt=f"{_PROMPT} {number}")
    return NewJob(request=request, owner="local", lane="interactive", model="gpt-image-2", on_unknown_outcome="retry")


def _claimed(store: AttemptStore, job_id: str) -> Claim:
    claim = store.claim(job_id, "host-1234-abcdef", f"host-1234-abcdef/{job_id[-12:]}", LEASE_MS)
    assert claim
    return claim


def _result(claim: Claim) -> Result:
    return Result(
        state=JobState.SUCCEEDED,
        outcome=AttemptOutcome.SUCCEEDED,
        images=(sample_image(claim.job.id, f"jobs/{claim.job.id}/1"),),
        usage=Usage(
            total_tokens=1_780, input_tokens=24, output_tokens=1_756, input_text_tokens=24, input_image_tokens=0
        ),
        applied=Applied(size="1024x1024", quality="medium", background="opaque", output_format="png"),
        cost_usd_estimated=0.0528,
        request_id="req_0123456789abcdef0123456789abcdef",
    )


if __name__ == "__main__":
    run("growth", __doc__, measure)
