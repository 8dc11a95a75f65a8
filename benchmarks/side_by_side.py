"""What every benchmark shares: paired runs, figures beside a goal, one table."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from rich.console import Console
from rich.table import Table

RUNS: Final = 5
HEAD: Final = ("benchmark", "what", "imagequeue", "instead", "which is", "ratio", "goal", "holds")
T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class Goal:
    """What a row is held against: the median of its paired ratios, of its paired differences, or of our figures."""

    of: Literal["ratio", "difference", "value"]
    bound: float
    at_least: bool = False

    def text(self, unit: str) -> str:
        """For the table."""
        sign, bound = "≥" if self.at_least else "≤", _figure(self.bound)
        return {
            "ratio": f"{sign} {bound} ×",
            "difference": f"{sign} +{bound} {unit}",
            "value": f"{sign} {bound} {unit}",
        }[self.of]


def ratio_at_most(bound: float) -> Goal:
    """At most so many times the other's figure."""
    return Goal("ratio", bound)


def ratio_at_least(bound: float) -> Goal:
    """At least this share of the other's figure."""
    return Goal("ratio", bound, at_least=True)


def more_by_at_most(bound: float) -> Goal:
    """At most so much above the other's figure, in the row's unit."""
    return Goal("difference", bound)


def at_most(bound: float) -> Goal:
    """At most this, in the row's unit."""
    return Goal("value", bound)


def at_least(bound: float) -> Goal:
    """At least this, in the row's unit."""
    return Goal("value", bound, at_least=True)


@dataclass(frozen=True, slots=True)
class Row:
    """Figures of one measure: ours and the other's, pair by pair and in the same unit; a goal if there is one.

    `floor`: what forbids the goal where it does not hold, with the measurement that says so.
    """

    what: str
    unit: str
    ours: Sequence[float]
    instead: Sequence[float] = ()
    instead_is: str = ""
    goal: Goal | None = None
    floor: str = ""
    benchmark: str = ""

    def ratios(self) -> list[float]:
        """Ours by the other's, pair by pair."""
        return [ours / instead for ours, instead in zip(self.ours, self.instead, strict=True)] if self.instead else []

    def holds(self) -> bool | None:
        """Whether the goal holds; None without one."""
        if self.goal is None:
            return None
        if self.goal.of == "ratio":
            figures = self.ratios()
        elif self.goal.of == "difference":
            figures = [ours - instead for ours, instead in zip(self.ours, self.instead, strict=True)]
        else:
            figures = list(self.ours)
        middle = statistics.median(figures)
        return middle >= self.goal.bound if self.goal.at_least else middle <= self.goal.bound

    def cells(self) -> tuple[str, ...]:
        """As HEAD names them."""
        holds = {None: "", True: "yes", False: "**no**"}[self.holds()]
        return (
            self.benchmark,
            self.what,
            f"{_spread(self.ours)} {self.unit}",
            f"{_spread(self.instead)} {self.unit}" if self.instead else "",
            self.instead_is,
            _spread(self.ratios()) if self.instead else "",
            self.goal.text(self.unit) if self.goal else "",
            holds,
        )


def paired(ours: Callable[[int], T], instead: Callable[[int], U], runs: int, warm_up: bool = True) -> list[tuple[T, U]]:
    """What both give, `runs` times in turn, each beginning every other time; before it one warm-up, numbered -1."""
    if warm_up:
        ours(-1)
        instead(-1)
    pairs: list[tuple[T, U]] = []
    for number in range(runs):
        _note(f"run {number + 1} of {runs}")
        if number % 2:
            other = instead(number)
            pairs.append((ours(number), other))
        else:
            pairs.append((ours(number), instead(number)))
    return pairs


def repeated(ours: Callable[[int], T], runs: int, warm_up: bool = True) -> list[T]:
    """What `ours` gives, `runs` times, where the goal is a bound and not another way to do it."""
    if warm_up:
        ours(-1)
    found: list[T] = []
    for number in range(runs):
        _note(f"run {number + 1} of {runs}")
        found.append(ours(number))
    return found


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest of the values that `percent` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def table(rows: Iterable[Row]) -> str:
    """Markdown."""
    lines = [HEAD, tuple("---" for _ in HEAD), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def show(rows: Iterable[Row]) -> None:
    """The table, for people."""
    shown = Table(*HEAD)
    for row in rows:
        shown.add_row(*(cell.replace("*", "") for cell in row.cells()))
    Console(width=None if sys.stdout.isatty() else 200).print(shown)


def to_json(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """For a file that `from_json` reads."""
    return [asdict(row) for row in rows]


def from_json(rows: Iterable[dict[str, Any]]) -> list[Row]:
    """The rows of such a file."""
    return [replace(Row(**row), goal=Goal(**row["goal"]) if row["goal"] else None) for row in rows]


def run(name: str, about: str | None, measure: Callable[[int], Sequence[Row]], runs: int = RUNS) -> None:
    """The command of one benchmark: measure, show the table, and write it as JSON if asked.

    Args:
        name: the benchmark's.
        about: its module's docstring, for `--help`.
        measure: takes the number of paired runs.
        runs: how many unless asked for another number.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=runs, help="paired runs (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file, too")
    asked = parser.parse_args()
    rows = [replace(row, benchmark=name) for row in measure(asked.runs)]
    show(rows)
    if asked.json:
        asked.json.write_text(json.dumps(to_json(rows)))


def _note(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text} …", end="", file=sys.stderr, flush=True)


def _spread(values: Sequence[float]) -> str:
    """Median (min to max)."""
    return f"{_figure(statistics.median(values))} ({_figure(min(values))}–{_figure(max(values))})"


def _figure(value: float) -> str:
    """Three digits that matter, no exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
