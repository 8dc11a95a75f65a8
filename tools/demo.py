"""`make demo`: starts the stack on this machine, runs a job as a user would, shows table and files, stops the stack.

It always uses the sandbox, so it costs nothing even where OPENAI_API_KEY is set.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

IMAGEQUEUE = str(Path(sys.executable).with_name("imagequeue"))
OUTPUT = Path("demo-output")
START_SECONDS = 60
STOP_SECONDS = 20
PAID = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "IMAGEQUEUE_API_URL", "IMAGEQUEUE_API_KEY")


@contextmanager
def stack(data: Path) -> Generator[str]:
    """Run `imagequeue up` on a data folder of its own; gives the API's address."""
    environment = {name: value for name, value in os.environ.items() if name not in PAID}
    ready = data / "ready.json"
    command = [IMAGEQUEUE, "up", "--data", str(data), "--ready-file", str(ready)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            for line in process.stdout:
                print(line, end="", flush=True)
                if ready.exists():
                    break
            if not ready.exists():
                sys.exit("The stack did not start: see the lines above.")
            yield json.loads(ready.read_text())["api_url"]
        finally:
            process.terminate()
            process.communicate(timeout=STOP_SECONDS)


def run(api_url: str, *arguments: str) -> None:
    """Show a command, run it, stop the demo when it fails."""
    shown = " ".join(f'"{argument}"' if " " in argument else argument for argument in arguments)
    print(f"\n$ imagequeue {shown}", flush=True)
    subprocess.run([IMAGEQUEUE, *arguments], env={**os.environ, "IMAGEQUEUE_API_URL": api_url}, check=True)


def main() -> None:
    """One job of each kind, then what is there to see."""
    with tempfile.TemporaryDirectory(prefix="imagequeue-demo-") as data, stack(Path(data)) as api_url:
        run(
            api_url,
            "generate",
            "A lighthouse at dawn over a calm sea",
            *("--size", "1536x1024", "--quality", "medium", "--n", "2", "--format", "webp"),
            *("--prefix", "lighthouse", "-o", str(OUTPUT)),
        )
        run(api_url, "jobs", "list")
    print(f"\nThe images are in {OUTPUT.resolve()}; the stack has stopped. Start your own with: make up")


if __name__ == "__main__":
    main()
