"""Every command of the guides runs, and does what the guide says."""

from __future__ import annotations

import re
from pathlib import Path

from docs_kit import ROOT, bash_blocks, run_blocks
from PIL import Image
from stack_kit import Stack

SESSIONS = ROOT / "docs/guides/sessions.md"


def test_every_guide_is_run_here() -> None:
    assert list((ROOT / "docs/guides").iterdir()) == [SESSIONS]


def test_the_guide_of_sessions_runs_and_says_what_becomes_of_the_turns(stack: Stack, tmp_path: Path) -> None:
    earlier = {one["id"] for one in stack.get("/v1/sessions?limit=100").json()["sessions"]}
    run = run_blocks(bash_blocks(SESSIONS), stack, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    sessions = [one["id"] for one in stack.get("/v1/sessions?limit=100").json()["sessions"]]
    fork, ended = (stack.get(f"/v1/sessions/{new}").json() for new in sessions if new not in earlier)
    states = [turn["state"] for turn in ended["turns"]]
    assert (ended["state"], states[:5]) == ("ended", [*["succeeded"] * 3, "failed", "succeeded"])
    assert states[5] in ("cancelled", "succeeded")
    assert (fork["forked_from"], fork["turn"]) == (f"{ended['id']}/1", 1)
    told = run.stdout + run.stderr
    assert "refused, as the sandbox refuses that word" in told
    assert "it takes no more turns" in told
    with Image.open(tmp_path / "turns.png") as sheet:
        assert sheet.width > 3 * 360
    assert len(re.findall(r"<figure>", (tmp_path / "turns.html").read_text())) == 3
