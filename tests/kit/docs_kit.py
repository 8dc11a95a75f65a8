"""Running the commands of a document, in order and in one shell, as its reader would type them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from stack_kit import Stack

ROOT = Path(__file__).parents[2]


def bash_blocks(document: Path) -> list[str]:
    """The document's ```bash blocks."""
    return re.findall(r"^```bash\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL)


def run_blocks(blocks: Sequence[str], stack: Stack, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the blocks in `folder` against the stack; the first command that fails ends them."""
    blocks = ["trap 'kill $(jobs -p) 2> /dev/null || true' EXIT", *blocks]  # whatever fails, nothing stays
    script = "\n".join(blocks).replace("http://127.0.0.1:8080", stack.api_url)
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**stack.environment, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
