"""`make bench`: runs every benchmark beside what one would use instead, and writes benchmarks/RESULTS.md."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import idle_latency
import many_calls
import waiting_clients
from rich.console import Console

BENCHMARKS = (idle_latency.measure, many_calls.measure, waiting_clients.measure)
PACKAGES = ("celery", "redis", "openai", "boto3", "pillow", "flask", "gunicorn")
RESULTS = Path(__file__).with_name("RESULTS.md")


class Report(Protocol):
    """Figures of one benchmark."""

    def text(self) -> str:
        """For people."""
        ...

    def markdown(self) -> str:
        """For RESULTS.md."""
        ...


def main() -> None:
    """Run all, one after the other: the cores are few."""
    console = Console(stderr=True)
    reports: list[Report] = []
    for measure in BENCHMARKS:
        with console.status(f"{measure.__module__} …"):
            reports.append(measure())
        console.print(reports[-1].text())
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    lines = [
        "# Results\n",
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} shared cores, Python {platform.python_version()}, {versions}.",
        "Medians of paired runs in one process group; the machines are noisy, so read the ratio.\n",
        *(report.markdown() for report in reports),
    ]
    RESULTS.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
