"""`imagequeue down`: stop the stack that runs on a data folder."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from imagequeue.local_stack import default_data_dir, running_pid
from sandbox.stack.processes import wait_until
from sandbox.stack.terminal import Terminal

_STOP_SECONDS = 15.0  # the supervisor needs at most 10


def main(*, data: Path | None) -> int:
    """Tell the supervisor to stop and wait until it is gone, at most 15 s.

    Returns:
        0 when no stack runs any more, 1 when it still does.
    """
    terminal = Terminal()
    folder = (data or default_data_dir()).expanduser().absolute()
    pid = running_pid(folder)
    if pid is None:
        terminal.say(f"No stack runs on {folder}")
        return 0
    with suppress(ProcessLookupError):  # it ended just now
        os.kill(pid, signal.SIGTERM)
    if not wait_until(lambda: running_pid(folder) != pid, _STOP_SECONDS):
        terminal.say(f"The stack on {folder} (pid {pid}) is still stopping after {_STOP_SECONDS:g} s", "bold red")
        return 1
    terminal.say(f"Stopped the stack (pid {pid}). Everything is kept in {folder}", "green")
    return 0
