"""`imagequeue generate`: declared here, carried out in `submission`."""

from __future__ import annotations

from pathlib import Path

import typer

from imagequeue.cli.options import (
    BackgroundOption,
    CompressionOption,
    CountOption,
    FormatOption,
    JobAsJsonOption,
    ModerationOption,
    NoWaitOption,
    OnUnknownOption,
    OutputOption,
    PrefixOption,
    PromptArgument,
    QualityOption,
    ReuseOption,
    SizeOption,
    UserOption,
    request_of,
)


def generate(
    prompt: PromptArgument,
    size: SizeOption = None,
    quality: QualityOption = None,
    n: CountOption = None,
    output_format: FormatOption = None,
    compression: CompressionOption = None,
    background: BackgroundOption = None,
    moderation: ModerationOption = None,
    prefix: PrefixOption = None,
    user: UserOption = None,
    on_unknown: OnUnknownOption = None,
    reuse: ReuseOption = None,
    output: OutputOption = Path(),
    no_wait: NoWaitOption = False,
    as_json: JobAsJsonOption = False,
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
    from imagequeue.cli import delivery, submission  # noqa: PLC0415

    request = request_of(
        prompt,
        size=size,
        quality=quality,
        n=n,
        output_format=output_format,
        output_compression=compression,
        background=background,
        moderation=moderation,
        filename_prefix=prefix,
        user=user,
        on_unknown_outcome=on_unknown,
        reuse=reuse,
    )
    submission.generate(request, delivery.Delivery(output, wait=not no_wait, as_json=as_json))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(generate)
