"""What the worker tests share: real Redis, S3 and sandbox, worker processes, and the provider's side of the story."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

import httpx2
from redis import Redis

from imagequeue.jobs import Job
from imagequeue.requests import parse_request
from imagequeue.service import ImageQueue, open_queue
from imagequeue.settings import Settings
from imagequeue.store.keys import Keys
from sandbox.stack.ports import HOST, choose_port
from sandbox.stack.processes import Service, start_healthy, wait_until

PATIENCE_SECONDS: Final = 30.0
LEASE_SECONDS: Final = 2
PROGRAM: Final = str(Path(sys.executable).with_name("imagequeue"))


@dataclass(frozen=True)
class SandboxProcess:
    """A sandbox image server and its admin door."""

    url: str
    process: subprocess.Popen[bytes]

    def calls(self, prompt: str | None = None) -> list[dict[str, Any]]:
        """The calls that it received, of one prompt or all."""
        answer = httpx2.get(f"{self.url}/sandbox/calls").raise_for_status().json()
        return [call for call in answer["calls"] if prompt is None or call["prompt"] == prompt]

    def calls_beginning(self, words: str) -> list[dict[str, Any]]:
        """The calls whose prompts begin so, in the order of their arrival."""
        return [call for call in self.calls() if str(call["prompt"]).startswith(words)]

    def add_fault(self, fault: Mapping[str, object], *, prompt: str, times: int = 1) -> None:
        """Let the next calls with this prompt suffer."""
        spec = {"fault": fault, "times": times, "match": {"prompt_contains": prompt}}
        httpx2.post(f"{self.url}/sandbox/faults", json=spec).raise_for_status()

    def calm(self) -> None:
        """Answer at once, and forget the faults that a test before has left."""
        self.set_latency(0)
        httpx2.delete(f"{self.url}/sandbox/faults").raise_for_status()

    def add_fault_at(self, endpoint: str, fault: Mapping[str, object], *, prompt: str | None = None) -> None:
        """Let the next call of an endpoint (`POST /v1/batches`, `BATCH /v1/images/edits` for lines) suffer."""
        match = {"endpoint": endpoint} if prompt is None else {"endpoint": endpoint, "prompt_contains": prompt}
        httpx2.post(f"{self.url}/sandbox/faults", json={"fault": fault, "match": match}).raise_for_status()

    def files(self) -> list[dict[str, Any]]:
        """The files that were uploaded, or given by batches, and not deleted."""
        return cast("list[dict[str, Any]]", httpx2.get(f"{self.url}/sandbox/files").raise_for_status().json()["files"])

    def set_latency(self, seconds: float) -> None:
        """How long each answer takes."""
        self._set(latency_seconds=seconds)

    @contextlib.contextmanager
    def limited(self, images: int, seconds: float) -> Generator[None]:
        """Refuse what goes beyond so many images in any such time, until the block ends."""
        self._set(images_per_minute=images, limit_window_seconds=seconds)
        try:
            yield
        finally:
            self._set(images_per_minute=None, limit_window_seconds=60.0)

    @contextlib.contextmanager
    def batches_with(self, *, step_seconds: float = 0.0, window_seconds: float = 86_400.0) -> Generator[None]:
        """Let batches take so long for each step and expire so soon, until the block ends."""
        self._set(batch_step_seconds=step_seconds, batch_window_seconds=window_seconds)
        try:
            yield
        finally:
            self._set(batch_step_seconds=0.0, batch_window_seconds=86_400.0)

    @contextlib.contextmanager
    def batches_failing(self, code: str) -> Generator[None]:
        """Fail every new batch at its validation, until the block ends."""
        self._set(batch_error={"code": code, "message": f"told to: {code}"})
        try:
            yield
        finally:
            self._set(batch_error=None)

    @contextlib.contextmanager
    def account_blocked(self, status: int, code: str) -> Generator[None]:
        """Refuse every paid call as one of an account that OpenAI does not serve, until the block ends."""
        self._set(account_error={"status": status, "code": code})
        try:
            yield
        finally:
            self._set(account_error=None)

    def _set(self, **settings: object) -> None:
        httpx2.post(f"{self.url}/sandbox/settings", json=settings).raise_for_status()


def start_sandbox(folder: Path) -> SandboxProcess:
    """Start a sandbox on a free port and wait until it answers."""
    port = choose_port()
    service = Service(
        name="sandbox",
        command=(PROGRAM, "sandbox", "--host", HOST, "--port", str(port)),
        environment=dict(os.environ),
        log=folder / "sandbox.log",
        healthy=lambda: answers(port, "/healthz"),
        stage=0,
    )
    return SandboxProcess(f"http://{HOST}:{port}", start_healthy(service))


def answers(port: int, path: str) -> bool:
    """Whether a GET on a loopback port is answered with 200."""
    with contextlib.closing(HTTPConnection(HOST, port, timeout=3)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False


@dataclass
class Fleet:
    """One imagequeue of its own: a key prefix, workers, and the door to it."""

    environment: dict[str, str]
    settings: Settings
    queue: ImageQueue
    sandbox: SandboxProcess
    folder: Path
    redis: Any  # the raw client, for looking behind the store
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    def start_worker(self, **changes: str) -> subprocess.Popen[bytes]:
        """Start a worker process and wait for its first sign of life."""
        service = Service(
            name="worker",
            command=(PROGRAM, "worker"),
            environment=self.environment | changes,
            log=self.folder / f"worker-{len(self.workers)}.log",
            healthy=lambda: len(self.alive()) > before,
            stage=0,
        )
        before = len(self.alive())
        process = start_healthy(service)
        self.workers.append(process)
        return process

    def alive(self) -> list[str]:
        """The worker processes that the store knows of."""
        return cast("list[str]", self.redis.zrange(Keys(self.settings.key_prefix).workers, 0, -1))

    def submit(self, prompt: str, **fields: object) -> Job:
        """Submit a small job."""
        request = {"type": "generate", "prompt": prompt, "quality": "low", "output_format": "jpeg", **fields}
        return self.queue.submit(parse_request(request)).job

    def finished(self, job: Job) -> Job:
        """The job once it has ended; the test fails when it does not end."""
        job = self.queue.wait(job.id, PATIENCE_SECONDS)
        assert job.state.terminal, f"{job.id} is still {job.state} after {PATIENCE_SECONDS} s: {job}"
        return job

    def in_call(self, prompt: str, times: int = 1) -> None:
        """Wait until the sandbox has received the prompt's call."""
        received = wait_until(lambda: len(self.sandbox.calls(prompt)) >= times, PATIENCE_SECONDS)
        assert received, f"no call for {prompt!r}"

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """End a worker without a warning."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.workers.remove(process)

    def eventually(self, condition: Callable[[], bool]) -> None:
        """Wait for what no event announces."""
        assert wait_until(condition, PATIENCE_SECONDS)

    def close(self) -> None:
        """End the workers, without waiting for what they do, and the door."""
        for process in tuple(self.workers):
            self.kill(process)
        self.queue.close()
        self.redis.close()


def make_fleet(environment: dict[str, str], sandbox: SandboxProcess, folder: Path) -> Fleet:
    """A fleet without workers on the services that the environment names."""
    settings = settings_of(environment)
    return Fleet(
        environment=environment,
        settings=settings,
        queue=open_queue(settings),
        sandbox=sandbox,
        folder=folder,
        redis=Redis.from_url(settings.redis_url, decode_responses=True),  # pyright: ignore[reportUnknownMemberType]
    )


def own_fleet(services: Mapping[str, str], sandbox: SandboxProcess, folder: Path) -> Fleet:
    """A queue without workers, under a key prefix of its own."""
    own = {
        **services,
        "IMAGEQUEUE_KEY_PREFIX": f"test-{uuid.uuid4().hex}:",
        "IMAGEQUEUE_LEASE_SECONDS": str(LEASE_SECONDS),
        "IMAGEQUEUE_SPOOL_DIR": str(folder / "spool"),
        "OPENAI_BASE_URL": f"{sandbox.url}/v1",
        "OPENAI_API_KEY": "sandbox",
    }
    return make_fleet(dict(os.environ) | own, sandbox, folder)


def settings_of(environment: Mapping[str, str]) -> Settings:
    """The settings that a process started with this environment would have."""
    kept = dict(os.environ)
    os.environ.update(environment)
    try:
        return Settings()
    finally:
        os.environ.clear()
        os.environ.update(kept)


def port_of(url: str) -> int:
    """The port in a URL."""
    port = urlsplit(url).port
    assert port
    return port
