"""`imagequeue mcp config`: what each client is given, and that no secret is in it."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from imagequeue.cli.main import main
from imagequeue.local_stack import LocalStack
from sandbox.stack.state import stack_lock, write_state

CLIENTS = ("claude-code", "claude-desktop", "cursor", "vscode")
BRIDGE = str(Path(sys.executable).with_name("imagequeue-mcp"))
KEY = "iq_a-very-secret-key"
REFERENCES = {
    "claude-code": "${IMAGEQUEUE_API_KEY}",
    "cursor": "${env:IMAGEQUEUE_API_KEY}",
    "vscode": "${input:imagequeue_api_key}",
}
INPUT = {"type": "promptString", "id": "imagequeue_api_key", "description": "IMAGEQUEUE_API_KEY", "password": True}


@dataclass(frozen=True)
class Run:
    """How the command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def entry(self) -> dict[str, Any]:
        """The one server that is configured."""
        assert self.code == 0, self
        document = cast("dict[str, dict[str, dict[str, Any]]]", json.loads(self.out))
        return document["servers" if "servers" in document else "mcpServers"]["imagequeue"]


Configure = Callable[..., Run]


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Configure:
    """Runs the command in an environment without settings, where no stack runs, with the given variables."""
    for name in [name for name in os.environ if name.startswith(("IMAGEQUEUE_", "AWS_", "GPT_IMAGE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("HOME", str(tmp_path))

    def run(*arguments: str, **variables: str) -> Run:
        with monkeypatch.context() as own:
            own.setattr(sys, "argv", ["imagequeue", "mcp", "config", *arguments])
            for name, value in variables.items():
                own.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
        printed = capsys.readouterr()
        return Run(int(ended.value.code or 0), printed.out, printed.err)

    return run


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_of_the_local_stack_is_given_the_program_and_nothing_else(configure: Configure, client: str) -> None:
    run = configure(client)
    typed: dict[str, Any] = {} if client == "claude-desktop" else {"type": "stdio"}
    entry: dict[str, Any] = {**typed, "command": BRIDGE, "args": []}
    assert json.loads(run.out) == {"servers" if client == "vscode" else "mcpServers": {"imagequeue": entry}}


@pytest.mark.parametrize(
    ("client", "file"),
    [
        ("claude-code", ".mcp.json"),
        ("claude-desktop", "claude_desktop_config.json"),
        ("cursor", ".cursor/mcp.json"),
        ("vscode", ".vscode/mcp.json"),
    ],
)
def test_where_it_goes_is_told_out_of_the_way_of_the_configuration(
    configure: Configure, client: str, file: str
) -> None:
    run = configure(client)
    assert file in run.err
    assert run.out.startswith("{")
    assert run.out.endswith("}\n")


@pytest.mark.parametrize("client", [*REFERENCES])
@pytest.mark.parametrize("listens", [False, True], ids=["stdio", "http"])
def test_a_key_is_referred_to_and_never_printed(configure: Configure, client: str, listens: bool) -> None:
    http = ("--http", "https://images.example.com/mcp") if listens else ()
    run = configure(client, *http, IMAGEQUEUE_API_URL="https://images.example.com", IMAGEQUEUE_API_KEY=KEY)
    if listens:
        expected = {
            "type": "http",
            "url": "https://images.example.com/mcp",
            "headers": {"Authorization": f"Bearer {REFERENCES[client]}"},
        }
        assert run.entry == expected
    else:
        assert run.entry["env"] == {
            "IMAGEQUEUE_API_URL": "https://images.example.com",
            "IMAGEQUEUE_API_KEY": REFERENCES[client],
        }
    assert json.loads(run.out).get("inputs") == ([INPUT] if client == "vscode" else None)
    assert KEY not in run.out + run.err


@pytest.mark.parametrize("client", CLIENTS)
def test_a_key_file_is_named_to_the_bridge_and_stands_before_the_environment(
    configure: Configure, client: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    monkeypatch.chdir(tmp_path)
    url = "https://images.example.com"
    run = configure(client, "--key-file", "key", IMAGEQUEUE_API_URL=url, IMAGEQUEUE_API_KEY="another")
    assert run.entry["args"] == ["--key-file", str(tmp_path / "key")]
    assert run.entry["env"] == {"IMAGEQUEUE_API_URL": url}
    assert not any(secret in run.out + run.err for secret in (KEY, "another"))


def test_a_client_that_cannot_refer_to_a_key_is_led_to_the_key_file(configure: Configure) -> None:
    run = configure("claude-desktop", IMAGEQUEUE_API_KEY=KEY)
    assert (run.code, run.out) == (2, "")
    assert "--key-file" in run.err
    assert KEY not in run.err


def test_over_http_a_key_file_says_that_there_is_a_key_and_where_it_lies(configure: Configure, tmp_path: Path) -> None:
    file = tmp_path / "my key"
    file.write_text(KEY)
    run = configure("cursor", "--http", "--key-file", str(file))
    assert run.entry["headers"] == {"Authorization": "Bearer ${env:IMAGEQUEUE_API_KEY}"}
    assert f"""export IMAGEQUEUE_API_KEY="$(cat '{file}')\"""" in run.err
    assert KEY not in run.out + run.err


@pytest.mark.parametrize("content", [None, "", " \n", "two words"])
def test_a_key_file_without_a_key_is_refused(configure: Configure, tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    run = configure("cursor", "--key-file", str(file))
    assert (run.code, run.out) == (2, "")
    assert str(file) in run.err


def test_a_queue_behind_redis_is_passed_on_with_its_settings_and_references_to_its_secrets(
    configure: Configure,
) -> None:
    run = configure(
        "cursor",
        IMAGEQUEUE_REDIS_URL="redis://:secret-password@redis.example.com/0",
        IMAGEQUEUE_BROKER_URL="redis://redis.example.com/1",
        IMAGEQUEUE_S3_BUCKET="pictures",
        IMAGEQUEUE_KEY_PREFIX="",
        AWS_ACCESS_KEY_ID="secret-id",
        AWS_SECRET_ACCESS_KEY="secret-secret",
        AWS_REGION="eu-central-1",
        AWS_PROFILE="mine",
        OPENAI_API_KEY="sk-secret",
    )
    assert run.entry["env"] == {
        "IMAGEQUEUE_REDIS_URL": "${env:IMAGEQUEUE_REDIS_URL}",
        "IMAGEQUEUE_BROKER_URL": "redis://redis.example.com/1",
        "IMAGEQUEUE_S3_BUCKET": "pictures",
        "AWS_ACCESS_KEY_ID": "${env:AWS_ACCESS_KEY_ID}",
        "AWS_SECRET_ACCESS_KEY": "${env:AWS_SECRET_ACCESS_KEY}",
        "AWS_REGION": "eu-central-1",
    }
    assert "secret-" not in run.out + run.err


@pytest.mark.parametrize(
    "url", ["redis://redis/0?password=secret-1", "redis://[::1/0-secret-1", "redis://u:secret-1@r"]
)
def test_an_address_with_a_password_is_a_secret(configure: Configure, url: str) -> None:
    run = configure("claude-code", IMAGEQUEUE_REDIS_URL=url)
    assert run.entry["env"] == {"IMAGEQUEUE_REDIS_URL": "${IMAGEQUEUE_REDIS_URL}"}
    assert "secret-1" not in run.out + run.err
    assert '-e "IMAGEQUEUE_REDIS_URL=$IMAGEQUEUE_REDIS_URL"' in run.err


def test_an_api_that_is_named_wins_over_redis_as_it_does_in_the_bridge(configure: Configure) -> None:
    run = configure(
        "vscode",
        IMAGEQUEUE_API_URL="https://images.example.com",
        IMAGEQUEUE_REDIS_URL="redis://redis/0",
        IMAGEQUEUE_MCP_WAIT_SECONDS="20",
        GPT_IMAGE_2_OUTPUT_DIR="/pictures",
        IMAGEQUEUE_WORKER_SLOTS="3",
    )
    assert run.entry["env"] == {
        "IMAGEQUEUE_API_URL": "https://images.example.com",
        "IMAGEQUEUE_MCP_WAIT_SECONDS": "20",
        "GPT_IMAGE_2_OUTPUT_DIR": "/pictures",
    }


def test_a_data_folder_is_passed_on_so_that_any_folder_finds_it(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert configure("cursor", IMAGEQUEUE_DATA_DIR="mine").entry["env"] == {
        "IMAGEQUEUE_DATA_DIR": str(tmp_path / "mine")
    }


@pytest.mark.parametrize("client", ["claude-code", "cursor", "vscode"])
def test_a_bridge_over_http_is_the_one_of_the_running_stack(configure: Configure, client: str, tmp_path: Path) -> None:
    stack = LocalStack(
        api_url="http://127.0.0.1:1",
        mcp_url="http://127.0.0.1:4321/mcp",
        redis_url="redis://127.0.0.1:1/0",
        s3_endpoint="http://127.0.0.1:1",
        bucket="imagequeue",
        openai_base_url="http://127.0.0.1:1/v1",
        sandbox=True,
        key_file=str(tmp_path / "api_key"),
        pid=os.getpid(),
    )
    with stack_lock(tmp_path):
        write_state(tmp_path, stack)
        run = configure(client, "--http", IMAGEQUEUE_DATA_DIR=str(tmp_path))
    assert run.entry["url"] == "http://127.0.0.1:4321/mcp"
    assert "API_KEY" in run.entry["headers"]["Authorization"].upper()
    assert f"cat {tmp_path / 'api_key'}" in run.err, "where its key is"


def test_where_no_stack_runs_a_bridge_over_http_is_taken_to_be_at_the_usual_address(configure: Configure) -> None:
    run = configure("cursor", "--http")
    assert run.entry["url"] == "http://127.0.0.1:8765/mcp"
    assert "No stack runs on this machine" in run.err


def test_an_address_without_a_path_gets_the_bridges(configure: Configure) -> None:
    assert configure("cursor", "https://images.example.com").entry["url"] == "https://images.example.com/mcp"


@pytest.mark.parametrize(
    "url", ["images", "ftp://images/mcp", "http://", "http://[::1", "http://a:port/", "http://u:p@a/mcp"]
)
def test_what_is_no_address_of_a_bridge_is_refused(configure: Configure, url: str) -> None:
    run = configure("cursor", "--http", url)
    assert (run.code, run.out) == (2, "")
    assert run.err.startswith("URL: ")


def test_a_client_that_takes_no_server_over_http_is_told_what_it_takes(configure: Configure) -> None:
    run = configure("claude-desktop", "--http")
    assert (run.code, run.out) == (2, "")
    assert "without --http" in run.err


def test_an_unknown_client_is_answered_with_the_known_ones(configure: Configure) -> None:
    run = configure("emacs")
    assert (run.code, run.out) == (2, "")
    assert all(f"'{client}'" in re.sub(r"[│\s]+", " ", run.err) for client in CLIENTS)


def test_options_before_the_word_config_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["imagequeue", "mcp", "--http", "config", "cursor"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "imagequeue mcp config CLIENT --http" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "variables", "command"),
    [
        ((), {}, f"claude mcp add imagequeue --scope user -- {BRIDGE}"),
        (
            (),
            {"IMAGEQUEUE_API_URL": "https://a.example", "IMAGEQUEUE_API_KEY": KEY},
            "claude mcp add imagequeue --scope user -e IMAGEQUEUE_API_URL=https://a.example "
            f'-e "IMAGEQUEUE_API_KEY=$IMAGEQUEUE_API_KEY" -- {BRIDGE}',
        ),
        (
            ("--http", "https://a.example/mcp"),
            {"IMAGEQUEUE_API_KEY": KEY},
            "claude mcp add --transport http --scope user imagequeue https://a.example/mcp "
            '--header "Authorization: Bearer $IMAGEQUEUE_API_KEY"',
        ),
    ],
)
def test_claude_codes_own_command_is_offered_too(
    configure: Configure, arguments: tuple[str, ...], variables: dict[str, str], command: str
) -> None:
    assert configure("claude-code", *arguments, **variables).err.splitlines()[-1].endswith(command)
