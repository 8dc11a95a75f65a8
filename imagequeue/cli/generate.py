"""`imagequeue generate`: declared here, carried out in `delivery`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

Prompt = Annotated[str, typer.Argument(help="What to paint; `-` reads it from standard input.", show_default=False)]
Size = Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels, multiples of 16, or `auto`.", metavar="WxH")]
Quality = Annotated[str | None, typer.Option(help="`low`, `medium`, `high` or `auto`.", metavar="QUALITY")]
Count = Annotated[int | None, typer.Option("--n", "-n", help="Number of images, 1 to 10.", metavar="N")]
Format = Annotated[str | None, typer.Option("--format", help="`png`, `jpeg` or `webp`.", metavar="FORMAT")]
Compression = Annotated[int | None, typer.Option(help="0 to 100, for jpeg and webp.", metavar="PERCENT")]
Background = Annotated[str | None, typer.Option(help="`opaque` or `auto`.", metavar="KIND")]
Moderation = Annotated[str | None, typer.Option(help="`auto` or `low`.", metavar="LEVEL")]
Prefix = Annotated[str | None, typer.Option(help="Label in the file names.", metavar="LABEL")]
User = Annotated[str | None, typer.Option(help="End user's id, hashed, passed on to OpenAI.", metavar="ID")]
Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        help="Folder for the files; made if missing; nothing in it is overwritten.",
        metavar="DIR",
        envvar="GPT_IMAGE_2_OUTPUT_DIR",
    ),
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Print the job's id and leave.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the job as JSON, with the saved `files`.")]


def generate(
    prompt: Prompt,
    size: Size = None,
    quality: Quality = None,
    n: Count = None,
    output_format: Format = None,
    compression: Compression = None,
    background: Background = None,
    moderation: Moderation = None,
    prefix: Prefix = None,
    user: User = None,
    output: Output = Path(),
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Make images from a text, wait for them and save them.

    Ctrl-C ends the waiting, not the job: it says how to fetch the images later.

    Examples:
      imagequeue generate "a lighthouse at dawn, oil on canvas"
      imagequeue generate "a fox in the snow" --size 1536x1024 -n 4 -o foxes
      imagequeue generate "a logo" --format webp --compression 80
      imagequeue generate - --json < prompt.txt
      imagequeue generate "a map of a far island" --no-wait
    """
    # Here and in the other commands: what the work needs would make `--help` slow.
    from imagequeue.cli import delivery  # noqa: PLC0415

    given = {
        "prompt": _read_standard_input() if prompt == "-" else prompt,
        "size": size,
        "quality": quality,
        "n": n,
        "output_format": output_format,
        "output_compression": compression,
        "background": background,
        "moderation": moderation,
        "filename_prefix": prefix,
        "user": user,
    }
    request = {name: value for name, value in given.items() if value is not None}
    delivery.generate(request, output, wait=not no_wait, as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(generate)


def _read_standard_input() -> str:
    """The whole text; bytes that are not UTF-8 stay visible to the validation, as in arguments."""
    return sys.stdin.buffer.read().decode("utf-8", "surrogateescape").rstrip("\r\n")
