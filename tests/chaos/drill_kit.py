"""What the drills share: a fleet of their own, and waiting where people see it."""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from fleet_kit import Fleet, make_fleet, start_sandbox
from rich.console import Console

from imagequeue.jobs import Job
from sandbox.stack.processes import stop, wait_until
from sandbox.stack.redis_server import start_redis
from sandbox.stack.s3_server import REGION, RunningS3, start_s3

PATIENCE_SECONDS: Final = 600.0
_console = Console(stderr=True)


@contextmanager
def own_fleet() -> Generator[tuple[Fleet, RunningS3, Path]]:
    """Redis, S3, sandbox and a queue of their own, without workers."""
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="drill-")))
        redis, s3 = start_redis(folder / "redis"), start_s3(folder / "s3")
        sandbox = start_sandbox(folder)
        cleanup.callback(redis.stop)
        cleanup.callback(s3.stop)
        cleanup.callback(stop, sandbox.process, seconds=5)
        environment = {
            "IMAGEQUEUE_REDIS_URL": redis.url,
            "IMAGEQUEUE_S3_ENDPOINT": s3.endpoint,
            "IMAGEQUEUE_S3_BUCKET": s3.bucket,
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key,
            "AWS_REGION": REGION,
            "IMAGEQUEUE_KEY_PREFIX": f"drill-{uuid.uuid4().hex}:",
            "IMAGEQUEUE_SPOOL_DIR": str(folder / "spool"),
            "OPENAI_BASE_URL": f"{sandbox.url}/v1",
            "OPENAI_API_KEY": "sandbox",
        }
        fleet = make_fleet(dict(os.environ) | environment, sandbox, folder)
        cleanup.callback(fleet.close)
        yield fleet, s3, folder


def until(what: str, condition: Callable[[], bool]) -> float:
    """Wait for it with a spinner; seconds that it took."""
    started = time.monotonic()
    with _console.status(what):
        assert wait_until(condition, PATIENCE_SECONDS), f"not within {PATIENCE_SECONDS:g} s: {what}"
    return time.monotonic() - started


def ended(fleet: Fleet, jobs: list[Job]) -> list[Job]:
    """The jobs once all have ended."""
    until(f"{len(jobs)} jobs end", lambda: all(fleet.queue.get(job.id).state.terminal for job in jobs[-1:] + jobs))
    return [fleet.queue.get(job.id) for job in jobs]
