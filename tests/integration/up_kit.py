"""Starts `up` with stand-ins, and looks at the processes and the data that it has."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, cast

import boto3
from redis import Redis

from sandbox.stack.ports import choose_port
from sandbox.stack.processes import wait_until
from sandbox.stack.state import load_remembered

UP = Path(__file__).with_name("up_with_stand_ins.py")
REPOSITORY = Path(__file__).parents[2]


@dataclass
class Up:
    """A started `up` and what it leaves behind."""

    process: subprocess.Popen[bytes]
    data: Path
    ready_file: Path
    traces: Path
    output: Path

    def wait_ready(self) -> dict[str, Any]:
        assert wait_until(lambda: self.ready_file.exists() or self.process.poll() is not None, 40), self.printed()
        assert self.ready_file.exists(), self.printed()
        return json.loads(self.ready_file.read_text())

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)

    def printed(self) -> str:
        return self.output.read_text()

    def pids(self) -> set[int]:
        """Every process that the supervisor has now, and theirs."""
        return descendants(self.process.pid)

    def traced(self, name: str) -> list[str]:
        """The lines that a stand-in left in a file."""
        with suppress(FileNotFoundError):
            return (self.traces / name).read_text().split()
        return []


class Starter:
    """Starts stacks on one data folder, and ends at the test's end what a failed test left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Up] = []

    def __call__(self, *arguments: str, workers: int = 1, stdout: int | None = None, **environment: str) -> Up:
        traces = self.folder / f"traces-{len(self.started)}"
        traces.mkdir()
        data = self.folder / "data [1]"
        ready_file, output = traces / "ready.json", traces / "output"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
        inherited |= {"STAND_IN_FOLDER": str(traces), "STAND_IN_WORKERS": str(workers), "PYTHONPATH": str(REPOSITORY)}
        options = ["--data", data, "--ready-file", ready_file, "--workers", str(workers)]
        if not self.started:
            # Not the default ones, which a stack of another test process may be about to take; later starts remember.
            options += [word for name in ("--port", "--mcp-port") for word in (name, str(choose_port()))]
        with output.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, UP, *options, *arguments],
                env=inherited | environment,
                stdout=stream if stdout is None else stdout,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(Up(process, data, ready_file, traces, output))
        return self.started[-1]

    def end(self) -> None:
        for up in self.started:
            left = up.pids() if up.process.poll() is None else set[int]()
            if up.process.poll() is None:
                up.process.kill()
                up.process.wait()
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> set[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return set()
    found = {int(child) for child in children}
    return found.union(*(descendants(child) for child in found))


def is_gone(pid: int) -> bool:
    """Whether the process has ended; one that only waits to be reaped has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def all_gone(pids: set[int], seconds: float = 0) -> bool:
    return wait_until(lambda: all(is_gone(pid) for pid in pids), seconds)


def redis_of(ready: dict[str, Any]) -> Any:
    return cast("Any", Redis).from_url(ready["redis_url"], decode_responses=True)


def s3_of(ready: dict[str, Any], data: Path) -> Any:
    keys = load_remembered(data)
    session = boto3.Session(keys.s3_access_key, keys.s3_secret_key, region_name="us-east-1")
    return cast("Any", session).client("s3", endpoint_url=ready["s3_endpoint"])


def get(url: str, path: str) -> Any:
    with closing(HTTPConnection(url.removeprefix("http://"), timeout=5)) as connection:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
