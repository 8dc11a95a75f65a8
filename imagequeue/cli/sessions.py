"""`imagequeue session …`: declared here, carried out in `edit_commands` and `session_commands`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imagequeue.cli.options import (
    AsJsonOption,
    BackgroundOption,
    ChangeArgument,
    CompressionOption,
    FormatOption,
    ImageArguments,
    JobAsJsonOption,
    MaskOption,
    NoWaitOption,
    OnUnknownOption,
    OutputOption,
    PrefixOption,
    QualityOption,
    SizeOption,
    UserOption,
    request_of,
)

app = typer.Typer(
    help="""Edit an image turn by turn: each turn edits what the one before it made.

Turns run in the order of their submission, and need not be waited for. A turn
that fails cancels those behind it; the session goes on from its last good image.

Examples:
  imagequeue session start "make it night" lighthouse.png
  imagequeue session continue ses_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z "add a full moon"
  imagequeue session show ses_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z --sheet turns.html
""",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SessionId = Annotated[str, typer.Argument(metavar="ID", help="The session's id, `ses_…`.", show_default=False)]


@app.command()
def start(
    prompt: ChangeArgument,
    images: ImageArguments,
    mask: MaskOption = None,
    size: SizeOption = None,
    quality: QualityOption = None,
    output_format: FormatOption = None,
    compression: CompressionOption = None,
    background: BackgroundOption = None,
    prefix: PrefixOption = None,
    user: UserOption = None,
    on_unknown: OnUnknownOption = None,
    output: OutputOption = Path(),
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the session's id and leave.")] = False,
    as_json: JobAsJsonOption = False,
) -> None:
    """Start a session with its first turn, wait for the image and save it.

    Examples:
      imagequeue session start "make it night" lighthouse.png
      imagequeue session start "a red boat" sea.png --mask water.png -o boats
      ID=$(imagequeue session start "make it night" lighthouse.png --no-wait)
    """
    from imagequeue.cli import delivery, edit_commands  # noqa: PLC0415

    request = request_of(
        prompt,
        images=images,
        mask=mask,
        size=size,
        quality=quality,
        output_format=output_format,
        output_compression=compression,
        background=background,
        filename_prefix=prefix,
        user=user,
        on_unknown_outcome=on_unknown,
    )
    edit_commands.start_session(request, delivery.Delivery(output, wait=not no_wait, as_json=as_json))


@app.command("continue")
def go_on(
    session_id: SessionId,
    prompt: ChangeArgument,
    size: SizeOption = None,
    quality: QualityOption = None,
    output_format: FormatOption = None,
    compression: CompressionOption = None,
    background: BackgroundOption = None,
    prefix: PrefixOption = None,
    user: UserOption = None,
    on_unknown: OnUnknownOption = None,
    output: OutputOption = Path(),
    no_wait: NoWaitOption = False,
    as_json: JobAsJsonOption = False,
) -> None:
    """Add a turn, wait for its image and save it.

    The format of the image before is kept unless --format names another.

    Examples:
      imagequeue session continue ses_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z "add a full moon"
      imagequeue session continue ses_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z "less fog" --no-wait
    """
    from imagequeue.cli import delivery, edit_commands  # noqa: PLC0415

    request = request_of(
        prompt,
        size=size,
        quality=quality,
        output_format=output_format,
        output_compression=compression,
        background=background,
        filename_prefix=prefix,
        user=user,
        on_unknown_outcome=on_unknown,
    )
    edit_commands.continue_session(session_id, request, delivery.Delivery(output, wait=not no_wait, as_json=as_json))


@app.command("list")
def list_sessions(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 20,
    as_json: AsJsonOption = False,
) -> None:
    """List sessions, newest first.

    Examples:
      imagequeue session list
      imagequeue session list --limit 100 --json > sessions.json
    """
    from imagequeue.cli import session_commands  # noqa: PLC0415

    session_commands.list_sessions(limit, as_json=as_json)


@app.command()
def show(
    session_id: SessionId,
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the turns' images into this .html or .png, in place of what is there."
        ),
    ] = None,
    as_json: AsJsonOption = False,
) -> None:
    """Show a session's turns: state, prompt, size, seconds, cost and image.

    Examples:
      imagequeue session show ses_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z
      imagequeue session show ses_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z --sheet turns.png
    """
    from imagequeue.cli import session_commands  # noqa: PLC0415

    session_commands.show(session_id, sheet, as_json=as_json)


@app.command()
def fork(
    session_id: SessionId,
    turn: Annotated[
        int | None, typer.Option(min=0, metavar="K", help="Go on from this turn's image; default: the last good one.")
    ] = None,
    as_json: AsJsonOption = False,
) -> None:
    """Make a new session that goes on from a turn's image, and print its id; the old one stays as it is.

    Examples:
      imagequeue session fork ses_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z
      imagequeue session fork ses_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z --turn 1
    """
    from imagequeue.cli import session_commands  # noqa: PLC0415

    session_commands.fork(session_id, turn, as_json=as_json)


@app.command()
def end(session_id: SessionId, as_json: AsJsonOption = False) -> None:
    """End a session: turns that wait are cancelled, a running one finishes, images stay.

    Example:
      imagequeue session end ses_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z
    """
    from imagequeue.cli import session_commands  # noqa: PLC0415

    session_commands.end(session_id, as_json=as_json)


@app.command()
def delete(
    session_ids: Annotated[
        list[str], typer.Argument(metavar="ID...", help="Ids of sessions that are over.", show_default=False)
    ],
) -> None:
    """Delete sessions that are over, with all their turns and images, for good.

    What they cost stays in `imagequeue usage`. End an active session first.

    Example:
      imagequeue session delete ses_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z
    """
    from imagequeue.cli import deletion  # noqa: PLC0415

    deletion.delete_sessions(session_ids)
