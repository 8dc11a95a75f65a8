"""A program in place of `imagequeue` as the stack's api, worker, mcp and sandbox; up_with_stand_ins.py is its `up`.

It imports nothing of the project, because it is started a hundred times.

What a stand-in does is told by the environment: `STAND_IN_FOLDER` is where it leaves its pid (`NAME.pid`) and the
signals it got (`NAME.signals`); `STAND_IN_DIES` and `STAND_IN_STUBBORN` name one that ends at once, or ignores SIGTERM;
`STAND_IN_GATE` is a file that must exist before the api is ready. Like the real one, it is not ready before
`STAND_IN_WORKERS` workers are.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType


def answer_with(ready: Callable[[], bool]) -> type[BaseHTTPRequestHandler]:
    """A server of /healthz, /readyz (counted in the folder) and /environment."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with (folder() / "asked").open("a") as asked:
                asked.write(f"{self.path}\n")
            self.send_response(200 if ready() else 503)
            self.end_headers()
            if self.path == "/environment":
                self.wfile.write(json.dumps(dict(os.environ)).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    return Handler


def folder() -> Path:
    """Where the stand-ins leave their traces."""
    return Path(os.environ["STAND_IN_FOLDER"])


def leave_traces(name: str) -> None:
    """Write the pid, and every signal that comes; SIGTERM ends the process unless it is the stubborn one."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        with (folder() / f"{name}.signals").open("a") as signals:
            signals.write(f"{signal.Signals(number).name}\n")
        if number == signal.SIGTERM and os.environ.get("STAND_IN_STUBBORN") != name:
            os._exit(0)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    with (folder() / f"{name}.pid").open("a") as pids:
        pids.write(f"{os.getpid()}\n")


def serve(name: str, port: int) -> None:
    """Be the api, the bridge or the sandbox."""
    ready: Callable[[], bool] = api_is_ready if name == "api" else lambda: True
    ThreadingHTTPServer(("127.0.0.1", port), answer_with(ready)).serve_forever()


def api_is_ready() -> bool:
    """Whether the gate is there and the workers have told of their children, the last thing they do."""
    gate = os.environ.get("STAND_IN_GATE")
    working = folder() / "worker-child.pid"
    workers = len(working.read_text().split()) if working.exists() else 0
    return (gate is None or Path(gate).exists()) and workers >= int(os.environ["STAND_IN_WORKERS"])


def work() -> None:
    """Be a worker with a child of its own."""
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    with (folder() / "worker-child.pid").open("a") as pids:
        pids.write(f"{child.pid}\n")
    while True:
        signal.pause()


def main(name: str, arguments: list[str]) -> int:
    """Be what `name` says."""
    if os.environ.get("STAND_IN_DIES") == name:
        sys.stderr.write("".join(f"line {number}\n" for number in range(1, 31)) + f"{name} cannot go on\n")
        return 3
    leave_traces(name)
    if name == "worker":
        work()
    else:
        serve(name, int(arguments[-1] if arguments else os.environ["IMAGEQUEUE_API_PORT"]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
