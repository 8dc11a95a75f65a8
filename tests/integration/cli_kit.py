"""Running the installed `imagequeue` command in a folder and an environment of a test's own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagequeue.client import Client

SCRIPT = Path(sys.executable).with_name("imagequeue")
OURS = re.compile(r"IMAGEQUEUE_|OPENAI_|AWS_|GPT_IMAGE_|.*_PROXY$", re.IGNORECASE)
JOB_ID = re.compile(r"job_[0-9A-Z]{26}")
LIMIT_SECONDS = 60


@dataclass(frozen=True)
class Run:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def job_id(self) -> str:
        """The job it was about."""
        found = JOB_ID.search(self.out + self.err)
        assert found, self
        return found[0]


@dataclass(frozen=True)
class Shell:
    """Runs commands in a folder with an environment of their own."""

    folder: Path
    environment: Mapping[str, str]

    def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> Run:
        """Run `imagequeue` with these arguments, and these variables on top."""
        done = subprocess.run(
            [SCRIPT, *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
        return Run(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start it and go on."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [SCRIPT, *arguments], cwd=self.folder, env=self.environment, stdout=pipe, stderr=pipe, text=True
        )


def clean_environment(data: Path) -> dict[str, str]:
    """The machine's environment without anything that steers imagequeue, but for the data folder."""
    plain = {name: value for name, value in os.environ.items() if not OURS.match(name)}
    return {**plain, "IMAGEQUEUE_DATA_DIR": str(data), "COLUMNS": "100"}


def client_of(stack: Mapping[str, Any]) -> Client:
    """A client of the stack, with its first key."""
    return Client(str(stack["api_url"]), Path(stack["key_file"]).read_text().strip())


def lonely_shell(folder: Path) -> Shell:
    """The command where nothing runs: the API's address is a port that nobody listens on."""
    return Shell(folder, clean_environment(folder / "no-data") | {"IMAGEQUEUE_API_URL": "http://127.0.0.1:1"})
