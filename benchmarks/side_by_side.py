"""What every benchmark shares: services of its own, paired runs, one table."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagequeue.service import ImageQueue, open_queue
from imagequeue.settings import Settings, load_settings
from sandbox.stack.ports import HOST, choose_port
from sandbox.stack.processes import wait_until
from sandbox.stack.redis_server import start_redis
from sandbox.stack.s3_server import start_s3

PROGRAM = str(Path(sys.executable).with_name("imagequeue"))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Paired figures: ours and what one would use instead, in the same unit."""

    name: str
    unit: str
    ours: tuple[float, ...]
    instead: tuple[float, ...]
    instead_is: str

    def text(self) -> str:
        """One line for people."""
        ours, instead = statistics.median(self.ours), statistics.median(self.instead)
        return (
            f"{self.name}: {ours:.3g} {self.unit} (min {min(self.ours):.3g}, max {max(self.ours):.3g}), "
            f"{self.instead_is}: {instead:.3g} {self.unit} (min {min(self.instead):.3g}, max {max(self.instead):.3g}), "
            f"ratio {ours / instead:.2f}, {len(self.ours)} paired runs"
        )

    def markdown(self) -> str:
        """A list item for RESULTS.md."""
        return f"- {self.text()}"


def compare(
    name: str, unit: str, ours: Callable[[int], float], instead: Callable[[int], float], instead_is: str, runs: int
) -> Comparison:
    """Run both in turn, `runs` times, after one warm-up of each."""
    ours(-1)
    instead(-1)
    pairs = [(ours(number), instead(number)) for number in range(runs)]
    return Comparison(name, unit, tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs), instead_is)


@contextmanager
def services(latency_seconds: float, **settings: str) -> Generator[tuple[ImageQueue, Settings]]:
    """Redis, S3, sandbox and one worker; this process's environment points at them meanwhile."""
    kept = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as cleanup:
        data = Path(folder)
        redis, s3 = start_redis(data), start_s3(data)
        cleanup.callback(redis.stop)
        cleanup.callback(s3.stop)
        port = choose_port()
        sandbox = subprocess.Popen(
            [PROGRAM, "sandbox", "--host", HOST, "--port", str(port), "--latency", str(latency_seconds)]
        )
        cleanup.callback(sandbox.wait)
        cleanup.callback(sandbox.terminate)
        os.environ.update(
            {
                "IMAGEQUEUE_REDIS_URL": redis.url,
                "IMAGEQUEUE_S3_ENDPOINT": s3.endpoint,
                "IMAGEQUEUE_S3_BUCKET": s3.bucket,
                "IMAGEQUEUE_SPOOL_DIR": str(data / "spool"),
                "AWS_ACCESS_KEY_ID": s3.access_key,
                "AWS_SECRET_ACCESS_KEY": s3.secret_key,
                "OPENAI_BASE_URL": f"http://{HOST}:{port}/v1",
                "OPENAI_API_KEY": "sandbox",
                "IMAGEQUEUE_LOG_LEVEL": "error",
                **settings,
            }
        )
        cleanup.callback(lambda: (os.environ.clear(), os.environ.update(kept)))
        worker = subprocess.Popen([PROGRAM, "worker"], stdout=subprocess.DEVNULL)
        cleanup.callback(worker.wait)
        cleanup.callback(worker.terminate)
        loaded = load_settings()
        queue = open_queue(loaded)
        cleanup.callback(queue.close)
        assert wait_until(lambda: queue.health()["workers"].ok, 30), "the worker does not start"
        yield queue, loaded
