"""Starts services stage by stage, restarts those that end, and stops them in reverse order."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from sandbox.stack.errors import StackError
from sandbox.stack.processes import Service, check_alive, describe_exit, kill_group, not_healthy, spawn
from sandbox.stack.signals import SignalWaiter

_HEALTH_POLL_SECONDS = 0.05
_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 30.0
_SETTLED_SECONDS = 60.0  # having run this long, a service starts again with the first backoff


@dataclass
class _Running:
    """A service that was started, and how its restarts stand."""

    service: Service
    process: subprocess.Popen[bytes]
    started_at: float
    quick_ends: int = 0
    restart_at: float | None = None  # set while it is down


class Supervisor:
    """Owns the processes of the services; to be used from the main thread."""

    def __init__(self, services: Sequence[Service], signals: SignalWaiter, say: Callable[[str, str], None]) -> None:
        """Nothing starts yet. `say` prints a line in a rich style."""
        self._services = sorted(services, key=lambda service: service.stage)
        self._signals = signals
        self._say = say
        self._running: list[_Running] = []

    def start(self) -> bool:
        """Start each stage at once, when the one before it is healthy; False when told to stop meanwhile.

        Raises:
            ServiceFailed: a service ended, or missed its deadline. What was started still runs: call `stop`.
        """
        for _, services in groupby(self._services, key=lambda service: service.stage):
            stage = list(services)
            for service in stage:
                self._running.append(_Running(service, spawn(service), time.monotonic()))
            if not self._await_stage(stage):
                return False
        return True

    def _await_stage(self, stage: Sequence[Service]) -> bool:
        for service in stage:
            if not self._await_health(service):
                return False
            self._say(f"  {service.name:<9} {service.address:<32} log: {service.log}", "green")
        return True

    def watch(self) -> None:
        """Restart what ends, until told to stop."""
        while not self._signals.stop_requested:
            for running in self._running:
                self._revive(running)
            due = [running.restart_at for running in self._running if running.restart_at is not None]
            self._signals.wait(max(0.0, min(due) - time.monotonic()) if due else None)

    def stop(self) -> None:
        """Stop everything, last started first; what does not end in its time is killed with its group."""
        for _, stage in groupby(reversed(self._running), key=lambda running: running.service.stage):
            self._stop_together(list(stage))
        self._running.clear()

    def _await_health(self, service: Service) -> bool:
        deadline = time.monotonic() + service.start_seconds
        while not service.healthy():
            self._check_all_alive()
            if time.monotonic() >= deadline:
                raise not_healthy(service)
            self._signals.wait(_HEALTH_POLL_SECONDS)
            if self._signals.stop_requested:
                return False
        self._check_all_alive()  # somebody else may have answered on its port
        return True

    def _check_all_alive(self) -> None:
        for running in self._running:
            check_alive(running.service, running.process)

    def _revive(self, running: _Running) -> None:
        now = time.monotonic()
        if running.restart_at is None:
            if (code := running.process.poll()) is not None:
                kill_group(running.process)  # its children may still hold its port
                self._plan_restart(running, describe_exit(code))
        elif now >= running.restart_at:
            running.restart_at = None
            running.started_at = now
            try:
                running.process = spawn(running.service)
            except StackError as error:
                self._plan_restart(running, f"did not start again: {error}")

    def _plan_restart(self, running: _Running, what: str) -> None:
        now = time.monotonic()
        settled = now - running.started_at >= _SETTLED_SECONDS
        running.quick_ends = 1 if settled else running.quick_ends + 1
        backoff = min(_FIRST_BACKOFF_SECONDS * 2 ** (running.quick_ends - 1), _LONGEST_BACKOFF_SECONDS)
        running.restart_at = now + backoff
        service = running.service
        self._say(f"{service.name} {what}; starting it again in {backoff:g} s. Log: {service.log}", "yellow")

    def _stop_together(self, stage: list[_Running]) -> None:
        for running in stage:
            running.process.terminate()
        deadline = time.monotonic() + max(running.service.stop_seconds for running in stage)
        alive = [running for running in stage if running.process.poll() is None]
        while alive and (left := deadline - time.monotonic()) > 0:
            self._signals.wait(left)
            alive = [running for running in alive if running.process.poll() is None]
        for running in alive:
            service = running.service
            note = f": {service.killed_note}" if service.killed_note else ""
            self._say(f"{service.name} did not stop in {service.stop_seconds:g} s and was killed{note}", "yellow")
        for running in stage:
            kill_group(running.process)
