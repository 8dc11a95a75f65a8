"""Arguments and options that more than one command declares."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

PromptArgument = Annotated[
    str, typer.Argument(metavar="PROMPT", help="What to paint; `-` reads it from standard input.", show_default=False)
]
ChangeArgument = Annotated[
    str, typer.Argument(metavar="PROMPT", help="What to change; `-` reads it from standard input.", show_default=False)
]
ImageArguments = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE",
        help="1 to 8 images: files, `job:ID/INDEX` for one made here, `upload:SHA256`, or http(s) URLs.",
        show_default=False,
    ),
]
MaskOption = Annotated[
    str | None,
    typer.Option("--mask", metavar="FILE", help="PNG as large as the first image: what is transparent is edited."),
]
SizeOption = Annotated[
    str | None, typer.Option("--size", help="WIDTHxHEIGHT in pixels, multiples of 16, or `auto`.", metavar="WxH")
]
QualityOption = Annotated[
    str | None, typer.Option("--quality", help="`low`, `medium`, `high` or `auto`.", metavar="QUALITY")
]
CountOption = Annotated[int | None, typer.Option("--n", "-n", help="Number of images, 1 to 10.", metavar="N")]
FormatOption = Annotated[str | None, typer.Option("--format", help="`png`, `jpeg` or `webp`.", metavar="FORMAT")]
CompressionOption = Annotated[
    int | None, typer.Option("--compression", help="0 to 100, for jpeg and webp.", metavar="PERCENT")
]
BackgroundOption = Annotated[str | None, typer.Option("--background", help="`opaque` or `auto`.", metavar="KIND")]
ModerationOption = Annotated[str | None, typer.Option("--moderation", help="`auto` or `low`.", metavar="LEVEL")]
PrefixOption = Annotated[str | None, typer.Option("--prefix", help="Label in the file names.", metavar="LABEL")]
UserOption = Annotated[
    str | None, typer.Option("--user", help="End user's id, hashed, passed on to OpenAI.", metavar="ID")
]
OnUnknownOption = Annotated[
    str | None,
    typer.Option(
        "--on-unknown",
        help="After a call whose fate is not known: `retry` (may pay twice) or `fail`.",
        metavar="ACTION",
    ),
]
ReuseOption = Annotated[
    bool | None,
    typer.Option("--reuse", help="Take the images of an identical earlier request, at no cost, if there are any."),
]
OutputOption = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        help="Folder for the files; made if missing; nothing in it is overwritten.",
        metavar="DIR",
        envvar="GPT_IMAGE_2_OUTPUT_DIR",
    ),
]
NoWaitOption = Annotated[bool, typer.Option("--no-wait", help="Print the job's id and leave.")]
JobAsJsonOption = Annotated[bool, typer.Option("--json", help="Print the job as JSON, with the saved `files`.")]
AsJsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, as the API gives it.")]


def request_of(prompt: str, **options: object) -> dict[str, object]:
    """A request with the options that were given; the prompt `-` stands for standard input."""
    given = {"prompt": _read_standard_input() if prompt == "-" else prompt, **options}
    return {name: value for name, value in given.items() if value is not None}


def _read_standard_input() -> str:
    """The whole text; bytes that are not UTF-8 stay visible to the validation, as in arguments."""
    return sys.stdin.buffer.read().decode("utf-8", "surrogateescape").rstrip("\r\n")
