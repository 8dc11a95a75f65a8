"""Where the stack of `imagequeue up` keeps its data on this machine, and whether it is running.

Only the standard library and platformdirs are imported, so a command that merely looks for the stack starts fast.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

from platformdirs import user_data_path

if sys.platform != "win32":
    import fcntl

STATE_FILE = "stack.json"
LOCK_FILE = "stack.lock"


@dataclass(frozen=True)
class LocalStack:
    """A running and healthy stack, as its state file tells it."""

    api_url: str
    mcp_url: str  # of the MCP bridge, its path included
    redis_url: str
    s3_endpoint: str
    bucket: str
    openai_base_url: str
    sandbox: bool  # images are painted, not bought
    key_file: str  # holds the first API key, for this user only
    pid: int  # of the supervisor, the process that `imagequeue up` is


def default_data_dir() -> Path:
    """Return `IMAGEQUEUE_DATA_DIR`, or the platform's folder for a user's data. It need not exist."""
    named = os.environ.get("IMAGEQUEUE_DATA_DIR")
    return Path(named).expanduser() if named else user_data_path("imagequeue")


def running_pid(data: Path) -> int | None:
    """Return the pid of the supervisor that holds the lock of `data`; None when no stack runs there.

    The kernel drops the lock with the process, so a number that another process got since is never returned.
    """
    try:
        with (data / LOCK_FILE).open() as lock:
            return None if _is_free(lock.fileno()) else int(lock.read())
    except (OSError, ValueError):
        return None


def read_state(data: Path) -> LocalStack | None:
    """Return the stack running on `data`; None when there is none, or when it is not healthy yet."""
    if running_pid(data) is None:
        return None
    try:
        state = cast("dict[str, Any]", json.loads((data / STATE_FILE).read_text()))
        return LocalStack(**{field.name: state[field.name] for field in fields(LocalStack)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_free(descriptor: int) -> bool:
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
