"""Every command of the guides runs, and does what the guide says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from zipfile import ZipFile

from docs_kit import ROOT, bash_blocks, run_blocks
from PIL import Image
from stack_kit import Stack

SESSIONS = ROOT / "docs/guides/sessions.md"
EVENTS = ROOT / "docs/guides/events.md"
WEBHOOKS = ROOT / "docs/guides/webhooks.md"
OPENAI_SDK = ROOT / "docs/guides/openai-sdk.md"
MANIFESTS = ROOT / "docs/guides/manifests.md"
BATCHES = ROOT / "docs/guides/batches.md"
BATCHES_HTTP = ROOT / "docs/guides/batches-http.md"
PYTHON = ROOT / "docs/guides/python.md"


def test_every_guide_is_run_here() -> None:
    assert set((ROOT / "docs/guides").iterdir()) == {
        *(EVENTS, SESSIONS, OPENAI_SDK, PYTHON, WEBHOOKS, MANIFESTS, BATCHES, BATCHES_HTTP)
    }


def test_the_guide_of_openais_sdk_runs(stack: Stack, tmp_path: Path) -> None:
    run = run_blocks(bash_blocks(OPENAI_SDK), stack, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    for name in ("lighthouse", "stars", "preview-0", "preview-1", "fog"):
        with Image.open(tmp_path / f"{name}.png") as image:
            assert (image.format, image.size) == ("PNG", (1024, 1024))
    assert "image_generation.completed fog.png" in run.stdout
    assert "location: /v1/jobs/job_" in run.stdout.lower()


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


def test_the_guide_of_events_runs_and_tells_what_it_says(stack: Stack, tmp_path: Path) -> None:
    run = run_blocks(bash_blocks(EVENTS), stack, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    told, missed = (
        re.findall("^event: (?!progress)(.+)$", (tmp_path / name).read_text(), re.MULTILINE)
        for name in ("events.txt", "missed.txt")
    )
    assert told[-2:] == ["state", "end"]
    assert missed == told[1:]
    printed = [line for line in run.stdout.splitlines() if not line.startswith("progress")]
    assert "204" in printed
    assert printed[-4:] == ["state succeeded", "end succeeded", "['succeeded', 'succeeded']", "304"]


def test_the_guide_of_python_runs_and_saves_the_images(stack: Stack, tmp_path: Path) -> None:
    run = run_blocks(bash_blocks(PYTHON), stack, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    saved = [*(tmp_path / "pictures").iterdir(), *(tmp_path / "foxes").iterdir()]
    assert len(saved) == 4
    for file in saved:
        with Image.open(file) as image:
            assert image.format == "PNG"
        assert str(file.relative_to(tmp_path)) in run.stdout
    ended, reused, session, same = run.stdout.splitlines()[-4:]
    assert (ended, session, same) == ("end succeeded", "['succeeded', 'succeeded']", "True")
    assert re.match(r"succeeded job_\w{26} 0\.0 .*nothing is paid\.$", reused)


def test_the_guide_of_webhooks_runs_and_its_receiver_hears_of_the_jobs(stack: Stack, tmp_path: Path) -> None:
    origin = stack.environment["IMAGEQUEUE_WEBHOOK_ORIGINS"]
    blocks = [block.replace("9000", origin.rpartition(":")[2]) for block in bash_blocks(WEBHOOKS)]
    run = run_blocks(blocks, stack, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    job = json.loads((tmp_path / "job.json").read_text())["id"]
    heard = (tmp_path / "events.txt").read_text().split("\n")
    assert heard[0] == f"job.succeeded {job}"
    assert [line.split(" ")[0] for line in heard[1:-1]] == ["job.failed"], "what is delivered again is heard once"
    assert f"{origin}/all" in run.stdout
    assert f"goes to {origin}/jobs again" in run.stdout
    assert len(re.findall(r"^whsec_", run.stdout, re.MULTILINE)) == 1


def test_the_guide_of_manifests_prices_all_its_forms(stack: Stack, tmp_path: Path) -> None:
    run = run_blocks(bash_blocks(MANIFESTS), stack, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "A dog in the style of ink" in run.stdout + run.stderr
    assert '"custom_id":"dog-ink"' in run.stdout
    assert re.findall(r'"lines":(\d)', run.stdout) == ["4", "2"]


def test_the_guide_of_batches_over_http_runs_to_its_results(stack: Stack, tmp_path: Path) -> None:
    run = run_blocks(bash_blocks(BATCHES_HTTP), stack, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    results, rest = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        for name in ("results.jsonl", "rest.jsonl")
    )
    assert [line["custom_id"] for line in results] == [f"fog-{number}" for number in range(1, 7)]
    assert {line["state"] for line in results} == {"succeeded"}
    assert [line["position"] for line in rest] == [3, 4, 5]
    assert json.loads((tmp_path / "cancelled.json").read_text())["state"] in ("cancelled", "completed")
    assert json.loads((tmp_path / "deleted.json").read_text())["code"] == "batch_not_found"
    assert len(json.loads((tmp_path / "jobs.json").read_text())["jobs"]) == 2


def test_the_guide_of_batches_runs_stops_at_the_cap_and_saves_every_image_once(stack: Stack, tmp_path: Path) -> None:
    run = run_blocks(bash_blocks(BATCHES), stack, tmp_path)
    told = run.stdout + run.stderr
    assert run.returncode == 0, told
    for said in ("stopped at the cap", "all but the refused one", "refused again", "crest refused"):
        assert said in run.stdout, told
    deleted = run.stdout.splitlines()[-2]
    assert deleted.startswith("batch_"), told
    names = {"dawn.png", "night.png", "fog-0.png", "fog-1.png"}
    assert {one.name for one in (tmp_path / "lighthouses").glob("*.png")} == names
    with ZipFile(tmp_path / "lighthouses.zip") as archive:
        assert names < {*archive.namelist()}
    assert "<html" in (tmp_path / "report.html").read_text()
    assert run.stdout.splitlines()[-1] == "completed 3"
