"""From the finish of a session's turn to the call of the next one: what the next turn waits for, besides OpenAI.

50 sessions with three turns each, all submitted beforehand; a session every 80 ms, calls of 4 s, so that a turn ends
every 80 ms and the cores are not full; images of 200 KB. It is the time from a turn's `finished_at` to the next turn's
`call_started`, both by Redis's clock: the claim with the turn lock, the session's image on the worker's disk and
checked, the note that money may be spent. Against Celery chains of two tasks that do and keep nothing, as many and at
the same pace: from the end of the first task to the start of the second, on the same Redis, in Celery's pool of threads
of the same width.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, cast

import chained_tasks
from bench_stack import Bench, services
from chained_tasks import HANDOVERS
from side_by_side import Row, at_most, paired, percentile, ratio_at_most, run

from imagequeue.requests import ContinueSessionRequest, StartSessionRequest, parse_as, parse_request
from imagequeue.submission import LOCAL_TERMS

SESSIONS: Final = 50
TURNS: Final = 3
CHAINS: Final = SESSIONS * (TURNS - 1)
PACE_SECONDS: Final = 0.08
CALL_SECONDS: Final = SESSIONS * PACE_SECONDS
IMAGE_BYTES: Final = 200_000
SLOTS: Final = 128
"""Of our worker by default."""
MOST_MS: Final = 20
MOST_TIMES_THE_CHAIN: Final = 2
WHICH: Final = "Celery chain of two no-ops"
Handovers = Sequence[float]
"""Milliseconds."""


def measure(runs: int) -> list[Row]:
    """Milliseconds from turn to turn: p50 and p99 of each run."""
    with services() as bench:
        bench.set_sandbox(image_bytes=IMAGE_BYTES)
        bench.start_workers(IMAGEQUEUE_WORKER_SLOTS=str(SLOTS))
        first = bench.queue.submit(parse_request({"prompt": "the first image", "size": "1024x1024"})).job
        bench.queue.wait(first.id, 60)
        chains = _chains(bench)
        pairs = paired(lambda _: _turns(bench, f"job:{first.id}/0"), lambda _: chains(), runs)
    # Ours come in whole milliseconds, as the record has them.
    p50 = [(statistics.median_grouped(ours, interval=1), statistics.median(instead)) for ours, instead in pairs]
    p99 = [(percentile(ours, 99), percentile(instead, 99)) for ours, instead in pairs]
    what = f"{SESSIONS} sessions, turn to turn"
    return [
        Row(f"{what}, p50", "ms", *_columns(p50), WHICH, at_most(MOST_MS)),
        Row(f"{what}, p50", "ms", *_columns(p50), WHICH, ratio_at_most(MOST_TIMES_THE_CHAIN)),
        Row(f"{what}, p99", "ms", *_columns(p99), WHICH),
    ]


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [ours for ours, _ in pairs], [instead for _, instead in pairs]


def _turns(bench: Bench, source: str) -> Handovers:
    sessions, queue = bench.queue.sessions, bench.queue
    bench.set_sandbox(latency_seconds=CALL_SECONDS)
    turns: list[list[str]] = []

    def start(number: int) -> None:
        fields = {"prompt": f"session {number}", "size": "1024x1024", "quality": "low"}
        first = sessions.start(parse_as(StartSessionRequest, {**fields, "images": [source]}), LOCAL_TERMS).job
        more = parse_as(ContinueSessionRequest, fields)
        following = [sessions.add_turn(first.session_id or "", more, LOCAL_TERMS).job for _ in range(TURNS - 1)]
        turns.append([first.id, *(job.id for job in following)])

    _paced(start, SESSIONS)
    found: list[float] = []
    for session in turns:
        jobs = [queue.wait(job_id, 90) for job_id in session]
        for before, after in pairwise(jobs):
            assert before.finished_at
            assert after.attempts[0].call_started, after.error
            found.append(float(after.attempts[0].call_started - before.finished_at))
    return found


def _chains(bench: Bench) -> Callable[[], Handovers]:
    """Start Celery's worker for the chains; what it gives begins as many as there are handovers, and waits for them."""
    command = (sys.executable, "-m", "celery", "-A", "chained_tasks", "worker", "--pool", "threads", "-c", str(SLOTS))
    quiet = ("--loglevel", "error", "--without-mingle", "--without-gossip")
    broker, redis = bench.settings.redis_url, cast("Any", bench.redis)
    chained_tasks.app.conf.update(broker_url=broker)
    two = cast("Any", chained_tasks.first).s() | cast("Any", chained_tasks.second).s()

    def begin(_: int) -> None:
        two.apply_async()

    def serves() -> bool:
        return bool(redis.llen(HANDOVERS))

    begin(0)
    bench.start("chained", (*command, *quiet), serves, PYTHONPATH=str(Path(__file__).parent), CELERY_BROKER_URL=broker)

    def make() -> Handovers:
        redis.delete(HANDOVERS)
        _paced(begin, CHAINS)
        while redis.llen(HANDOVERS) < CHAINS:
            time.sleep(PACE_SECONDS)
        return [float(milliseconds) for milliseconds in redis.lrange(HANDOVERS, 0, -1)]

    return make


def _paced(step: Callable[[int], None], count: int) -> None:
    """One step every `PACE_SECONDS`."""
    begun = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, begun + number * PACE_SECONDS - time.monotonic()))
        step(number)


if __name__ == "__main__":
    run("turn_handover", __doc__, measure)
