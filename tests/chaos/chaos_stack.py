"""The whole product as processes of its own, with a proxy on every link: each part can be hurt and comes back.

To be used from one thread, the main one: on Linux a process ends with the thread that started it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast

from chaos_services import JOURNAL, KEY_PREFIX, Blueprint
from fault_proxy import LINK_HOST, FaultProxy, Mode
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from scenario import LinkAction, Plan, PlannedFault, links_of

from imagequeue.store.keys import Keys
from sandbox.stack.ports import HOST, choose_port
from sandbox.stack.processes import Service, kill_group, spawn, wait_until
from sandbox.stack.state import open_folder

_START_SECONDS: Final = 30.0
_MODES: Final[Mapping[LinkAction, Mode]] = {
    "cut": Mode.CUT,
    "drop": Mode.DROP,
    "silence": Mode.PAUSE,
    "slow": Mode.SLOW,
}


@dataclass
class Part:
    """One process of the stack and how it stands."""

    service: Service
    process: subprocess.Popen[bytes] | None = None
    held_down: bool = False  # a fault keeps it from being started again
    starting: bool = False
    told: bool = False  # to end, by a fault
    refused: bool = False  # links to it are cut, because nobody listens there
    deaths: int = 0  # that no fault asked for


class ChaosStack:
    """Redis, S3, sandbox, workers and API in `folder`, joined by a proxy."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = open_folder(folder)
        self.plan = plan
        self.proxy = FaultProxy()
        self.ports = {name: choose_port() for name in ("redis", "s3", "sandbox", "api")}
        self.journal_file = folder / JOURNAL
        self.keys = Keys(KEY_PREFIX)
        self.parts: dict[str, Part] = {}
        self._ways: dict[str, int] = {}  # the proxy's port of each link
        self._link_faults: dict[str, tuple[Mode, float]] = {}
        self._redis = Redis(
            port=self.ports["redis"], decode_responses=True, socket_timeout=2, retry=Retry(NoBackoff(), 0)
        )

    def __enter__(self) -> Self:
        """Start everything and wait until it serves."""
        self.proxy.__enter__()
        try:
            self._ways = {name: self.proxy.add(name, self.ports[end]) for name, end in links_of(self.plan.workers)}
            blueprint = Blueprint(self.folder, self.plan, self.ports, self._ways)
            self.parts = {name: Part(service) for name, service in blueprint.services().items()}
            for name in ("redis", "s3", "sandbox"):
                self._start(name)
            self.wait_healthy()
            for name in ("api", *self.plan.workers):
                self._start(name)
            self.wait_healthy()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End everything at once."""
        for part in reversed(self.parts.values()):
            if part.process is not None:
                kill_group(part.process)
        self._redis.close()
        self.proxy.__exit__(kind, error, traceback)

    @property
    def api_url(self) -> str:
        """The API as the clients reach it: through the proxy."""
        return f"http://{LINK_HOST}:{self._ways['client→api']}"

    @property
    def direct_api_url(self) -> str:
        """The API itself."""
        return f"http://{HOST}:{self.ports['api']}"

    @property
    def sandbox_url(self) -> str:
        """The sandbox itself."""
        return f"http://{HOST}:{self.ports['sandbox']}"

    @property
    def redis(self) -> Any:
        """A client of Redis itself, which gives up after 2 s."""
        return self._redis

    def begin(self, fault: PlannedFault) -> None:
        """Let a part or a link suffer."""
        if fault.target in self.parts:
            self._hurt(fault.target, fault.action)
        elif fault.action == "reset":
            self.proxy.reset(fault.target)
        else:
            self._link_faults[fault.target] = (_MODES[cast("LinkAction", fault.action)], fault.strength)
            self._apply(fault.target)

    def end(self, fault: PlannedFault) -> None:
        """Let it recover."""
        if fault.target in self.parts:
            self._mend(fault.target)
        elif self._link_faults.pop(fault.target, None):
            self._apply(fault.target)

    def tick(self) -> None:
        """Start again what ended by itself, as a supervisor does, and let links pass to what serves again."""
        for name, part in self.parts.items():
            if part.process is None:
                continue
            ended = part.process.poll() is not None
            if ended and not part.refused:
                part.refused = True
                self._apply_to(name)
            if part.held_down:
                continue
            if ended:
                part.deaths += not part.told
                self._start(name)
            elif part.starting and self._serves(name):
                part.starting = part.refused = False
                self._apply_to(name)

    def wait_healthy(self) -> None:
        """Wait until all that was started serves.

        Raises:
            TimeoutError: something does not after 30 s.
        """

        def settled() -> bool:
            self.tick()
            return not any(part.starting for part in self.parts.values())

        if not wait_until(settled, _START_SECONDS):
            late = [name for name, part in self.parts.items() if part.starting]
            raise TimeoutError(f"{', '.join(late)} did not start within {_START_SECONDS:g} s; see {self.folder}/logs")

    def _hurt(self, name: str, action: str) -> None:
        part = self.parts[name]
        if part.process is None:
            return
        part.held_down, part.told = True, action != "pause"
        if action == "kill":
            kill_group(part.process)  # `tick` cuts the links to it
        else:
            self._signal(part.process, signal.SIGTERM if action == "stop" else signal.SIGSTOP)

    def _mend(self, name: str) -> None:
        part = self.parts[name]
        if part.process is None:
            return
        self._signal(part.process, signal.SIGCONT)
        part.held_down = False
        # One that was told to stop and has not ended yet ends in its own time; `tick` then starts it again.
        if part.process.poll() is not None:
            self._start(name)

    @staticmethod
    def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)

    def _start(self, name: str) -> None:
        part = self.parts[name]
        if part.process is not None:
            kill_group(part.process)  # its children may still hold its port
        part.process, part.starting, part.told = spawn(part.service), True, False

    def _serves(self, name: str) -> bool:
        part = self.parts[name]
        if name not in self.plan.workers:
            return part.service.healthy()
        try:
            workers = cast("list[str]", self.redis.zrange(self.keys.workers, 0, -1))
        except RedisError:
            return False
        return any(f"-{part.process.pid}-" in worker for worker in workers) if part.process else False

    def _apply_to(self, part: str) -> None:
        for link, end in links_of(self.plan.workers):
            if end == part:
                self._apply(link)

    def _apply(self, link: str) -> None:
        """A link to a dead server refuses, as the server's own port would."""
        end = dict(links_of(self.plan.workers))[link]
        mode, delay = (Mode.CUT, 0.0) if self.parts[end].refused else self._link_faults.get(link, (Mode.PASS, 0.0))
        self.proxy.set_mode(link, mode, delay)
