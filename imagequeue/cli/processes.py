"""The commands that start and stop processes.

They are looked up among the installed entry points: `api` and `worker` are common names, and a module of that name in
the current folder must never be run.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from imagequeue.errors import Misconfigured

_GROUP = "imagequeue.processes"
Data = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Data folder; default: IMAGEQUEUE_DATA_DIR, else the user's own data folder."),
]


def api() -> None:
    """Serve the REST API until SIGTERM or Ctrl-C.

    Settings come from the environment.

    Example:
      IMAGEQUEUE_REDIS_URL=redis://127.0.0.1:6379/0 imagequeue api
    """
    run_process("api")


def worker() -> None:
    """Work on jobs until SIGTERM or Ctrl-C; calls in flight are finished first.

    Settings come from the environment. Start as many as you like, on as many
    machines.

    Example:
      OPENAI_API_KEY=sk-… imagequeue worker
    """
    run_process("worker")


def flower(
    host: Annotated[str, typer.Option(envvar="FLOWER_ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, envvar="FLOWER_PORT", help="Port to listen on.")] = 5555,
) -> None:
    """Serve Flower, Celery's own page on workers and messages.

    Settings come from the environment: IMAGEQUEUE_REDIS_URL, and Flower's own
    FLOWER_*. FLOWER_BASIC_AUTH says who may look; without it nothing starts.
    Needs: pip install 'imagequeue[flower]'

    Example:
      FLOWER_BASIC_AUTH=me:a-password imagequeue flower
    """
    run_process("flower", host=host, port=port)


def sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8090,
    latency: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long each image takes.")] = 0.0,
    journal: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Append every call to this file, as JSON lines.")
    ] = None,
) -> None:
    """Serve a stand-in for OpenAI that paints images: free, for tests and rehearsals.

    While it runs, GET and POST /sandbox/settings read and change its latency, the rate limits that it enforces, and
    whether the account is blocked; POST /sandbox/faults lets coming calls fail.

    Examples:
      imagequeue sandbox --port 8090 --latency 2
      OPENAI_BASE_URL=http://127.0.0.1:8090/v1 imagequeue worker
    """
    run_process("sandbox", host=host, port=port, latency_seconds=latency, journal=journal)


def up(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The API's port; default: the last one, or 8080.")
    ] = None,
    mcp_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The MCP bridge's port; default: the last one, or 8765.")
    ] = None,
    data: Data = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 1,
    ready_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the addresses here, as JSON, once all serves.")
    ] = None,
) -> None:
    """Start everything on this machine and keep it running until Ctrl-C.

    Redis, S3 storage, a worker, the API and the MCP bridge. Images are made by
    OpenAI when OPENAI_API_KEY is set, and painted for free when it is not. Jobs
    and images are kept for the next start.

    Examples:
      imagequeue up
      OPENAI_API_KEY=sk-… imagequeue up --workers 2
    """
    run_process("up", port=port, mcp_port=mcp_port, data=data, workers=workers, ready_file=ready_file)


def down(data: Data = None) -> None:
    """Stop what `imagequeue up` started; jobs and images are kept.

    Example:
      imagequeue down
    """
    run_process("down", data=data)


def register(app: typer.Typer) -> None:
    """Add the commands, under a heading of their own."""
    for command in (up, down, api, worker, sandbox, flower):
        app.command(rich_help_panel="Processes")(command)


def run_process(name: str, **arguments: object) -> None:
    """Call an entry point and exit with the code it returns, if it returns one.

    Raises:
        Misconfigured: the installation does not have it.
    """
    found = next(iter(entry_points(group=_GROUP, name=name)), None)
    if found is None:
        raise Misconfigured(f"This installation has no {name!r} process. Install it again: pip install imagequeue")
    code = found.load()(**arguments)
    sys.exit(code or 0)
