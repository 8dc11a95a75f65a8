"""Services for a benchmark: Redis, S3 and sandbox of its own, and imagequeue's processes on them; what they use."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final, cast

import httpx2

from imagequeue.service import ImageQueue, open_queue
from imagequeue.settings import Settings, load_settings
from imagequeue.store.connection import RedisClient, connect
from imagequeue.store.fleet import FleetStore
from imagequeue.store.keys import Keys
from sandbox.stack.ports import HOST, choose_port
from sandbox.stack.processes import Service, start_healthy, stop
from sandbox.stack.redis_server import start_redis
from sandbox.stack.s3_server import start_s3

PROGRAM: Final = str(Path(sys.executable).with_name("imagequeue"))
_STOP_SECONDS: Final = 30.0
_LONG_MS: Final = 86_400_000
_OWN: Final = ("IMAGEQUEUE_", "OPENAI_", "AWS_")


@dataclass(frozen=True)
class Bench:
    """Services that run, and this process's door to them; this process's environment points at them, too."""

    folder: Path
    environment: dict[str, str]
    settings: Settings
    queue: ImageQueue
    redis: RedisClient
    sandbox_url: str
    cleanup: ExitStack

    def start(self, name: str, command: tuple[str, ...], healthy: Callable[[], bool], **settings: str) -> int:
        """Start a process that ends with the services, wait until it is healthy, and give its process id."""
        service = Service(
            name=name,
            command=command,
            environment={**self.environment, **settings},
            log=self.folder / f"{name}.log",
            healthy=healthy,
            stage=0,
        )
        process = start_healthy(service)
        self.cleanup.callback(stop, process, _STOP_SECONDS)
        return process.pid

    def start_workers(
        self, count: int = 1, command: tuple[str, ...] = (PROGRAM, "worker"), **settings: str
    ) -> list[int]:
        """Start workers and wait until each is known to the fleet."""
        return [self._start_worker(command, settings) for _ in range(count)]

    def _start_worker(self, command: tuple[str, ...], settings: Mapping[str, str]) -> int:
        fleet = FleetStore(self.redis, Keys(self.settings.key_prefix))
        known = fleet.live_workers(_LONG_MS)
        return self.start(
            f"worker-{len(known)}", command, lambda: len(fleet.live_workers(_LONG_MS)) > len(known), **settings
        )

    def start_api(self, processes: int = 2, **settings: str) -> tuple[int, int]:
        """Start an API and wait until it answers; its port and its process id."""
        port = choose_port()
        own = {"IMAGEQUEUE_API_PORT": str(port), "IMAGEQUEUE_API_PROCESSES": str(processes), **settings}
        return port, self.start(f"api-{port}", (PROGRAM, "api"), lambda: answers(port, "/healthz"), **own)

    @contextmanager
    def apart(self, name: str) -> Generator[Bench]:
        """The same services, with records and a spool of their own; what is started there ends with the block."""
        own = {"key_prefix": f"{name}:", "spool_dir": self.folder / f"spool-{name}"}
        settings = self.settings.model_copy(update=own)
        environment = {f"IMAGEQUEUE_{field.upper()}": str(value) for field, value in own.items()}
        with ExitStack() as cleanup:
            queue = open_queue(settings)
            cleanup.callback(queue.close)
            yield replace(
                self, environment={**self.environment, **environment}, settings=settings, queue=queue, cleanup=cleanup
            )

    def set_sandbox(self, **settings: object) -> None:
        """Change the sandbox: `latency_seconds`, `image_bytes`, limits."""
        httpx2.post(f"{self.sandbox_url}/sandbox/settings", json=settings).raise_for_status()

    def redis_info(self, section: str) -> dict[str, Any]:
        """What INFO says of a section."""
        return cast("dict[str, Any]", cast("Any", self.redis).info(section))


@contextmanager
def services(**settings: str) -> Generator[Bench]:
    """Redis, S3 and sandbox, new and empty. `settings` are environment variables of imagequeue's."""
    kept = dict(os.environ)
    with tempfile.TemporaryDirectory() as name, ExitStack() as cleanup:
        folder = Path(name)
        cleanup.callback(_restore, kept)
        redis = start_redis(folder)
        cleanup.callback(redis.stop)
        s3 = start_s3(folder)
        cleanup.callback(s3.stop)
        port = choose_port()
        clean = {name: value for name, value in kept.items() if not name.startswith(_OWN)}
        environment = {
            **clean,
            "IMAGEQUEUE_REDIS_URL": redis.url,
            "IMAGEQUEUE_S3_ENDPOINT": s3.endpoint,
            "IMAGEQUEUE_S3_BUCKET": s3.bucket,
            "IMAGEQUEUE_SPOOL_DIR": str(folder / "spool"),
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key,
            "OPENAI_BASE_URL": f"http://{HOST}:{port}/v1",
            "OPENAI_API_KEY": "sandbox",
            "IMAGEQUEUE_LOG_LEVEL": "error",
            **settings,
        }
        os.environ.clear()
        os.environ.update(environment)
        loaded = load_settings()
        queue = open_queue(loaded)
        cleanup.callback(queue.close)
        client = connect(loaded.redis_url)
        cleanup.callback(client.close)
        bench = Bench(folder, environment, loaded, queue, client, f"http://{HOST}:{port}", cleanup)
        bench.start(
            "sandbox",
            (PROGRAM, "sandbox", "--host", HOST, "--port", str(port)),
            lambda: answers(port, "/healthz"),
        )
        yield bench


def answers(port: int, path: str) -> bool:
    """Whether a GET on a loopback port is answered with 200."""
    connection = HTTPConnection(HOST, port, timeout=3)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def children(pid: int) -> list[int]:
    """The processes that a process has started and that still run."""
    threads = Path(f"/proc/{pid}/task").glob("*/children")  # of each the ones that it has started
    return [int(child) for thread in threads for child in thread.read_text().split()]


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of the processes so far."""
    return sum(_cpu_seconds(pid) for pid in pids)


def peak_mb(pid: int) -> float:
    """The largest resident set that a process had since `reset_peak`, or ever, in MB (10^6 bytes)."""
    return _status_kb(pid, "VmHWM") * 1024 / 1e6


def resident_mb(pid: int) -> float:
    """A process's resident set now, in MB (10^6 bytes)."""
    return _status_kb(pid, "VmRSS") * 1024 / 1e6


def reset_peak(pid: int) -> None:
    """Let `peak_mb` count from now on; Linux's /proc/PID/clear_refs, 5."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _restore(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


def _status_kb(pid: int, field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) if found else 0


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
