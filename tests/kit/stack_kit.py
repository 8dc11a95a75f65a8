"""The whole stack for tests: `imagequeue up` and the commands of its users, as processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import httpx2
from fleet_kit import PROGRAM

from sandbox.stack.ports import choose_port
from sandbox.stack.processes import wait_until

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0
"""What Ctrl-C and SIGTERM may take at most."""
_FOREIGN: Final = ("OPENAI_", "AWS_", "IMAGEQUEUE_")


@dataclass(frozen=True)
class Stack:
    """A running and healthy stack."""

    ready: Mapping[str, Any]
    process: subprocess.Popen[str]
    output: Path
    environment: Mapping[str, str]

    @property
    def api_url(self) -> str:
        """Where the API listens."""
        return cast("str", self.ready["api_url"])

    @property
    def mcp_url(self) -> str:
        """Where the MCP bridge listens."""
        return cast("str", self.ready["mcp_url"])

    @property
    def key_header(self) -> dict[str, str]:
        """The header with the stack's first API key."""
        return {"Authorization": f"Bearer {Path(self.ready['key_file']).read_text().strip()}"}

    def run(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line against this stack."""
        return subprocess.run(
            [PROGRAM, *arguments],
            env=dict(self.environment) | {"IMAGEQUEUE_API_URL": self.api_url},
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def post_job(self, wait: int = 60, **fields: object) -> dict[str, Any]:
        """Submit a small job over HTTP and wait for it."""
        return self.post("/v1/jobs", wait, type="generate", **fields)

    def post(self, path: str, wait: int = 60, **fields: object) -> dict[str, Any]:
        """Submit something small over HTTP and wait for its job."""
        body = {"quality": "low", "output_format": "jpeg", **fields}
        headers = {"Prefer": f"wait={wait}", **self.key_header}
        answer = httpx2.post(f"{self.api_url}{path}", json=body, headers=headers, timeout=wait + 30)
        return cast("dict[str, Any]", answer.raise_for_status().json())

    def get(self, path: str) -> httpx2.Response:
        """Ask the API."""
        url, headers = f"{self.api_url}{path}", self.key_header
        return httpx2.get(url, headers=headers, follow_redirects=True, timeout=30).raise_for_status()


def clean_environment(data: Path, **changes: str) -> dict[str, str]:
    """The environment of these tests without settings of ours, OpenAI's or AWS's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return kept | {"IMAGEQUEUE_DATA_DIR": str(data)} | changes


@contextmanager
def running_stack(data: Path, *arguments: str, **environment: str) -> Generator[Stack]:
    """Run `imagequeue up` on a folder until the block ends, then stop it as Ctrl-C does."""
    data.mkdir(parents=True, exist_ok=True)
    ready_file, output = data / "ready.json", data / "up.out"
    variables = clean_environment(data, **environment)
    command = [PROGRAM, "up", "--data", str(data), "--ready-file", str(ready_file), *arguments]
    for option in ("--port", "--mcp-port"):
        if option not in arguments:
            command += [option, str(choose_port())]
    with output.open("w") as out:
        process = subprocess.Popen(
            command, env=variables, stdout=out, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
    try:
        wait_until(lambda: ready_file.exists() or process.poll() is not None, START_SECONDS)
        assert ready_file.exists(), f"the stack did not become ready:\n{output.read_text()}"
        yield Stack(json.loads(ready_file.read_text()), process, output, variables)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(STOP_SECONDS + 5)
