"""Commands on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Sequence

from cli_kit import LIMIT_SECONDS, SCRIPT, Shell


def on_terminal(shell: Shell, arguments: Sequence[str], typed: str = "") -> tuple[int, str]:
    """Run `imagequeue` on a terminal where this is typed; its exit code, and all that was shown."""
    ours, theirs = pty.openpty()
    environment = {**shell.environment, "TERM": "xterm"}
    with subprocess.Popen(
        [SCRIPT, *arguments], cwd=shell.folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as running:
        os.close(theirs)
        os.write(ours, typed.encode())
        shown = read_terminal(ours)
        return running.wait(LIMIT_SECONDS), shown


def read_terminal(descriptor: int) -> str:
    """All that is written until the other side closes; Linux tells that by an error."""
    written = b""
    try:
        while piece := os.read(descriptor, 65536):
            written += piece
    except OSError:
        pass
    os.close(descriptor)
    return written.decode()
