"""`imagequeue edit`: declared here, carried out in `edit_commands`."""

from __future__ import annotations

from pathlib import Path

import typer

from imagequeue.cli.options import (
    BackgroundOption,
    ChangeArgument,
    CompressionOption,
    CountOption,
    FormatOption,
    ImageArguments,
    JobAsJsonOption,
    MaskOption,
    NoWaitOption,
    OnUnknownOption,
    OutputOption,
    PrefixOption,
    QualityOption,
    ReuseOption,
    SizeOption,
    UserOption,
    request_of,
)


def edit(
    prompt: ChangeArgument,
    images: ImageArguments,
    mask: MaskOption = None,
    size: SizeOption = None,
    quality: QualityOption = None,
    n: CountOption = None,
    output_format: FormatOption = None,
    compression: CompressionOption = None,
    background: BackgroundOption = None,
    prefix: PrefixOption = None,
    user: UserOption = None,
    on_unknown: OnUnknownOption = None,
    reuse: ReuseOption = None,
    output: OutputOption = Path(),
    no_wait: NoWaitOption = False,
    as_json: JobAsJsonOption = False,
) -> None:
    """Change or combine images by a text, wait for the results and save them.

    Files are uploaded first; an image that cannot be used is refused before
    anything is spent. Ctrl-C ends the waiting, not the job.

    Examples:
      imagequeue edit "make it night" lighthouse.png
      imagequeue edit "a red boat on the water" sea.png --mask water.png -o boats
      imagequeue edit "both on one shelf" cup.jpg book.jpg
      imagequeue edit "in oil" job:job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z/0
      imagequeue edit "without the text" https://example.com/poster.webp -n 3
    """
    from imagequeue.cli import delivery, edit_commands  # noqa: PLC0415

    request = request_of(
        prompt,
        images=images,
        mask=mask,
        size=size,
        quality=quality,
        n=n,
        output_format=output_format,
        output_compression=compression,
        background=background,
        filename_prefix=prefix,
        user=user,
        on_unknown_outcome=on_unknown,
        reuse=reuse,
    )
    edit_commands.edit(request, delivery.Delivery(output, wait=not no_wait, as_json=as_json))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(edit)
