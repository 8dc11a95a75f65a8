"""One service of the stack as data, and its process: started, found healthy, stopped."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sandbox.stack.errors import AlreadyRunning, ProgramMissing, ServiceFailed

LOG_TAIL_LINES = 15

_POLL_SECONDS = 0.02
_LOCK_SECONDS = 10.0  # as long as a stack may take to stop
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Service:
    """What to run, and how to know that it runs."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]  # all of it: nothing is inherited
    log: Path
    healthy: Callable[[], bool]
    stage: int  # started in rising order, stopped in falling order; equal stages are stopped together
    address: str = ""  # for people
    start_seconds: float = 30.0  # until it must be healthy
    stop_seconds: float = 1.0  # between SIGTERM and SIGKILL
    killed_note: str = ""  # what a SIGKILL means, for people
    lock: Path | None = None  # held by the process itself, for data or a port that two must never share


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll `condition` until it is true; False when `seconds` have passed. For what no event announces."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def try_lock(descriptor: int) -> bool:
    """Lock an open file for this descriptor and those inherited from it; False when another has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def spawn(service: Service) -> subprocess.Popen[bytes]:
    """Start the service in a session of its own, its output appended to its log.

    A terminal's Ctrl-C therefore does not reach it. On Linux it gets SIGTERM when the thread that called this
    ends, so call it from the main thread.

    Raises:
        AlreadyRunning: the service's lock is held by a process of an earlier start.
        ProgramMissing: the command cannot be executed.
    """
    service.log.parent.mkdir(parents=True, exist_ok=True)
    lock = None if service.lock is None else _take_lock(service.lock)
    try:
        with service.log.open("ab") as log:
            process = subprocess.Popen(
                service.command,
                env=dict(service.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=() if lock is None else (lock,),
                preexec_fn=_end_with_parent(),
            )
        if lock is not None:
            os.pwrite(lock, str(process.pid).encode(), 0)
        return process
    except OSError as error:
        raise ProgramMissing(f"{service.name} cannot be started: {error}") from error
    finally:
        if lock is not None:
            os.close(lock)


def wait_until_released(locks: Iterable[Path]) -> None:
    """Wait until the processes that hold the locks, left by a supervisor that was killed, have ended.

    Raises:
        AlreadyRunning: one is there after 10 s.
    """
    for lock in locks:
        os.close(_take_lock(lock))


def check_alive(service: Service, process: subprocess.Popen[bytes]) -> None:
    """Raise ServiceFailed when the process has ended."""
    if (code := process.poll()) is not None:
        raise ServiceFailed(f"{service.name} {describe_exit(code)}", log_tail(service.log))


def start_healthy(service: Service) -> subprocess.Popen[bytes]:
    """Start the service and wait until it is healthy; it is stopped again when it does not become so.

    Raises:
        ServiceFailed: it ended, or was not healthy after `start_seconds`.
    """
    process = spawn(service)

    def settled() -> bool:
        return process.poll() is not None or service.healthy()

    try:
        if not wait_until(settled, service.start_seconds):
            raise not_healthy(service)
        check_alive(service, process)
    except BaseException:
        stop(process, service.stop_seconds)
        raise
    return process


def not_healthy(service: Service) -> ServiceFailed:
    """Return the error for a service whose deadline has passed."""
    message = f"{service.name} was not healthy after {service.start_seconds:g} s"
    return ServiceFailed(message, log_tail(service.log))


def stop(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Send SIGTERM, and SIGKILL to its whole group after `seconds`; False when that was needed."""
    process.terminate()
    try:
        process.wait(seconds)
        return True
    except subprocess.TimeoutExpired:
        return False
    finally:
        kill_group(process)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Send SIGKILL to the process and to all that it left behind in its group, and reap it."""
    with suppress(ProcessLookupError, PermissionError):  # macOS says EPERM for a group of zombies
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def describe_exit(code: int) -> str:
    """Say in words how a process ended, from its `Popen.returncode`."""
    return f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"


def log_tail(log: Path) -> str:
    """Return the last 15 lines of a log."""
    with suppress(FileNotFoundError):
        return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
    return ""


def _take_lock(file: Path) -> int:
    """Open and lock a file, empty; who inherits the descriptor holds the lock until it ends."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if wait_until(lambda: try_lock(descriptor), _LOCK_SECONDS):
        os.ftruncate(descriptor, 0)
        return descriptor
    os.close(descriptor)
    raise AlreadyRunning(f"Another {file.stem} still runs on this data folder (pid {file.read_text()}); stop it first.")


def _end_with_parent() -> Callable[[], None] | None:
    """Return what makes a child get SIGTERM when this process dies without stopping it; Linux only."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)  # loaded before the fork: the child must not
    parent = os.getpid()

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return prepare
