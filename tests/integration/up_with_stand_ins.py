"""A program in place of `imagequeue up`: the real supervisor, with stack_stand_in.py in place of our own processes."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

from sandbox.stack.up import run

STAND_IN = Path(__file__).with_name("stack_stand_in.py")


def main() -> int:
    """Run the stack until a signal; returns the exit code."""
    parser = ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port", type=int)
    parser.add_argument("--mcp-port", type=int)
    parser.add_argument("--ready-file", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    return run(
        port=options.port,
        mcp_port=options.mcp_port,
        data=options.data,
        workers=options.workers,
        ready_file=options.ready_file,
        program=(sys.executable, str(STAND_IN)),
    )


if __name__ == "__main__":
    sys.exit(main())
