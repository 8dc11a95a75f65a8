"""Single services under supervision: what counts as healthy, and what an earlier stack's leftovers do."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.stack.errors import ProgramMissing, ServiceFailed
from sandbox.stack.processes import Service, spawn, start_healthy, stop, try_lock, wait_until
from sandbox.stack.signals import SignalWaiter
from sandbox.stack.state import service_lock
from sandbox.stack.supervisor import Supervisor
from sandbox.stack.up import run

PRINT_PID_AND_PAUSE = "import os, signal; print(os.getpid(), flush=True); signal.pause()"


def service(data: Path, code: str, healthy: Callable[[], bool], *, start_seconds: float = 10) -> Service:
    return Service(
        name="api",
        command=(sys.executable, "-c", code),
        environment=dict(os.environ),
        log=data / "logs" / "api.log",
        healthy=healthy,
        stage=0,
        start_seconds=start_seconds,
        lock=service_lock(data, "api"),
    )


def test_another_server_that_answers_on_the_port_is_not_taken_for_the_service(tmp_path: Path) -> None:
    def answered_by_somebody_else() -> bool:
        log = tmp_path / "logs" / "api.log"
        return wait_until(lambda: log.exists() and "address in use" in log.read_text(), 5) and lock_is_free(tmp_path)

    ends = service(tmp_path, "print('address in use'); raise SystemExit(98)", answered_by_somebody_else)
    with SignalWaiter() as signals:
        supervisor = Supervisor([ends], signals, lambda text, style: None)
        with pytest.raises(ServiceFailed, match="api ended with exit code 98") as failed:
            supervisor.start()
        supervisor.stop()
    assert failed.value.log_tail == "address in use"


def test_a_service_that_never_becomes_healthy_fails_at_its_deadline_and_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(ServiceFailed, match=r"api was not healthy after 0\.5 s"):
        start_healthy(service(tmp_path, PRINT_PID_AND_PAUSE, lambda: False, start_seconds=0.5))
    assert lock_is_free(tmp_path)


def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    missing = Service("api", ("/nowhere/imagequeue",), {}, tmp_path / "log", lambda: True, stage=0)
    with pytest.raises(ProgramMissing, match="/nowhere/imagequeue"):
        spawn(missing)


def test_a_server_left_by_an_earlier_stack_is_named_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sandbox.stack.processes._LOCK_SECONDS", 0.1)
    left = spawn(service(tmp_path, PRINT_PID_AND_PAUSE, lambda: True))
    try:
        assert run(port=None, mcp_port=None, data=tmp_path, workers=1, ready_file=None, program=("false",)) == 1
        assert f"Another api still runs on this data folder (pid {left.pid})" in capsys.readouterr().out
        assert not (tmp_path / "redis").exists()
    finally:
        stop(left, seconds=5)


def lock_is_free(data: Path) -> bool:
    """Whether the service has ended, or does within 5 s: it holds its lock until then."""
    with service_lock(data, "api").open() as lock:
        return wait_until(lambda: try_lock(lock.fileno()), 5)
