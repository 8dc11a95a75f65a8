"""What the `imagequeue` command does where nothing runs: help, errors, and never the current folder's modules."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from cli_kit import SCRIPT, Shell, lonely_shell
from typer.testing import CliRunner

from imagequeue.cli.main import app


@pytest.fixture
def alone(tmp_path: Path) -> Shell:
    """The command where nothing runs."""
    return lonely_shell(tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "x"],
        ["jobs", "list"],
        ["jobs", "wait", "job_1", "-o", "out"],
        ["edit", "x", "upload:1"],
        ["edit", "x", "image.png"],
        ["session", "start", "x", "image.png"],
        ["session", "continue", "ses_1", "x"],
        ["session", "list"],
        ["session", "delete", "ses_1"],
        ["jobs", "delete", "job_1"],
        ["usage"],
        ["webhooks", "list"],
        ["batch", "list"],
        ["batch", "run", "lines.jsonl", "-o", "out"],
        ["batch", "attach", "batch_1", "-o", "out"],
    ],
)
def test_without_an_api_commands_exit_with_3_and_say_how_to_start_one(alone: Shell, arguments: list[str]) -> None:
    (alone.folder / "image.png").write_bytes(b"image")
    (alone.folder / "lines.jsonl").write_text('{"prompt": "x"}')
    run = alone(*arguments)
    assert run.code == 3
    assert "`imagequeue up`" in run.err
    assert "IMAGEQUEUE_API_URL" in run.err
    assert "Traceback" not in run.err


@pytest.mark.parametrize(
    ("process", "variables", "told"),
    [
        ("api", {"IMAGEQUEUE_API_PORT": "many"}, "IMAGEQUEUE_API_PORT"),
        ("worker", {"IMAGEQUEUE_REDIS_URL": "ftp://example.com"}, "IMAGEQUEUE_REDIS_URL"),
    ],
)
def test_a_bad_setting_stops_a_process_with_one_line(
    alone: Shell, process: str, variables: dict[str, str], told: str
) -> None:
    run = alone(process, **variables)
    assert run.code == 2
    assert told in run.err
    assert len(run.err.splitlines()) == 1


SESSION_COMMANDS = tuple(f"session {name}" for name in ("start", "continue", "list", "show", "fork", "end", "delete"))
JOB_COMMANDS = ("jobs", "jobs list", "jobs show", "jobs wait", "jobs cancel", "jobs retry", "jobs delete")
BATCH_LOOKS = tuple(f"batch {name}" for name in ("list", "show", "results", "zip", "report"))
BATCH_COMMANDS = ("batch", "batch estimate", "batch run", "batch attach", *BATCH_LOOKS)
BATCH_STEERING = tuple(f"batch {name}" for name in ("retry", "pause", "resume", "set", "cancel"))
PROCESSES = ("up", "down", "api", "worker", "mcp", "mcp config", "sandbox", "flower")
WEBHOOK_COMMANDS = tuple(
    f"webhooks {name}" for name in ("list", "add", "remove", "deliveries", "redeliver", "secret", "rotate-secret")
)


@pytest.mark.parametrize(
    "command",
    [
        "",
        "generate",
        "edit",
        "session",
        "webhooks",
        "usage",
        "doctor",
        *SESSION_COMMANDS,
        *JOB_COMMANDS,
        *WEBHOOK_COMMANDS,
        *BATCH_COMMANDS,
        *BATCH_STEERING,
        *PROCESSES,
    ],
)
def test_the_help_of_each_command_teaches_with_an_example(command: str) -> None:
    run = CliRunner().invoke(app, [*command.split(), "--help"], prog_name="imagequeue", env={"COLUMNS": "100"})
    assert run.exit_code == 0
    told = run.stdout.partition("Usage:")[2]
    assert re.search(rf"^ +(\S+=\S+ )*imagequeue {command}", told, re.MULTILINE), run.stdout


def test_the_installed_command_prints_that_help(alone: Shell) -> None:
    shown = CliRunner().invoke(app, ["session", "--help"], prog_name="imagequeue", env={"COLUMNS": "100"}).stdout
    run = alone("session", "--help")
    assert (run.code, run.out) == (0, shown)


def test_the_version_is_the_installed_one(alone: Shell) -> None:
    assert re.fullmatch(r"imagequeue \d+\.\d+\.\d+\n", alone("--version").out)


@pytest.mark.parametrize("named", ["generate", "edit", "session show", "mcp config", "webhooks add", "batch run"])
def test_help_imports_nothing_heavy(alone: Shell, named: str) -> None:
    command = [sys.executable, "-X", "importtime", str(SCRIPT), *named.split(), "--help"]
    run = subprocess.run(command, cwd=alone.folder, env=alone.environment, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert "imagequeue.cli.main" in imported
    heavy = {"boto3", "celery", "flask", "openai", "redis", "httpx2", "PIL", "api", "worker", "sandbox", "mcp"}
    assert not heavy & imported


@pytest.mark.parametrize("process", ["api", "worker", "sandbox"])
def test_a_module_of_the_same_name_in_the_current_folder_is_never_run(alone: Shell, process: str) -> None:
    trap = "raise SystemExit('the wrong module was imported')\n"
    (alone.folder / "api").mkdir()
    for name in ("api/__init__.py", "worker.py", "sandbox.py", "imagequeue.py"):
        (alone.folder / name).write_text(trap)
    assert alone(process, "--help").code == 0
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        # Each imports its process and is then stopped, by a bad setting or by a port that it cannot have.
        run = alone(process, *(["--port", port] if process == "sandbox" else []), IMAGEQUEUE_API_PORT="many")
    assert run.code != 0
    assert "wrong module" not in run.err
    assert ("IMAGEQUEUE_API_PORT" in run.err) or (port in run.err)
