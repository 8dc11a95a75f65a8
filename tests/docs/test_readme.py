"""Every command of the README runs: in order, in one shell, as a newcomer would type it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from docs_kit import ROOT, bash_blocks, run_blocks
from PIL import Image, ImageChops
from stack_kit import Stack, clean_environment

BLOCKS = bash_blocks(ROOT / "README.md")
START = ("make up\n", "make demo", "export OPENAI_API_KEY")
"""Blocks that start the stack or the tests: the first is done here, the others have tests of their own."""


def test_the_commands_of_the_readme_do_what_it_says(stack: Stack, tmp_path: Path) -> None:
    run = run_blocks([block for block in BLOCKS if not block.startswith(START)], stack, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    (saved,) = (tmp_path / "pictures").iterdir()
    with Image.open(saved) as image:
        assert image.size == (1536, 1024)
    with Image.open(tmp_path / "image.png") as image:
        assert image.format == "PNG"
    assert len(list((tmp_path / "edits").iterdir())) == 2
    with Image.open(tmp_path / "sdk.png") as image:
        assert image.format == "PNG"
    assert json.loads((tmp_path / "edit.json").read_text())["state"] == "succeeded"
    session = json.loads((tmp_path / "session.json").read_text())
    assert [turn["state"] for turn in session["turns"]] == ["succeeded", "succeeded"]
    assert (tmp_path / "turns.html").read_text().count("<figure>") == 3
    servers = json.loads((tmp_path / ".mcp.json").read_text())["mcpServers"]
    assert Path(servers["imagequeue"]["command"]).name == "imagequeue-mcp"


def test_every_block_is_run_here_or_elsewhere() -> None:
    starting = [block for block in BLOCKS if block.startswith(START)]
    assert len(starting) == len(START)
    assert len(BLOCKS) - len(starting) >= 2


@dataclass(frozen=True)
class Demo:
    """What the demo printed and left."""

    printed: str
    folder: Path


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo, run once."""
    folder = tmp_path_factory.mktemp("demo")
    run = subprocess.run(
        [sys.executable, str(ROOT / "tools/demo.py")],
        cwd=folder,
        env=clean_environment(folder / "unused"),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return Demo(run.stdout, folder / "demo-output")


def test_the_demo_shows_tables_and_leaves_the_files_that_it_names(demo: Demo) -> None:
    files = [file.name for file in demo.folder.iterdir()]
    kinds = {name.partition("-")[0] for name in files}
    batch = {"animals.csv", "batch", "batch.html"}
    assert (len(files), kinds - batch) == (10, {"lighthouse", "mask.png", "boat", "fog", "session.html", "session.png"})
    saved = {file.name for file in (demo.folder / "batch").iterdir()}
    assert {"gull.png", "seal.png", "whale.png", "results.jsonl"} <= saved
    assert all(name in demo.printed for name in files)
    assert demo.printed.count("\tsucceeded\t") == 3 + 3 + 5, "two sheets of three turns, and a list of five jobs"


def test_the_masked_edit_of_the_demo_changes_what_the_mask_marks_and_nothing_else(demo: Demo) -> None:
    (before,), (after,) = demo.folder.glob("lighthouse-*-0.webp"), demo.folder.glob("boat-*.png")
    with Image.open(before) as one, Image.open(after) as other, Image.open(demo.folder / "mask.png") as mask:
        difference = ImageChops.difference(one.convert("RGB"), other.convert("RGB")).convert("L")
        kept = Image.composite(difference, Image.new("L", one.size), mask.getchannel("A"))
    assert difference.getbbox()
    assert not kept.getbbox()
