"""`imagequeue batch run` and its kin: every line is bought once, every image saved once, whatever comes between."""

from __future__ import annotations

import json
import re
import secrets
import signal
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx2
import pytest
from batch_kit import lines
from cli_kit import LIMIT_SECONDS, Run, Shell, client_of
from manifest_kit import jsonl
from PIL import Image
from terminal_kit import on_terminal

STATE = ".imagequeue-batch.json"


class Painter:
    """The stack's sandbox, as far as it is asked with these words."""

    def __init__(self, stack: Mapping[str, Any], words: str) -> None:
        self.words = words
        self._root = str(stack["openai_base_url"]).removesuffix("/v1")

    def calls(self) -> int:
        """How many calls with these words it had."""
        found = httpx2.get(f"{self._root}/sandbox/calls").raise_for_status().json()["calls"]
        return sum(str(call["prompt"]).startswith(self.words) for call in found)

    def fail(self, prompt: str, times: int = 1) -> None:
        """Refuse the next calls with this prompt as a bad request."""
        fault = {
            "fault": {"status": 400, "code": "invalid_value", "message": "no"},
            "times": times,
            "match": {"prompt_contains": prompt},
        }
        httpx2.post(f"{self._root}/sandbox/faults", json=fault).raise_for_status()

    def set_latency(self, seconds: float) -> float:
        """How long each call takes from now on; gives how long it was."""
        settings = f"{self._root}/sandbox/settings"
        before = httpx2.get(settings).raise_for_status().json()["latency_seconds"]
        httpx2.post(settings, json={"latency_seconds": seconds}).raise_for_status()
        return before


@pytest.fixture
def painter(stack: Mapping[str, Any]) -> Generator[Painter]:
    """The sandbox, which answers at once, as far as this test asks it."""
    painter = Painter(stack, f"batch {secrets.token_hex(8)}")
    before = painter.set_latency(0)
    yield painter
    painter.set_latency(before)


def write(iq: Shell, painter: Painter, count: int, *more: Mapping[str, object], name: str = "lines.jsonl") -> None:
    """A manifest of small lines."""
    (iq.folder / name).write_bytes(jsonl(*lines(count, painter.words), *more))


def batch_of(folder: Path) -> str:
    """The batch that a folder belongs to."""
    return json.loads((folder / STATE).read_text())["batch_id"]


def results_in(folder: Path) -> list[dict[str, Any]]:
    """How the lines ended, as the folder has it."""
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def images_in(folder: Path) -> list[str]:
    """The names of all images, each of which is whole; there is nothing else."""
    names = sorted(one.name for one in folder.iterdir() if one.name not in (STATE, "results.jsonl"))
    for name in names:
        with Image.open(folder / name) as image:
            image.load()
    return names


def test_images_are_named_by_their_lines_and_running_again_fetches_what_is_missing_and_buys_nothing(
    iq: Shell, painter: Painter
) -> None:
    write(
        iq,
        painter,
        4,
        {"custom_id": "../etc/pass wd", "prompt": f"{painter.words} path", "quality": "low"},
        {"custom_id": "two", "prompt": f"{painter.words} two", "n": 2, "quality": "low", "output_format": "webp"},
        {"custom_id": "no", "prompt": f"{painter.words} FORBIDDEN", "quality": "low"},
    )
    (iq.folder / "out").mkdir()
    (iq.folder / "out" / "line-1.jpg").write_bytes(b"mine")
    run = iq("batch", "run", "lines.jsonl", "-o", "out")
    assert (run.code, run.out) == (1, "out/results.jsonl\n"), run.err
    assert "6 of 7 lines succeeded, 1 refused" in run.err
    assert "no  refused  moderation_blocked" in run.err
    assert (iq.folder / "out" / "line-1.jpg").read_bytes() == b"mine"
    (iq.folder / "out" / "line-1.jpg").unlink()
    names = images_in(iq.folder / "out")
    assert {"line-0.jpg", "line-1-1.jpg", "line-2.jpg", "two-0.webp", "two-1.webp"} < {*names}
    assert not [name for name in names if "/" in name or name.startswith((".", "-"))]
    found = results_in(iq.folder / "out")
    assert [one["custom_id"] for one in found[:4]] == [f"line-{number}" for number in range(4)]
    assert sorted(file for one in found for file in one["files"]) == names
    (iq.folder / "out" / "two-1.webp").unlink()
    again = iq("batch", "run", "lines.jsonl", "-o", "out", "--json")
    assert "are not bought again" in again.err
    assert json.loads(again.out)["id"] == batch_of(iq.folder / "out")
    assert images_in(iq.folder / "out") == names
    assert painter.calls() == 7


