"""What commands print: tables for people, tab-separated lines for pipes, JSON when asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Sequence
from datetime import datetime

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from imagequeue.views import JobView

UNKNOWN = "unknown"


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, long: Collection[str]) -> None:
    """Print rows: a table on a terminal, else one line each with tabs between the cells and nothing cut off.

    Args:
        columns: headings.
        rows: one text for each column.
        long: the columns that give way on a narrow terminal.
    """
    if not sys.stdout.isatty():
        for row in rows:
            print_line("\t".join(row))
        return
    show_table(columns, rows, long=long, console=Console())


def show_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, long: Collection[str], console: Console
) -> None:
    """Show rows on a terminal; see `print_table`."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column not in long)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def print_line(text: str) -> None:
    """Print one line on standard output as it is."""
    sys.stdout.write(f"{text}\n")


def print_json(value: BaseModel, **more: object) -> None:
    """Print a view as indented JSON, with further fields."""
    print_line(json.dumps({**value.model_dump(mode="json"), **more}, indent=2, ensure_ascii=False))


def one_line(text: str, length: int = 60) -> str:
    """The text without control characters, which a terminal would obey, and shortened."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return clean if len(clean) <= length else f"{clean[: length - 1]}…"


def dollars(amount: float | None) -> str:
    """`$0.0053`; what is not known is said to be unknown, never 0."""
    return UNKNOWN if amount is None else f"${amount:.4f}"


def local_time(moment: datetime | None) -> str:
    """The moment in this machine's time zone, to the second."""
    return "" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def cost_text(job: JobView) -> str:
    """What the job cost, and what it may have cost on top."""
    line = dollars(job.cost_usd_estimated)
    if job.cost_usd_estimated is None:
        line += f" (OpenAI gave no usage; estimated before: {dollars(job.estimate.expected_usd)})"
    else:
        line += " (estimated from OpenAI's usage figures)"
    if job.possible_extra_cost_usd:
        line += f"; calls of unknown fate may have cost up to {dollars(job.possible_extra_cost_usd)} more"
    return line
