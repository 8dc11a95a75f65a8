"""`imagequeue batch list`, `show`, `results` and what steers batches: declared here, done in `batch_commands`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imagequeue.cli.options import AsJsonOption

BatchId = Annotated[str, typer.Argument(metavar="ID", help="The batch's id, `batch_…`.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("list")(list_batches)
    app.command()(show)
    app.command()(results)
    app.command("zip")(images_zip)
    app.command()(report)
    app.command()(retry)
    app.command()(pause)
    app.command()(resume)
    app.command("set")(change)
    app.command()(cancel)
    app.command()(delete)


def list_batches(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 20,
    as_json: AsJsonOption = False,
) -> None:
    """List batches, newest first.

    Examples:
      imagequeue batch list
      imagequeue batch list --limit 100 --json > batches.json
    """
    from imagequeue.cli import batch_commands  # noqa: PLC0415

    batch_commands.list_batches(limit, as_json=as_json)


def show(batch_id: BatchId, as_json: AsJsonOption = False) -> None:
    """Show how a batch stands: its lines, cost, cap, and what it waits for.

    Example:
      imagequeue batch show batch_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z
    """
    from imagequeue.cli import batch_commands  # noqa: PLC0415

    batch_commands.show(batch_id, as_json=as_json)


def results(
    batch_id: BatchId,
    finished: Annotated[
        bool, typer.Option("--finished", help="All that have ended, in that order, instead of the manifest's order.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write them here instead of printing them.")
    ] = None,
) -> None:
    """Print how lines ended, as JSONL: state, images, cost and error of each.

    In the manifest's order they stop before the first line that has not ended.

    Examples:
      imagequeue batch results batch_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z > results.jsonl
      imagequeue batch results batch_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z --finished -o so-far.jsonl
    """
    from imagequeue.cli import batch_commands  # noqa: PLC0415

    batch_commands.results(batch_id, "finished" if finished else "manifest", output)


def images_zip(
    batch_id: BatchId,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: the batch's id with .zip, here.")
    ] = None,
    by_prompt: Annotated[bool, typer.Option("--by-prompt", help="A folder for the images of each prompt.")] = False,
) -> None:
    """Save all images of a batch as one ZIP, named by custom_id; it may be made while the batch runs.

    `index.jsonl` in it says which image is whose, `failed.jsonl` which lines have none, and why.

    Examples:
      imagequeue batch zip batch_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z -o images.zip
      imagequeue batch zip batch_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z --by-prompt
    """
    from imagequeue.cli import batch_commands  # noqa: PLC0415

    batch_commands.images_zip(batch_id, output, by_prompt=by_prompt)


def report(
    batch_id: BatchId,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write a page with contact sheets here, as HTML."),
    ] = None,
    page: Annotated[int, typer.Option(min=1, help="Of the contact sheets: 100 lines each.")] = 1,
    as_json: AsJsonOption = False,
) -> None:
    """Tell what a batch came to: cost, time, why lines were refused or failed.

    Examples:
      imagequeue batch report batch_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z
      imagequeue batch report batch_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z -o report.html
    """
    from imagequeue.cli import batch_commands  # noqa: PLC0415

    batch_commands.report(batch_id, output, page, as_json=as_json)


def retry(
    batch_id: BatchId,
    refused: Annotated[bool, typer.Option("--refused", help="Those that OpenAI's safety system refused, too.")] = False,
    cancelled: Annotated[bool, typer.Option("--cancelled", help="Those that were cancelled, too.")] = False,
    as_json: AsJsonOption = False,
) -> None:
    """Run a batch's failed lines again, under the same cap; those that succeeded stay as they are.

    Save them with `imagequeue batch attach`, or by the `run` that made the batch.

    Examples:
      imagequeue batch retry batch_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z
      imagequeue batch retry batch_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z --cancelled
    """
    from imagequeue.cli import batch_commands  # noqa: PLC0415

    batch_commands.retry(batch_id, refused=refused, cancelled=cancelled, as_json=as_json)


def pause(batch_id: BatchId, as_json: AsJsonOption = False) -> None:
    """Begin no more lines; those in flight go on to their end.

    Example:
      imagequeue batch pause batch_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z
    """
    from imagequeue.cli import batch_commands  # noqa: PLC0415

    batch_commands.pause(batch_id, as_json=as_json)


def resume(batch_id: BatchId, as_json: AsJsonOption = False) -> None:
    """Let a paused batch go on; it pauses again when the reason still holds.

    Example:
      imagequeue batch resume batch_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z
    """
    from imagequeue.cli import batch_commands  # noqa: PLC0415

    batch_commands.resume(batch_id, as_json=as_json)


def change(
    batch_id: BatchId,
    max_cost: Annotated[
        str | None, typer.Option("--max-cost", metavar="USD", help="A new cap in dollars, or `none` for no cap.")
    ] = None,
    window: Annotated[
        int | None, typer.Option("--window", metavar="N", help="How many lines may be in flight at once.")
    ] = None,
    priority: Annotated[
        int | None, typer.Option("--priority", metavar="N", help="Batches with a higher one are served first.")
    ] = None,
    as_json: AsJsonOption = False,
) -> None:
    """Change a batch's cap, window or priority. One that is paused at its cap goes on when that is raised.

    Examples:
      imagequeue batch set batch_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z --max-cost 40
      imagequeue batch set batch_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z --window 10 --priority -1
    """
    from imagequeue.cli import batch_commands  # noqa: PLC0415

    batch_commands.change(batch_id, max_cost, window, priority, as_json=as_json)


def cancel(
    batch_id: BatchId,
    running: Annotated[
        bool, typer.Option("--running", help="Stop those in flight, too; OpenAI may bill them all the same.")
    ] = False,
    as_json: AsJsonOption = False,
) -> None:
    """Cancel the lines that have not begun; those in flight go on to their end.

    Examples:
      imagequeue batch cancel batch_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z
      imagequeue batch cancel batch_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z --running
    """
    from imagequeue.cli import batch_commands  # noqa: PLC0415

    batch_commands.cancel(batch_id, running=running, as_json=as_json)


def delete(
    batch_ids: Annotated[
        list[str], typer.Argument(metavar="ID...", help="Ids of batches that have ended.", show_default=False)
    ],
) -> None:
    """Delete batches that have ended, for good; the jobs of their lines stay, with the images.

    A batch that cannot be deleted does not keep the others.

    Example:
      imagequeue batch delete batch_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z
    """
    from imagequeue.cli import deletion  # noqa: PLC0415

    deletion.delete_batches(batch_ids)
