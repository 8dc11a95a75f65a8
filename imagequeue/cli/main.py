"""`imagequeue`: wires the commands together and turns errors into one line and an exit code."""

from __future__ import annotations

import sys
from importlib.metadata import version
from io import TextIOWrapper
from typing import Annotated, NoReturn

import typer

from imagequeue.cli import batch, doctor, edit, generate, jobs, keys, mcp, processes, sessions, usage, webhooks
from imagequeue.cli.exits import fail
from imagequeue.errors import ImageQueueError

_HELP = """A job queue for OpenAI's gpt-image-2.

Start here, on one machine, with nothing to set up:
  imagequeue up                                 start everything
  imagequeue generate "a lighthouse at dawn"    in a second terminal
  imagequeue edit "make it night" image.png     change it, once
  imagequeue session start "…" image.png        or turn by turn
  imagequeue doctor                             find out what is wrong

Exit codes: 0 done, 1 the job or a check failed, 2 bad input or setting,
3 the API cannot be reached, 130 interrupted (jobs go on).
"""

app = typer.Typer(
    help=_HELP,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
generate.register(app)
edit.register(app)
app.add_typer(sessions.app, name="session")
app.add_typer(jobs.app, name="jobs")
app.add_typer(batch.app, name="batch")
app.add_typer(keys.app, name="keys")
usage.register(app)
app.add_typer(webhooks.app, name="webhooks")
doctor.register(app)
processes.register(app)
app.add_typer(mcp.app, name="mcp", rich_help_panel="Processes")


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"imagequeue {version('imagequeue')}")
        raise typer.Exit


@app.callback()
def _root(  # pyright: ignore[reportUnusedFunction]
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> NoReturn:
    """Run the command that `sys.argv` names and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ✓ still gets the rest of the line
    try:
        app(prog_name="imagequeue")
    except ImageQueueError as error:
        fail(error)
    sys.exit(0)
