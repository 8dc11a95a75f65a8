"""`make bench`: runs every benchmark, each in a process of its own, and writes benchmarks/RESULTS.md.

With names, only those are run again; the others keep their rows and dates. The figures are kept in results.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from side_by_side import Row, from_json, table

BENCHMARKS: Final = (
    "overhead",
    "idle_latency",
    "concurrency",
    "memory",
    "turn_handover",
    "waiters",
    "mcp_calls",
    "batch_submit",
    "growth",
    "limiter",
    "start",
)
PACKAGES: Final = ("celery", "redis", "openai", "boto3", "pillow", "flask", "gunicorn", "mcp")
FOLDER: Final = Path(__file__).parent
FIGURES: Final = FOLDER / "results.json"
RESULTS: Final = FOLDER / "RESULTS.md"


def main() -> None:
    """Run them one after the other: the cores are few."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--runs", type=int, help="paired runs of each; 5 by default")
    arguments = parser.parse_args()
    asked: list[str] = arguments.names
    if unknown := set(asked) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    figures: dict[str, Any] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    console = Console(stderr=True)
    for number, name in enumerate(asked or BENCHMARKS, start=1):
        console.print(f"[bold]{name}[/bold] ({number} of {len(asked or BENCHMARKS)})")
        figures[name] = measured(name, arguments.runs)
        FIGURES.write_text(json.dumps({name: figures[name] for name in BENCHMARKS if name in figures}, indent=1) + "\n")
        RESULTS.write_text(page(figures))
    console.print(f"Written to {RESULTS}.")


def measured(name: str, runs: int | None) -> dict[str, Any]:
    """Run one benchmark and give its rows, with when and where."""
    options = [] if runs is None else ["--runs", str(runs)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.json"
        subprocess.run([sys.executable, str(FOLDER / f"{name}.py"), "--json", str(file), *options], check=True)
        return {
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "machine": f"{os.cpu_count()} cores, {_memory_gb():.0f} GB, Python {platform.python_version()}",
            "rows": json.loads(file.read_text()),
        }


def page(figures: dict[str, Any]) -> str:
    """RESULTS.md."""
    runs = [figures[name] for name in BENCHMARKS if name in figures]
    rows = [row for run in runs for row in from_json(run["rows"])]
    dates = sorted({run["date"] for run in runs})
    machines = sorted({run["machine"] for run in runs})
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return "\n".join(
        [
            "# Results",
            "",
            f"Measured {' to '.join({dates[0]: 0, dates[-1]: 0})} by `make bench` on {'; '.join(machines)},",
            f"{versions}.",
            "Each figure is the median of the runs (smallest–largest); ratios are of runs made in turn on the same",
            "services, so read them first: the cores are shared and noisy.",
            "",
            table(rows),
            "",
            *_floors(rows),
        ]
    )


def _floors(rows: Sequence[Row]) -> Iterator[str]:
    """Why goals do not hold, each reason once."""
    missed = {row.floor: row for row in rows if row.floor and row.holds() is False}
    if missed:
        yield from ("## Floors", "", "What forbids the goals that do not hold:", "")
        yield from (f"- **{row.benchmark}, {row.what}**: {floor}" for floor, row in missed.items())
        yield ""


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


if __name__ == "__main__":
    main()
