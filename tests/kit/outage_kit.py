"""What the tests of failing dependencies share: S3 and Redis of their own, to be taken away and brought back."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from fleet_kit import Fleet, make_fleet

from imagequeue.jobs import Job
from sandbox.stack.processes import kill_group
from sandbox.stack.s3_server import RunningS3, start_s3


@dataclass
class FlakyS3:
    """An S3 server over a folder, with the same port and objects whenever it is there."""

    folder: Path
    running: RunningS3 | None = None

    def up(self) -> RunningS3:
        """Let it be there."""
        if self.running is None:
            self.running = start_s3(self.folder)
        return self.running

    def down(self) -> None:
        """Take it away at once."""
        if self.running is not None:
            kill_group(self.running.process)
            self.running = None

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that join a process to it."""
        running = self.up()
        return {
            "IMAGEQUEUE_S3_ENDPOINT": running.endpoint,
            "AWS_ACCESS_KEY_ID": running.access_key,
            "AWS_SECRET_ACCESS_KEY": running.secret_key,
        }


@contextmanager
def joined_fleet(fleet: Fleet, changes: Mapping[str, str]) -> Generator[Fleet]:
    """The same queue as other processes see it: with changed variables, and workers of its own."""
    joined = make_fleet({**fleet.environment, **changes}, fleet.sandbox, fleet.folder)
    yield joined
    joined.close()


def log_of(fleet: Fleet, number: int = -1) -> str:
    """What the fleet's last worker has logged, or the one with this number from 0 on."""
    logs = sorted(fleet.folder.glob("worker-*.log"))
    return logs[number].read_text()


def answer_arrived(fleet: Fleet, job: Job) -> None:
    """Wait until the record says that the job's paid answer is on the worker's disk."""
    fleet.eventually(lambda: any(attempt.answered for attempt in fleet.queue.get(job.id).attempts))


def stop_twice(fleet: Fleet, process: Popen[bytes], seconds: float) -> int:
    """Tell a worker to stop, then to stop at once; its exit code, which must come within `seconds`."""
    process.send_signal(signal.SIGTERM)
    fleet.eventually(lambda: "Warm shutdown" in log_of(fleet))
    process.send_signal(signal.SIGTERM)
    code = process.wait(seconds)
    fleet.workers.remove(process)
    return code


def freeze(process: Popen[bytes], seconds: float) -> None:
    """Let a process, and what it started, do nothing for a time, and go on as if nothing had been."""
    os.killpg(process.pid, signal.SIGSTOP)
    threading.Event().wait(seconds)
    os.killpg(process.pid, signal.SIGCONT)
