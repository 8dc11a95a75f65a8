"""`make bench`: runs every benchmark beside what one would use instead, and writes benchmarks/RESULTS.md."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import idle_latency
import many_calls
from rich.console import Console
from side_by_side import Comparison

BENCHMARKS = (idle_latency.measure, many_calls.measure)
PACKAGES = ("celery", "redis", "openai", "boto3", "pillow", "flask", "gunicorn")
RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> None:
    """Run all, one after the other: the cores are few."""
    console = Console(stderr=True)
    comparisons: list[Comparison] = []
    for measure in BENCHMARKS:
        with console.status(f"{measure.__module__} …"):
            comparisons.append(measure())
        console.print(comparisons[-1].text())
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    lines = [
        "# Results\n",
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} shared cores, Python {platform.python_version()}, {versions}.",
        "Medians of paired runs in one process group; the machines are noisy, so read the ratio.\n",
        *(comparison.markdown() for comparison in comparisons),
    ]
    RESULTS.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
