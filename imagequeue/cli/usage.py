"""`imagequeue usage`: declared here, carried out in `usage_command`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer

from imagequeue.cli.options import AsJsonOption


class Group(StrEnum):
    """What a row stands for."""

    DAY = "day"
    KEY = "key"
    MODEL = "model"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(usage)


def usage(
    first: Annotated[
        datetime | None,
        typer.Option(
            "--from", metavar="DAY", formats=["%Y-%m-%d"], help="First day, YYYY-MM-DD (UTC); default: 29 days before."
        ),
    ] = None,
    last: Annotated[
        datetime | None,
        typer.Option("--to", metavar="DAY", formats=["%Y-%m-%d"], help="Last day, included; default: today."),
    ] = None,
    group: Annotated[Group, typer.Option("--group", metavar="BY", help="`day`, `key` or `model`.")] = Group.DAY,
    as_json: AsJsonOption = False,
) -> None:
    """Show what your jobs came to: how they ended, images, tokens and money.

    Jobs count on the day on which they ended, and stay counted when they are deleted.

    Examples:
      imagequeue usage
      imagequeue usage --from 2026-08-01 --to 2026-08-31 --group model
    """
    from imagequeue.cli import usage_command  # noqa: PLC0415

    usage_command.show(first.date() if first else None, last.date() if last else None, group.value, as_json=as_json)
