"""The documents are true: settings, commands, keys and scripts are all named, links lead somewhere."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from fleet_kit import PROGRAM
from pydantic import AliasChoices

from imagequeue.jobs import Attempt, JobState
from imagequeue.settings import Settings
from imagequeue.store.keys import Keys
from sandbox.app_state import Settings as SandboxSettings

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
OPERATIONS = (ROOT / "docs/operations.md").read_text()
DATA_MODEL = (ROOT / "docs/redis-data-model.md").read_text()


def _variable(name: str) -> str:
    alias = Settings.model_fields[name].validation_alias
    if isinstance(alias, AliasChoices):
        return str(alias.choices[0])
    return alias if isinstance(alias, str) else f"IMAGEQUEUE_{name.upper()}"


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_documented_with_default_and_meaning(name: str) -> None:
    field = Settings.model_fields[name]
    row = re.search(rf"^\| `{_variable(name)}` \| (.+?) \| (.+) \|$", OPERATIONS, re.MULTILINE)
    assert row, f"docs/operations.md has no row for {_variable(name)}"
    assert row[2] == field.description
    if field.default_factory is None:
        assert row[1] == ("none" if field.default is None else f"`{field.default}`")


def test_no_document_names_a_setting_that_does_not_exist() -> None:
    known = {_variable(name) for name in Settings.model_fields}
    known |= {"IMAGEQUEUE_API_URL", "IMAGEQUEUE_API_KEY", "IMAGEQUEUE_DATA_DIR"}
    named = {name for document in DOCUMENTS for name in re.findall(r"\bIMAGEQUEUE_[A-Z0-9_]+", document.read_text())}
    assert named <= known


@pytest.mark.parametrize("name", sorted(SandboxSettings.model_fields))
def test_every_setting_of_the_sandbox_is_documented(name: str) -> None:
    assert re.search(rf"^\| .*`{name}`.* \| .+ \| .+ \|$", OPERATIONS, re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text())
    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_every_command_is_named_in_the_documents() -> None:
    listed = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True, check=True).stdout
    commands = re.findall(r"^│ ([a-z]+) ", listed, re.MULTILINE)
    assert len(commands) >= 8
    text = "".join(document.read_text() for document in DOCUMENTS)
    assert [command for command in commands if f"imagequeue {command}" not in text] == []


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"\bmake ([a-z]+)", (ROOT / "README.md").read_text() + (ROOT / "AGENTS.md").read_text()))
    assert {"demo", "test"} <= targets
    assert [target for target in targets if f"\n{target}:" not in makefile] == []


def test_every_key_is_in_the_data_model() -> None:
    keys = Keys("iq:")
    spelled = {
        *keys.for_job("{id}", "{owner}", "interactive", "{id}", "{id}", "{id}").values(),
        keys.feeder,
        keys.slots,
        *keys.for_fleet().values(),
        keys.sweeper,
        keys.edit_route,
        keys.probe("{nonce}"),
        keys.suspect("{worker}"),
        keys.delivery("{owner}", "{fingerprint}"),
        keys.archive_hours("{owner}"),
        keys.archive("{owner}", 0).replace(":0", ":{hour}"),
        keys.housekeeper,
        keys.housekeeping,
        keys.open_calls("{owner}", "{fingerprint}"),
        keys.api_keys,
        keys.api_key_pepper,
        keys.api_key_by("{digest}"),
        keys.idempotency("{owner}", "{digest}"),
        *keys.for_webhook_owner("{owner}").values(),
        *keys.for_delivery("{id}", "{owner}", "{id}", "{receiver}").values(),
    }
    general = {re.sub(r"(waiting|parked):(interactive|batch)", r"\1:{lane}", key) for key in spelled}
    for state in JobState:
        general.discard(f"iq:index:{{owner}}:{state}")
    assert [key for key in sorted(general) if f"`{key}`" not in DATA_MODEL] == []


def test_every_field_of_an_attempt_is_in_the_data_model_and_no_other() -> None:
    table = DATA_MODEL.split("An attempt has:", 1)[1].split("## ", 1)[0]
    named = [name for row in re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(Attempt.model_fields)


def test_every_script_is_in_the_data_model_and_no_other() -> None:
    scripts = {path.stem for path in (ROOT / "imagequeue/store/scripts").glob("[!_]*.lua")}
    section = DATA_MODEL.split("## Scripts", 1)[1]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == scripts


def test_every_state_and_edge_is_drawn() -> None:
    drawing = (ROOT / "docs/architecture.md").read_text().split("stateDiagram-v2", 1)[1].split("```", 1)[0]
    edges = set(re.findall(r"(\w+|\[\*\]) --> (\w+)", drawing))
    assert {state for edge in edges for state in edge} - {"[*]"} == set(JobState)
    terminal = {state.value for state in JobState if state.terminal}
    assert [edge for edge in edges if edge[0] in terminal] == []


def test_continuous_integration_runs_the_readmes_test_command() -> None:
    assert "make test" in (ROOT / ".ci/run").read_text()
