"""How each process of the stack is started, joined to the others by links of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from fault_proxy import LINK_HOST
from scenario import Plan

from sandbox.stack.ports import HOST
from sandbox.stack.processes import Service
from sandbox.stack.redis_server import redis_service
from sandbox.stack.s3_server import BUCKET, REGION, s3_service
from sandbox.stack.services import http_ok
from sandbox.stack.state import load_remembered

PROGRAM: Final = str(Path(sys.executable).with_name("imagequeue"))
_SANDBOX: Final = str(Path(__file__).with_name("distinct_sandbox.py"))
KEY_PREFIX: Final = "chaos:"
JOURNAL: Final = "journal.jsonl"
_OWN_VARIABLES: Final = ("IMAGEQUEUE_", "OPENAI_", "AWS_")


@dataclass(frozen=True)
class Blueprint:
    """Where the parts of a stack are: their own ports, and the proxy's port of each link."""

    folder: Path
    plan: Plan
    ports: Mapping[str, int]
    ways: Mapping[str, int]

    def services(self) -> dict[str, Service]:
        """Every part, in the order in which they can start."""
        workers = [self._worker(name) for name in self.plan.workers]
        s3 = s3_service(self.folder, self.ports["s3"])
        return {service.name: service for service in (self._redis(), s3, self._sandbox(), self._api(), *workers)}

    def _redis(self) -> Service:
        service = redis_service(self.folder, self.ports["redis"])
        # Only processes are killed here, never the machine. Without fsync every write is in the kernel before its
        # answer leaves; with it, Redis may answer first while a slow disk syncs.
        return replace(service, command=(*service.command, "--appendfsync", "no"))

    def _sandbox(self) -> Service:
        port = self.ports["sandbox"]
        command = (sys.executable, _SANDBOX, "--port", str(port), "--journal", str(self.folder / JOURNAL))
        return self._service("sandbox", command, _inherited(), partial(http_ok, port, "/healthz"))

    def _api(self) -> Service:
        port = self.ports["api"]
        own = {"IMAGEQUEUE_API_HOST": HOST, "IMAGEQUEUE_API_PORT": str(port)}
        return self._service(
            "api", (PROGRAM, "api"), self._environment("api") | own, partial(http_ok, port, "/healthz")
        )

    def _worker(self, name: str) -> Service:
        own = {"OPENAI_BASE_URL": f"http://{LINK_HOST}:{self.ways[f'{name}→openai']}/v1", "OPENAI_API_KEY": "sandbox"}
        # Redis tells whether it lives: see ChaosStack.
        return self._service(name, (PROGRAM, "worker"), self._environment(name) | own, lambda: True)

    def _service(
        self, name: str, command: tuple[str, ...], environment: Mapping[str, str], healthy: Callable[[], bool]
    ) -> Service:
        log = self.folder / "logs" / f"{name}.log"
        return Service(name=name, command=command, environment=environment, log=log, healthy=healthy, stage=0)

    def _environment(self, name: str) -> dict[str, str]:
        keys = load_remembered(self.folder)
        own = {
            "IMAGEQUEUE_REDIS_URL": f"redis://{LINK_HOST}:{self.ways[f'{name}→redis']}/0",
            "IMAGEQUEUE_BROKER_URL": f"redis://{LINK_HOST}:{self.ways[f'{name}→broker']}/0",
            "IMAGEQUEUE_KEY_PREFIX": KEY_PREFIX,
            "IMAGEQUEUE_S3_ENDPOINT": f"http://{LINK_HOST}:{self.ways[f'{name}→s3']}",
            "IMAGEQUEUE_S3_BUCKET": BUCKET,
            "IMAGEQUEUE_SPOOL_DIR": str(self.folder / "spool" / name),
            "AWS_ACCESS_KEY_ID": keys.s3_access_key,
            "AWS_SECRET_ACCESS_KEY": keys.s3_secret_key,
            "AWS_REGION": REGION,
            "PYTHONUNBUFFERED": "1",
        }
        return {**_inherited(), **own, **self.plan.settings}


def _inherited() -> dict[str, str]:
    """The environment without what would point to somebody's own servers."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OWN_VARIABLES)}
