"""`imagequeue batch estimate`, by the real command against the stack's own API."""

from __future__ import annotations

import json

from cli_kit import Shell, lonely_shell
from manifest_kit import jsonl

LOW = {"prompt": "A cat", "size": "1024x1024", "quality": "low"}


def test_a_manifest_is_priced_and_its_first_lines_are_shown(iq: Shell) -> None:
    (iq.folder / "lines.jsonl").write_bytes(jsonl(*[LOW] * 50))
    run = iq("batch", "estimate", "lines.jsonl", "--max-cost", "0.1")
    assert run.code == 0, run.err
    assert run.out.startswith("50 images: about ")
    assert run.out.endswith(", $0.2945\n")
    assert "50 lines, 50 images: $0.2945 to $0.2945, expected $0.2945" in run.err
    assert "--max-cost ($0.1000 left) is exceeded even at the lowest price; it surely pays for the first 16" in run.err
    assert "line 1  line-00001  A cat" in run.err
    whole = json.loads(iq("batch", "estimate", "lines.jsonl", "--economy", "--json").out)
    assert (whole["lines"], whole["expected_usd"], whole["bound"]) == (50, 0.14725, "completion_window")


def test_a_table_fills_a_template(iq: Shell) -> None:
    (iq.folder / "animals.csv").write_text("animal;style\ncat;oil\ndog;ink\n")
    run = iq("batch", "estimate", "animals.csv", "--template", "A {animal} in {style}", "--window", "1")
    assert run.code == 0, run.err
    assert "A dog in ink" in run.err


def test_bad_lines_are_told_and_end_the_command_with_2_unless_they_are_skipped(iq: Shell) -> None:
    (iq.folder / "lines.json").write_text(json.dumps([LOW, {"prompt": ""}, *[{"n": 0}] * 20]))
    run = iq("batch", "estimate", "lines.json")
    assert (run.code, run.out) == (2, "")
    told = run.err.splitlines()
    assert told[0].startswith("line 2: prompt: ")
    assert told[-2].startswith("… and 21 more")
    assert told[-1].startswith("21 lines are wrong, and nothing was accepted.")
    skipped = iq("batch", "estimate", "lines.json", "--skip-invalid")
    assert skipped.code == 0
    assert "21 bad lines are left out:" in skipped.err


def test_a_file_that_is_none_or_says_not_what_it_is_is_refused(iq: Shell) -> None:
    (iq.folder / "lines.txt").write_text("{}")
    for name, told in (("lines.txt", ".jsonl"), ("missing.jsonl", "missing.jsonl")):
        run = iq("batch", "estimate", name)
        assert run.code == 2
        assert told in run.err


def test_without_an_api_it_says_how_to_start_one(iq: Shell) -> None:
    shell = lonely_shell(iq.folder)
    (iq.folder / "lines.jsonl").write_bytes(jsonl(LOW))
    run = shell("batch", "estimate", "lines.jsonl")
    assert run.code == 3
    assert "`imagequeue up`" in run.err
