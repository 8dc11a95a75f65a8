"""The data folder: its layout, what is remembered between two starts, and the lock of the running stack."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Collection, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from imagequeue.local_stack import LOCK_FILE, STATE_FILE, LocalStack, read_state, running_pid
from sandbox.stack.errors import AlreadyRunning, BadFolder
from sandbox.stack.ports import choose_port
from sandbox.stack.processes import try_lock, wait_until, wait_until_released

_LOOK_SECONDS = 0.25
_REMEMBERED_FILE = "remembered.json"


@dataclass(frozen=True)
class Remembered:
    """What stays the same from one start to the next, so that URLs and keys do."""

    ports: dict[str, int] = field(default_factory=dict[str, int])  # by service name
    s3_access_key: str = field(default_factory=lambda: secrets.token_hex(10))
    s3_secret_key: str = field(default_factory=lambda: secrets.token_hex(20))
    key_pepper: str = field(default_factory=lambda: secrets.token_hex(32))
    redis_program: str = ""  # a Redis of another make may not read the files of the one that wrote them


def open_folder(path: Path) -> Path:
    """Make `path` if it is missing, readable by this user only, and return it absolute.

    Raises:
        BadFolder: it cannot be made or written.
    """
    folder = path.expanduser().absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadFolder(f"The data folder cannot be made: {error}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadFolder(f"The data folder {folder} cannot be written.")
    return folder


def load_remembered(data: Path) -> Remembered:
    """Read what is remembered; a first start makes new S3 keys and writes them down."""
    file = data / _REMEMBERED_FILE
    try:
        stored = cast("dict[str, Any]", json.loads(file.read_text()))
        remembered = Remembered(**stored)
    except (FileNotFoundError, ValueError, TypeError):
        stored, remembered = {}, Remembered()
    if asdict(remembered) != stored:  # what is new must stay the same from now on
        save_remembered(data, remembered)
    return remembered


def save_remembered(data: Path, remembered: Remembered) -> None:
    """Write what the next start is to find."""
    write_private_json(data / _REMEMBERED_FILE, asdict(remembered))


def remembered_port(data: Path, name: str, default: int | None = None, *, avoid: Collection[int | None] = ()) -> int:
    """Return the port that `name` had last time if it is still free, else `default`, else any free one.

    Those in `avoid` count as taken: services that are about to start will have them.
    """
    remembered = load_remembered(data)
    port = choose_port(remembered.ports.get(name), default, avoid=avoid)
    remember_port(data, name, port)
    return port


def remember_port(data: Path, name: str, port: int) -> None:
    """Keep `port` for the next start of the service `name`."""
    remembered = load_remembered(data)
    save_remembered(data, replace(remembered, ports={**remembered.ports, name: port}))


def write_private_json(file: Path, content: dict[str, Any]) -> None:
    """Write `content` atomically to `file`, readable by this user only (mode 0600)."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        json.dump(content, stream, indent=2)
        stream.write("\n")
    draft.replace(file)


@contextmanager
def stack_lock(data: Path) -> Generator[None]:
    """Hold the data folder: one stack at a time.

    Raises:
        AlreadyRunning: another supervisor holds it; the message has its pid and, once it is healthy, its URL.
    """
    with (data / LOCK_FILE).open("a+") as lock:
        # Who looks whether a stack runs holds the lock for an instant: that alone must not refuse a start.
        if not wait_until(lambda: try_lock(lock.fileno()), _LOOK_SECONDS):
            raise AlreadyRunning(_describe_running(data))
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def service_lock(data: Path, name: str) -> Path:
    """Return the lock that a server holds as long as it or a process of its own lives."""
    return data / "run" / f"{name}.lock"


def wait_for_earlier_servers(data: Path) -> None:
    """Wait until the servers of a killed supervisor are gone, so that their ports and files can be used again.

    Raises:
        AlreadyRunning: one is there after 10 s.
    """
    wait_until_released(sorted((data / "run").glob("*.lock")))


def write_state(data: Path, stack: LocalStack) -> None:
    """Tell other commands where the stack is; only to be called once all of it is healthy."""
    write_private_json(data / STATE_FILE, asdict(stack))


def _describe_running(data: Path) -> str:
    stack = read_state(data)
    where = f"at {stack.api_url}" if stack else "and is still starting"
    return f"A stack already runs on {data} (pid {running_pid(data)}) {where}. Stop it with: imagequeue down"
