"""Carries out `imagequeue batch estimate`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from rich.console import Console

from imagequeue.api_answers import ApiProblem
from imagequeue.cli.connection import connect
from imagequeue.cli.exits import fail, say
from imagequeue.cli.output import dollars, one_line, print_json, print_line, show_table
from imagequeue.estimate_views import EstimateView, SpendingLimitView
from imagequeue.manifests.views import LineViolation

_SHOWN: Final = 20
_COLUMNS: Final = ("line", "field", "rule", "given", "for example")
_BOUNDS: Final = {
    "images_per_minute": "the limit of images per minute",
    "tokens_per_minute": "the limit of tokens per minute",
    "input_images_per_minute": "the limit of input images per minute",
    "calls_at_once": "how many calls may run at once",
    "one_call": "how long one call takes",
    "completion_window": "OpenAI's Batch API",
}
_LIMITS: Final = {
    "daily_budget_usd": "the key's budget of today",
    "monthly_budget_usd": "the key's budget of this month",
    "max_cost_usd": "--max-cost",
}
_EXCESSES: Final = {
    "no": "covers all lines",
    "possible": "is exceeded at the upper bound",
    "likely": "is probably exceeded",
    "certain": "is exceeded even at the lowest price",
}


def show(file: Path, options: Mapping[str, object], *, as_json: bool) -> None:
    """Print what the manifest comes to, or what is wrong with it."""
    try:
        with connect() as client:
            found = client.manifests.estimate(file, **options)
    except ApiProblem as error:
        refuse_lines(error)
    if as_json:
        print_json(found)
        return
    print_line(found.summary)
    say_estimate(found)


def say_estimate(found: EstimateView) -> None:
    """Tell what is behind an estimate's summary."""
    for fact in _facts(found):
        say(f"  {fact}")
    for line in found.preview:
        say(f"  line {line.line}  {one_line(line.custom_id, 30)}  {one_line(line.request.prompt)}")
    if found.skipped_lines:
        say(f"{found.skipped_lines:,} bad lines are left out:")
        say_lines(found.skipped)


def refuse_lines(error: ApiProblem) -> NoReturn:
    """End the command with what is wrong with a manifest."""
    say_lines(error.lines)
    fail(error)


def say_lines(lines: Sequence[LineViolation]) -> None:
    """Tell what is wrong with lines, one rule a row: a table on a terminal."""
    if sys.stderr.isatty():
        rows = [(str(each.line), each.field, each.rule, each.given, each.example) for each in lines[:_SHOWN]]
        show_table(_COLUMNS, rows, long={*_COLUMNS[2:]}, console=Console(stderr=True))
    else:
        for each in lines[:_SHOWN]:
            say(f"line {each.line}: {each.field}: {each.rule}; given {each.given}, for example {each.example}")
    if len(lines) > _SHOWN:
        say(f"… and {len(lines) - _SHOWN:,} more")


def _facts(found: EstimateView) -> list[str]:
    cost = f"{dollars(found.low_usd)} to {dollars(found.high_usd)}, expected {dollars(found.expected_usd)}"
    facts = [f"{found.lines:,} lines, {found.images:,} images: {cost}", f"time: by {_BOUNDS[found.bound]}"]
    return [*facts, *map(_limit, found.limits), *found.notes]


def _limit(limit: SpendingLimitView) -> str:
    lines = "" if limit.exceeded == "no" else f"; it surely pays for the first {limit.covered_lines:,} lines"
    return f"{_LIMITS[limit.name]} ({dollars(limit.left_usd)} left) {_EXCESSES[limit.exceeded]}{lines}"
