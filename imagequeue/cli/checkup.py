"""`imagequeue doctor`: runs the checks and shows what they found."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from imagequeue.cli.checks import Check, Verdict, api_checks, bridge_check, openai_check, service_checks
from imagequeue.cli.connection import connect
from imagequeue.cli.exits import ExitCode
from imagequeue.cli.output import print_line
from imagequeue.cli.repair import repair_check
from imagequeue.cli.surroundings import look_around
from imagequeue.errors import Misconfigured

_SIGNS = {Verdict.OK: ("✓", "green"), Verdict.WRONG: ("✗", "bold red"), Verdict.SKIPPED: ("–", "dim")}
_API_TIMEOUT_SECONDS = 10.0


def run(*, as_json: bool, repair: bool = False) -> None:
    """Repair if asked to, run all checks, show them as they are done, and exit with 1 when anything is wrong."""
    checks: list[Check] = []
    for check in _all_checks(repair=repair):
        checks.append(check)
        if not as_json and not sys.stdout.isatty():
            print_line(_plain(check))
    if as_json:
        print_line(json.dumps([check.as_dict() for check in checks], indent=2, ensure_ascii=False))
    elif sys.stdout.isatty():
        Console().print(_table(checks))
    sys.exit(ExitCode.FAILED if any(check.verdict is Verdict.WRONG for check in checks) else ExitCode.OK)


def _all_checks(*, repair: bool) -> Iterator[Check]:
    try:
        around = look_around()
    except Misconfigured as error:
        yield Check("settings", Verdict.WRONG, str(error), "Correct or unset the variable.")
        around = None
    else:
        yield Check("settings", Verdict.OK, around.summary)
    yield from _api()
    if around is None:
        yield Check("redis, s3, openai", Verdict.SKIPPED, "not checked: the settings have to be right first")
        return
    if around.stack:
        yield bridge_check(around.stack)
    if repair:
        yield repair_check(around)
    yield from service_checks(around)
    yield openai_check(around)


def _api() -> Iterator[Check]:
    try:
        client = connect(_API_TIMEOUT_SECONDS)
    except Misconfigured as error:
        yield Check("api", Verdict.WRONG, str(error), "Correct IMAGEQUEUE_API_URL.")
        return
    with client:
        yield from api_checks(client)


def _plain(check: Check) -> str:
    mend = f"  -> {check.mend}" if check.mend else ""
    return f"{_SIGNS[check.verdict][0]} {check.name}: {check.detail}{mend}"


def _table(checks: list[Check]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "part", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for check in checks:
        sign, style = _SIGNS[check.verdict]
        table.add_row(Text(sign, style), Text(check.name), Text(check.detail), Text(check.mend))
    return table
