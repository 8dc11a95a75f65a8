"""Finding the local stack: only a supervisor that is alive counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from imagequeue.local_stack import LOCK_FILE, STATE_FILE, LocalStack, default_data_dir, read_state, running_pid
from sandbox.stack.errors import AlreadyRunning
from sandbox.stack.state import stack_lock, write_state

STACK = LocalStack(
    api_url="http://127.0.0.1:8080",
    mcp_url="http://127.0.0.1:8765/mcp",
    redis_url="redis://127.0.0.1:6379/0",
    s3_endpoint="http://127.0.0.1:9000",
    bucket="imagequeue",
    openai_base_url="http://127.0.0.1:9001/v1",
    sandbox=True,
    key_file="/data/api_key",
    pid=os.getpid(),
)


def test_the_data_folder_is_the_one_the_environment_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IMAGEQUEUE_DATA_DIR", str(tmp_path))
    assert default_data_dir() == tmp_path


def test_a_home_folder_in_the_environment_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("IMAGEQUEUE_DATA_DIR", "~/images")
    assert default_data_dir() == tmp_path / "images"


def test_without_a_name_the_data_folder_is_the_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMAGEQUEUE_DATA_DIR", raising=False)
    assert default_data_dir().name == "imagequeue"


def test_no_stack_is_found_in_a_folder_that_never_had_one(tmp_path: Path) -> None:
    assert read_state(tmp_path / "nowhere") is None
    assert running_pid(tmp_path / "nowhere") is None


def test_a_healthy_stack_is_read_as_it_was_written(tmp_path: Path) -> None:
    with stack_lock(tmp_path):
        write_state(tmp_path, STACK)
        assert read_state(tmp_path) == STACK
        assert running_pid(tmp_path) == os.getpid()


def test_a_stack_that_is_still_starting_has_a_pid_and_no_state(tmp_path: Path) -> None:
    with stack_lock(tmp_path):
        assert read_state(tmp_path) is None
        assert running_pid(tmp_path) == os.getpid()


def test_what_a_killed_supervisor_left_behind_is_no_stack(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_text(str(os.getpid()))  # alive, but it is not the supervisor
    (tmp_path / STATE_FILE).write_text(json.dumps(asdict(STACK)))
    assert read_state(tmp_path) is None
    assert running_pid(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"api_url": "http://127.0.0.1:8080"}'])
def test_a_state_file_that_cannot_be_read_is_no_stack(tmp_path: Path, text: str) -> None:
    with stack_lock(tmp_path):
        (tmp_path / STATE_FILE).write_text(text)
        assert read_state(tmp_path) is None


def test_the_state_file_is_for_its_owner_only(tmp_path: Path) -> None:
    write_state(tmp_path, STACK)
    assert (tmp_path / STATE_FILE).stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == [STATE_FILE]


def test_a_second_stack_on_the_folder_is_refused_with_the_firsts_pid_and_url(tmp_path: Path) -> None:
    with stack_lock(tmp_path):
        write_state(tmp_path, STACK)
        with (
            pytest.raises(AlreadyRunning, match=rf"pid {os.getpid()}\) at http://127.0.0.1:8080"),
            stack_lock(tmp_path),
        ):
            pass


def test_looking_for_the_stack_loads_none_of_the_projects_libraries() -> None:
    code = "import sys, imagequeue.local_stack; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"redis", "boto3", "pydantic", "flask", "celery", "rich"} & set(loaded)
