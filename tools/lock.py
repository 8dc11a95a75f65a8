"""Writes constraints.txt: every version that a fresh resolve of all extras picks, without hashes or index URLs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HEADER = "# Every version in use, written by `make lock`. pip reads it with -c.\n"


def main() -> None:
    """Resolve in a dry run, so that the environment in use does not decide the answer."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        subprocess.run([*command, "--report", str(report), ".[local,flower,dev]"], check=True)
        installs = json.loads(report.read_text())["install"]
    packages = sorted(
        (re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower(), item["metadata"]["version"]) for item in installs
    )
    lines = [f"{name}=={version}\n" for name, version in packages if name != "imagequeue"]
    Path("constraints.txt").write_text(HEADER + "".join(lines))


if __name__ == "__main__":
    main()
