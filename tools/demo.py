"""`make demo`: starts the stack on this machine, runs jobs as a user would, shows tables and files, stops the stack.

It always uses the sandbox, so it costs nothing even where OPENAI_API_KEY is set.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageDraw

IMAGEQUEUE = str(Path(sys.executable).with_name("imagequeue"))
OUTPUT = Path("demo-output")
START_SECONDS = 60
STOP_SECONDS = 20
Environment = Mapping[str, str]
NOT_PASSED = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "IMAGEQUEUE_API_URL", "IMAGEQUEUE_API_KEY")


@contextmanager
def stack(data: Path) -> Generator[dict[str, str]]:
    """Run `imagequeue up` on a data folder of its own; gives the environment in which commands find it, and its key."""
    plain = {name: value for name, value in os.environ.items() if name not in NOT_PASSED}
    environment = plain | {"IMAGEQUEUE_DATA_DIR": str(data)}
    ready = data / "ready.json"
    command = [IMAGEQUEUE, "up", "--ready-file", str(ready)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            for line in process.stdout:
                print(line, end="", flush=True)
                if ready.exists():
                    break
            if not ready.exists():
                sys.exit("The stack did not start: see the lines above.")
            yield environment
        finally:
            process.terminate()
            process.communicate(timeout=STOP_SECONDS)


def run(environment: Environment, *arguments: str) -> None:
    """Show a command, run it, stop the demo when it fails."""
    _start(environment, arguments, stdout=None)


def ask(environment: Environment, *arguments: str) -> str:
    """The same, and give the one line that it prints."""
    answer = _start(environment, arguments, stdout=subprocess.PIPE).stdout.strip()
    print(answer, flush=True)
    return answer


def _start(
    environment: Environment, arguments: tuple[str, ...], stdout: int | None
) -> subprocess.CompletedProcess[str]:
    shown = " ".join(f'"{argument}"' if " " in argument else argument for argument in arguments)
    print(f"\n$ imagequeue {shown}", flush=True)
    return subprocess.run([IMAGEQUEUE, *arguments], env=environment, stdout=stdout, text=True, check=True)


def generate(environment: Environment) -> Path:
    """Two images from a text; gives the first."""
    look = ("--size", "1536x1024", "--quality", "medium", "--n", "2", "--format", "webp")
    run(
        environment,
        *("generate", "A lighthouse at dawn over a calm sea"),
        *(*look, "--prefix", "lighthouse", "-o", str(OUTPUT)),
    )
    return max(OUTPUT.glob("lighthouse-*-0.webp"), key=lambda file: file.stat().st_mtime)


def edit(environment: Environment, picture: Path) -> None:
    """Change what lies within an ellipse."""
    mask = OUTPUT / "mask.png"
    with Image.open(picture) as image:
        width, height = image.size
    marked = Image.new("RGBA", (width, height), "black")
    ellipse = (width * 0.1, height * 0.6, width * 0.4, height * 0.95)
    ImageDraw.Draw(marked).ellipse(ellipse, fill=(0, 0, 0, 0))
    marked.save(mask)
    run(
        environment,
        *("edit", "A red sailing boat", str(picture), "--mask", str(mask)),
        *("--quality", "medium", "--prefix", "boat", "-o", str(OUTPUT)),
    )


def edit_in_turns(environment: Environment, picture: Path) -> None:
    """Three turns, the second and third enqueued at once."""
    session = ask(environment, "session", "start", "Make it night", str(picture), "--quality", "medium", "--no-wait")
    run(environment, "session", "continue", session, "Add a full moon", "--quality", "medium", "--no-wait")
    run(environment, "session", "continue", session, "Let fog rise from the sea", "--prefix", "fog", "-o", str(OUTPUT))
    for sheet in ("session.html", "session.png"):
        run(environment, "session", "show", session, "--sheet", str(OUTPUT / sheet))


def batch(environment: Environment) -> None:
    """Three requests from a table: their price, their images, and a page of what they came to."""
    table, folder = OUTPUT / "animals.csv", OUTPUT / "batch"
    table.write_text("custom_id,animal\ngull,seagull\nseal,grey seal\nwhale,humpback whale\n")
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier demo, whose stack is gone
    lines = (str(table), "--template", "A {animal} below a lighthouse")
    run(environment, "batch", "estimate", *lines)
    ended = _start(environment, ("batch", "run", *lines, "-o", str(folder), "--yes", "--json"), stdout=subprocess.PIPE)
    run(environment, "batch", "report", json.loads(ended.stdout)["id"], "-o", str(OUTPUT / "batch.html"))


def main() -> None:
    """One job of each kind, then what is there to see."""
    with tempfile.TemporaryDirectory(prefix="imagequeue-demo-") as data, stack(Path(data)) as environment:
        picture = generate(environment)
        edit(environment, picture)
        edit_in_turns(environment, picture)
        run(environment, "jobs", "list")
        batch(environment)
    print(f"\nThe images are in {OUTPUT.resolve()}; the stack has stopped. Start your own with: make up")


if __name__ == "__main__":
    main()
