"""`imagequeue doctor`: declared here, carried out in `checkup`."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="First set right what crashes left behind, as workers do each second.")
    ] = False,
) -> None:
    """Check every part and say how to mend what is wrong.

    Looks at the settings, the API, the MCP bridge of `imagequeue up`, Redis, S3,
    the workers, the way of messages, and the OpenAI key (by listing models,
    which is free). Redis and S3 are checked from here when IMAGEQUEUE_REDIS_URL
    is set or `imagequeue up` runs on this machine. Exit code 1 when anything is wrong.

    Examples:
      imagequeue doctor
      imagequeue doctor --repair
      IMAGEQUEUE_API_URL=https://images.example.com imagequeue doctor
    """
    from imagequeue.cli import checkup  # noqa: PLC0415

    checkup.run(as_json=as_json, repair=repair)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)
