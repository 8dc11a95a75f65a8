"""Carries out `imagequeue usage`."""

from __future__ import annotations

import sys
from datetime import date

from imagequeue.cli.connection import connect
from imagequeue.cli.exits import say
from imagequeue.cli.output import dollars, print_json, print_table
from imagequeue.usage_reports import Grouping, UsageFigures

_COLUMNS = ("succeeded", "failed", "cancelled", "images", "tokens in", "tokens out", "estimate", "cost", "perhaps more")


def show(first_day: date | None, last_day: date | None, group: Grouping, *, as_json: bool) -> None:
    """Print the figures, a row for each day, key or model."""
    with connect() as client:
        report = client.usage(first_day, last_day, group)
    if as_json:
        print_json(report)
        return
    if not report.rows:
        say(f"No job ended from {report.first_day} to {report.last_day} (UTC).")
        return
    rows = [(str(row.day or row.key_id or row.model or "no key"), *_cells(row)) for row in report.rows]
    if sys.stdout.isatty():  # a script adds up by itself
        rows.append(("total", *_cells(report.total)))
    print_table((group, *_COLUMNS), rows, long=())
    if unknown := report.total.jobs_of_unknown_cost:
        say(f"Not in the cost: {unknown:,} jobs with calls of which OpenAI gave no usage figures.")


def _cells(figures: UsageFigures) -> tuple[str, ...]:
    jobs = figures.jobs
    counts = (jobs.succeeded, jobs.failed, jobs.cancelled, figures.images, figures.input_tokens, figures.output_tokens)
    money = (figures.estimate_usd, figures.cost_usd_estimated, figures.possible_extra_cost_usd)
    return (*map(str, counts), *map(dollars, money))