def test_a_batch_stops_below_its_cap_and_goes_on_when_the_command_is_run_with_a_higher_one(
    iq: Shell, painter: Painter
) -> None:
    write(iq, painter, 10)
    run = iq("batch", "run", "lines.jsonl", "-o", "out", "--max-cost", "0.03", "--json")
    paused = json.loads(run.out)
    assert (run.code, paused["state"], paused["pause"]["code"]) == (1, "paused", "max_cost_usd")
    assert paused["cost_usd_estimated"] <= 0.03
    assert "of --max-cost, $0.0300, are spent" in run.err
    assert f"imagequeue batch set {paused['id']} --max-cost USD && imagequeue batch attach {paused['id']}" in run.err
    assert "/v1/" not in run.err
    assert len(images_in(iq.folder / "out")) == paused["counts"]["succeeded"] == 5
    more = iq("batch", "run", "lines.jsonl", "-o", "out", "--max-cost", "1")
    assert more.code == 0, more.err
    assert len(images_in(iq.folder / "out")) == 10
    assert painter.calls() == 10


def test_ctrl_c_kill_9_and_a_lost_answer_cost_nothing(iq: Shell, painter: Painter) -> None:
    write(iq, painter, 12)
    painter.set_latency(3)
    command = ("batch", "run", "lines.jsonl", "-o", "out", "--window", "1")
    watched = iq.start(*command)
    assert watched.stderr
    told = ""
    while " running " not in told:
        told = watched.stderr.readline()
    busy = iq(*command)
    assert busy.code == 2
    assert "Another command saves a batch into out now" in busy.err
    watched.send_signal(signal.SIGINT)
    _, err = watched.communicate(timeout=LIMIT_SECONDS)
    batch = batch_of(iq.folder / "out")
    assert watched.returncode == 130
    assert f"imagequeue batch attach {batch} -o out" in err
    assert "Traceback" not in err
    killed = iq.start("batch", "attach", batch, "-o", "out")
    assert killed.stderr
    assert " running " in killed.stderr.readline()
    killed.kill()
    painter.set_latency(0)
    killed.communicate(timeout=LIMIT_SECONDS)
    state = iq.folder / "out" / STATE
    state.write_text(json.dumps({**json.loads(state.read_text()), "batch_id": None}))  # as if it had died in the submit
    last = iq(*command)
    assert last.code == 0, last.err
    assert batch_of(iq.folder / "out") == batch
    left = list((iq.folder / "out").glob(".*.part"))
    for one in left:  # of what the killed one was writing
        one.unlink()
    assert len(images_in(iq.folder / "out")) == 12
    assert len(results_in(iq.folder / "out")) == painter.calls() == 12


def test_what_may_cost_more_is_asked_for_and_shown_on_a_terminal(iq: Shell, painter: Painter) -> None:
    write(iq, painter, 6)
    command = ("batch", "run", "lines.jsonl", "-o", "out", "--confirm-above", "0.01")
    unasked = iq(*command)
    assert unasked.code == 2
    assert "Add --yes, or a --max-cost" in unasked.err
    code, shown = on_terminal(iq, command, typed="n\n")
    assert (code, painter.calls()) == (1, 0)
    assert "Spend up to $0.0355?" in shown
    code, shown = on_terminal(iq, command, typed="y\n")
    assert code == 0, shown
    assert re.search(r"\d+% \d of 6 lines", shown)
    assert "6 done" in shown
    assert "images saved" in shown
    assert painter.calls() == 6


def test_bad_lines_are_told_before_anything_is_bought_and_may_be_left_out(iq: Shell, painter: Painter) -> None:
    write(iq, painter, 2, {"prompt": ""}, {"prompt": "x", "n": 99})
    run = iq("batch", "run", "lines.jsonl", "-o", "out")
    assert (run.code, run.out) == (2, "")
    assert [line.split(": ")[:2] for line in run.err.splitlines()[:2]] == [["line 3", "prompt"], ["line 4", "n"]]
    _, shown = on_terminal(iq, ("batch", "run", "lines.jsonl", "-o", "out"))
    assert re.search(r"line\W.*field\W.*rule", shown)
    skipped = iq("batch", "run", "lines.jsonl", "-o", "out", "--skip-invalid")
    assert skipped.code == 0, skipped.err
    assert "2 bad lines are left out" in skipped.err
    assert painter.calls() == 2


