"""Every command of the README runs: in order, in one shell, as a newcomer would type it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from PIL import Image
from stack_kit import clean_environment, running_stack

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```bash\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
START = ("make up\n", "make demo", "export OPENAI_API_KEY")
"""Blocks that start the stack or the tests: the first is done here, the others have tests of their own."""


def test_the_commands_of_the_readme_do_what_it_says(tmp_path: Path) -> None:
    with running_stack(tmp_path / "data") as stack:
        script = "\n".join(block for block in BLOCKS if not block.startswith(START))
        script = script.replace("http://127.0.0.1:8080", stack.api_url)
        environment = clean_environment(tmp_path / "data") | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        }
        run = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    assert run.returncode == 0, run.stdout + run.stderr
    (saved,) = (tmp_path / "pictures").iterdir()
    with Image.open(saved) as image:
        assert image.size == (1536, 1024)
    with Image.open(tmp_path / "image.png") as image:
        assert image.format == "PNG"


def test_every_block_is_run_here_or_elsewhere() -> None:
    starting = [block for block in BLOCKS if block.startswith(START)]
    assert len(starting) == len(START)
    assert len(BLOCKS) - len(starting) >= 2


def test_the_demo_shows_a_table_and_leaves_the_files_that_it_names(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(ROOT / "tools/demo.py")],
        cwd=tmp_path,
        env=clean_environment(tmp_path / "unused"),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    files = sorted((tmp_path / "demo-output").iterdir())
    assert len(files) == 2
    assert all(file.name in run.stdout for file in files)
