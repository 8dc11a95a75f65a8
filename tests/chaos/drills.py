"""`make drills`: failures and load with figures, on real processes, for people to watch.

takeover     SIGKILL of a worker with 100 calls in flight: how long until all are taken over, what was called twice
limiter      3 workers, 200 jobs, 60 images a minute that the sandbox enforces: refused calls, share of the rate used
s3-outage    S3 goes away for 60 s while 50 images are made: images stored, calls seen
bridge-load  500 MCP calls wait in one bridge, over each transport and door: memory, connections, processor, wake-ups
batch-load   a batch of 10,000 lines: lines accepted and ended a second, memory, how long an interactive job waits
batch-kill   SIGKILL of API and workers in the middle of such a batch: who succeeded, calls seen
bridge-kill  SIGKILL of a bridge in mid-call, over each transport and door: who gets the image, calls seen
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1] / "kit"))
sys.path.insert(0, str(Path(__file__).parents[1] / "mcp"))

from batch_drills import batch_kill, batch_load
from bridge_drills import bridge_kill, bridge_load
from drill_kit import ended, own_fleet, until

from imagequeue.jobs import AttemptOutcome, JobState
from sandbox.stack.s3_server import start_s3

OUTAGE_SECONDS: Final = 60.0


def takeover() -> None:
    """100 calls of 20 s in flight on one worker of two; it is killed."""
    with own_fleet() as (fleet, _, _folder):
        fleet.sandbox.set_latency(20)
        victim = fleet.start_worker()
        jobs = [fleet.submit(f"takeover {number}") for number in range(100)]
        until("100 calls in flight", lambda: len(fleet.sandbox.calls()) == 100)
        fleet.start_worker()
        fleet.sandbox.set_latency(0.2)
        victim.send_signal(signal.SIGKILL)
        killed_ms = time.time() * 1000
        after = ended(fleet, jobs)
        seconds = sorted((job.attempts[1].started - killed_ms) / 1000 for job in after)
        unknown = sum(attempt.outcome is AttemptOutcome.UNKNOWN for job in after for attempt in job.attempts)
        calls = len(fleet.sandbox.calls())
        print(
            f"takeover: SIGKILL with 100 calls in flight (lease {fleet.settings.lease_seconds:g} s): all taken over "
            f"{seconds[-1]:.1f} s after it (the first after {seconds[0]:.1f} s); "
            f"{sum(job.state is JobState.SUCCEEDED for job in after)} of 100 succeeded; {calls} calls seen, "
            f"{calls - 100} beyond 100, attempts shown as unknown {unknown}; doubled in silence {calls - 100 - unknown}"
        )


def limiter() -> None:
    """200 jobs at 60 images a minute, enforced by the sandbox over every window of 60 s."""
    limit, count = 60, 200
    with own_fleet() as (fleet, _, _folder), fleet.sandbox.limited(limit, 60):
        for _ in range(3):
            fleet.start_worker(IMAGEQUEUE_IMAGES_PER_MINUTE=str(limit))
        jobs = [fleet.submit(f"limited {number}") for number in range(count)]
        after = ended(fleet, jobs)
        calls = fleet.sandbox.calls()
        refused = sum(call["status"] == 429 for call in calls)
        times = sorted(call["received_ms"] for call in calls)
        minutes = (times[-1] - times[0]) / 60_000
        print(
            f"limiter: 3 workers, {count} jobs, {limit} images a minute: {len(calls)} calls, {refused} answered 429; "
            f"{sum(job.state is JobState.SUCCEEDED for job in after)} succeeded; "
            f"{(count - 1) / minutes:.1f} a minute, {(count - 1) / minutes / limit:.1%} of the permitted rate"
        )


def s3_outage() -> None:
    """50 calls in flight; S3 is away when their answers come, for 60 s."""
    with own_fleet() as (fleet, s3, folder):
        fleet.sandbox.set_latency(3)
        fleet.start_worker()
        jobs = [fleet.submit(f"outage {number}") for number in range(50)]
        until("50 calls in flight", lambda: len(fleet.sandbox.calls()) == 50)
        s3.stop()
        stopped = time.monotonic()
        until(f"S3 is away for {OUTAGE_SECONDS:g} s", lambda: time.monotonic() - stopped > OUTAGE_SECONDS)
        back = start_s3(folder / "s3")
        after = ended(fleet, jobs)
        back.stop()
        images = sum(len(job.images) for job in after)
        print(
            f"s3-outage: {OUTAGE_SECONDS:g} s without S3 and 50 jobs in flight: {images} images stored, "
            f"{len(fleet.sandbox.calls())} calls seen"
        )


DRILLS: Final[dict[str, Callable[[], None]]] = {
    "takeover": takeover,
    "limiter": limiter,
    "s3-outage": s3_outage,
    "batch-load": batch_load,
    "batch-kill": batch_kill,
    "bridge-load": bridge_load,
    "bridge-kill": bridge_kill,
}


def main() -> None:
    """Run the drills that are named, all by default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drills", nargs="*", choices=[*DRILLS, []], help="which to run; all by default")
    for name in parser.parse_args().drills or DRILLS:
        DRILLS[name]()


if __name__ == "__main__":
    main()