def test_a_folder_is_one_batchs(iq: Shell, painter: Painter, stack: Mapping[str, Any]) -> None:
    write(iq, painter, 1)
    write(iq, painter, 2, name="others.jsonl")
    assert iq("batch", "run", "lines.jsonl", "-o", "out").code == 0
    batch = batch_of(iq.folder / "out")
    for refused in (
        iq("batch", "run", "others.jsonl", "-o", "out"),
        iq("batch", "attach", "batch_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z", "-o", "out"),
    ):
        assert refused.code == 2
        assert f"out belongs to {batch}" in refused.err
    (iq.folder / "out" / STATE).unlink()
    reused = iq("batch", "run", "lines.jsonl", "-o", "out", "--name", "other")
    assert reused.code == 1
    assert "Nothing was submitted" in reused.err
    assert painter.calls() == 1
    (iq.folder / "file").touch()
    assert "--output: must be a folder" in iq("batch", "run", "others.jsonl", "-o", "file").err


def test_failed_lines_are_run_again_and_saved_by_the_same_command(iq: Shell, painter: Painter) -> None:
    write(iq, painter, 3)
    painter.fail(f"{painter.words} 1")
    first = iq("batch", "run", "lines.jsonl", "-o", "out")
    batch = batch_of(iq.folder / "out")
    assert first.code == 1
    assert f"imagequeue batch retry {batch}" in first.err
    assert iq("batch", "retry", batch).code == 0
    again = iq("batch", "attach", batch, "-o", "out")
    assert again.code == 0, again.err
    assert images_in(iq.folder / "out") == ["line-0.jpg", "line-1.jpg", "line-2.jpg"]
    assert [one["state"] for one in results_in(iq.folder / "out")] == ["succeeded"] * 3


def test_batches_are_listed_shown_and_steered(iq: Shell, painter: Painter, stack: Mapping[str, Any]) -> None:
    with client_of(stack) as client:
        batch = client.batches.submit(lines(3, painter.words), max_cost_usd=0.001, name="Spring\t\x1b[31m"[:6])
        client.batches.wait(batch.id, LIMIT_SECONDS)

    def told(*arguments: str) -> Run:
        run = iq("batch", arguments[0], batch.id, *arguments[1:])
        assert run.code == 0, run.err
        return run

    assert re.search(rf"^{batch.id}\tpaused\t0/3\t.*\tSpring$", iq("batch", "list").out, re.MULTILINE)
    shown = told("show").out
    assert "State:     paused" in shown
    assert "Why:       $0.0000 of --max-cost, $0.0010, are spent, and the next line could exceed it." in shown
    assert f"Go on: imagequeue batch set {batch.id} --max-cost USD\n" in shown
    assert "/v1/" not in shown
    assert json.loads(told("set", "--priority", "5", "--window", "2", "--json").out)["priority"] == 5
    assert iq("batch", "set", batch.id).code == iq("batch", "set", batch.id, "--max-cost", "much").code == 2
    told("set", "--max-cost", "none")
    with client_of(stack) as client:
        client.batches.wait(batch.id, LIMIT_SECONDS)
    printed = [json.loads(line) for line in told("results").out.splitlines()]
    assert [one["custom_id"] for one in printed] == ["line-0", "line-1", "line-2"]
    assert told("results", "--finished", "-o", "some.jsonl").out == "some.jsonl\n"
    assert len((iq.folder / "some.jsonl").read_text().splitlines()) == 3
    assert told("zip").out == f"{batch.id}.zip\n"
    with ZipFile(iq.folder / f"{batch.id}.zip") as archive:
        assert {"line-0.jpg", "line-1.jpg", "line-2.jpg", "index.jsonl"} == {*archive.namelist()}
    assert re.search(r"^A line: +half within \d", told("report").out, re.MULTILINE)
    told("report", "-o", "report.html")
    assert "<html" in (iq.folder / "report.html").read_text()
    over = iq("batch", "cancel", batch.id)
    assert (over.code, "completed" in over.err) == (1, True), over
    assert told("delete").out == f"{batch.id}\n"
    gone = iq("batch", "show", batch.id)
    assert (gone.code, batch.id in gone.err) == (1, True), gone
