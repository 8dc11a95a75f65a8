"""A sandbox in a process of its own, and what tests ask of it beside the image calls."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import httpx2

from sandbox.stack.ports import HOST, choose_port

KEY: Final = "test-key"
MODEL: Final = "gpt-image-2"
GENERATIONS: Final = "/v1/images/generations"
EDITS: Final = "/v1/images/edits"
RESPONSES: Final = "/v1/responses"

DEFAULTS: Final[dict[str, Any]] = {
    "latency_seconds": 0,
    "refuse_edits": False,
    "images_per_minute": None,
    "tokens_per_minute": None,
    "input_images_per_minute": None,
    "limit_window_seconds": 60,
    "account_error": None,
    "batch_step_seconds": 0,
    "batch_window_seconds": 86_400,
    "batch_error": None,
    "image_bytes": None,
}
"""The settings of a sandbox that just started."""

_START_SECONDS: Final = 20
_EVENT_SECONDS: Final = 10
_SERVE: Final = """
import sys
from pathlib import Path
from sandbox.server import main
main(host=sys.argv[1], port=int(sys.argv[2]), journal=Path(sys.argv[3]))
"""


@dataclass(frozen=True)
class RunningSandbox:
    """A sandbox that answers at `url`; `http` is a client for it, `journal` its journal file."""

    url: str
    http: httpx2.Client
    journal: Path
    process: subprocess.Popen[bytes]

    def post(self, body: object, **headers: str) -> httpx2.Response:
        """Post to the generations endpoint with a key."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(GENERATIONS, json=body, headers={"authorization": f"Bearer {KEY}", **named})

    def post_edit(self, body: object) -> httpx2.Response:
        """Post JSON to the edits endpoint with a key."""
        return self.http.post(EDITS, json=body, headers={"authorization": f"Bearer {KEY}"})

    def post_form(
        self, fields: dict[str, Any], files: list[tuple[str, tuple[str, bytes, str]]], path: str = EDITS
    ) -> httpx2.Response:
        """Post a multipart form with a key; a file is (name, (file name, content, media type))."""
        return self.http.post(path, data=fields, files=files, headers={"authorization": f"Bearer {KEY}"})

    def add_fault(self, fault: dict[str, object], **spec: object) -> None:
        """Queue a fault for coming calls."""
        self.http.post("/sandbox/faults", json={"fault": fault, **spec}).raise_for_status()

    def set(self, **settings: object) -> None:
        """Change settings."""
        self.http.post("/sandbox/settings", json=settings).raise_for_status()

    def files(self) -> list[dict[str, Any]]:
        """The uploaded files that were not deleted."""
        return cast("list[dict[str, Any]]", self.http.get("/sandbox/files").json()["files"])

    def calls(self, since: int = 0) -> list[dict[str, Any]]:
        """The journal."""
        return cast("list[dict[str, Any]]", self.http.get(f"/sandbox/calls?since={since}").json()["calls"])

    def call(self, prompt: str, *, settled: bool) -> dict[str, Any]:
        """The only call with this prompt, once it is received, or settled too."""
        deadline = time.monotonic() + _EVENT_SECONDS
        while time.monotonic() < deadline:
            found = [call for call in self.calls() if call["prompt"] == prompt]
            if found and (found[0]["outcome"] or not settled):
                (only,) = found
                return only
        raise AssertionError(f"the journal shows no such call {prompt!r}: {self.calls()}")

    def reset(self) -> None:
        """Forget calls, faults, files and settings of the test before."""
        self.http.delete("/sandbox/faults").raise_for_status()
        self.http.delete("/sandbox/calls").raise_for_status()
        self.http.delete("/sandbox/batches").raise_for_status()
        self.http.delete("/sandbox/files").raise_for_status()
        self.set(**DEFAULTS)


@contextmanager
def running_sandbox(folder: Path) -> Generator[RunningSandbox]:
    """Start a sandbox, wait until it is healthy, stop it at the end."""
    port, journal = choose_port(), folder / "journal.jsonl"
    url = f"http://{HOST}:{port}"
    process = subprocess.Popen([sys.executable, "-c", _SERVE, HOST, str(port), str(journal)])
    try:
        with httpx2.Client(base_url=url, timeout=30) as http:
            _wait_until_healthy(http, process)
            yield RunningSandbox(url, http, journal, process)
    finally:
        process.terminate()
        process.wait(_EVENT_SECONDS)


def _wait_until_healthy(http: httpx2.Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            http.get("/healthz").raise_for_status()
            return
        except httpx2.TransportError:
            pass
        try:
            code = process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"the sandbox ended at its start with exit code {code}")
    raise AssertionError(f"the sandbox was not healthy within {_START_SECONDS} s")
