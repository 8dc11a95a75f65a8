"""`imagequeue batch estimate`, `run` and `attach`: declared here, carried out in `batch_estimate` and `batch_run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imagequeue.cli import batch_steering
from imagequeue.cli.batch_steering import BatchId
from imagequeue.cli.options import AsJsonOption

app = typer.Typer(
    help="""Many requests as one: know the price before, cap it, watch it, and get every image once.

A manifest is a file of requests: .jsonl (an object on each line), .json (an array) or .csv (a row each).

A line has a `prompt`, perhaps a `custom_id`, which names its image, and the options of a job.

Examples:
  imagequeue batch estimate lines.jsonl
  imagequeue batch run lines.jsonl -o images --max-cost 20
  imagequeue batch list
""",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ManifestArgument = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="The lines: .jsonl, .json with an array, or .csv with a column `prompt`.",
        exists=True,
        dir_okay=False,
        show_default=False,
    ),
]
TemplateOption = Annotated[
    str | None,
    typer.Option("--template", metavar="PROMPT", help="A prompt with {placeholders}; the lines have their values."),
]
SkipInvalidOption = Annotated[bool, typer.Option("--skip-invalid", help="Leave bad lines out.")]
MaxCostOption = Annotated[
    float | None, typer.Option("--max-cost", metavar="USD", help="Dollars that the batch may never exceed.")
]
WindowOption = Annotated[
    int | None, typer.Option("--window", metavar="N", help="How many lines may be in flight at once.")
]
PriorityOption = Annotated[
    int | None, typer.Option("--priority", metavar="N", help="Batches with a higher one are served first; default 0.")
]
EconomyOption = Annotated[
    bool, typer.Option("--economy", help="By OpenAI's Batch API: half the price, within 24 hours.")
]
FolderOption = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="The batch's own folder: images and `results.jsonl`; made if missing; other files stay.",
        show_default=False,
    ),
]
BatchAsJsonOption = Annotated[bool, typer.Option("--json", help="Print the batch as JSON at the end.")]


@app.command()
def run(
    file: ManifestArgument,
    output: FolderOption,
    template: TemplateOption = None,
    skip_invalid: SkipInvalidOption = False,
    max_cost: MaxCostOption = None,
    window: WindowOption = None,
    priority: PriorityOption = None,
    economy: EconomyOption = False,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="For people; default: the file's.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, whatever it may cost.")] = False,
    confirm_above: Annotated[
        float, typer.Option("--confirm-above", metavar="USD", min=0, help="Ask when it may cost more dollars.")
    ] = 1.0,
    as_json: BatchAsJsonOption = False,
) -> None:
    """Estimate, ask, submit, and save every image as its line ends.

    An image is named by its line's `custom_id`; at the end `results.jsonl` tells how each line ended.

    Ctrl-C leaves, and the batch goes on without you. Run the same command again at any time:

    it goes on with this folder's batch, fetches what is missing and buys nothing twice.

    A new --max-cost, --window or --priority holds from then on.

    It ends with 0 when all lines succeeded, with 1 when some did not or the batch is paused.

    Examples:
      imagequeue batch run lines.jsonl -o images
      imagequeue batch run lines.jsonl -o images --max-cost 20 --yes
      imagequeue batch run animals.csv -o zoo --template "A {animal} in the style of {style}"
    """
    from imagequeue.cli import batch_run  # noqa: PLC0415

    purchase = batch_run.Purchase(
        file,
        lines={"template": template, "skip_invalid": True if skip_invalid else None},
        terms={
            "name": name or (file.stem if file.stem.isprintable() else None),
            "max_cost_usd": max_cost,
            "window": window,
            "priority": priority,
            "completion_window": "24h" if economy else None,
        },
        confirm_above=None if yes else confirm_above,
        as_json=as_json,
    )
    batch_run.run(purchase, output)


@app.command()
def attach(batch_id: BatchId, output: FolderOption, as_json: BatchAsJsonOption = False) -> None:
    """Go on watching a batch and saving its images, here or on another machine.

    What is there already is not fetched again.

    Example:
      imagequeue batch attach batch_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z -o images
    """
    from imagequeue.cli import batch_run  # noqa: PLC0415

    batch_run.attach(batch_id, output, as_json=as_json)


@app.command()
def estimate(
    file: ManifestArgument,
    template: TemplateOption = None,
    skip_invalid: SkipInvalidOption = False,
    max_cost: MaxCostOption = None,
    window: WindowOption = None,
    economy: EconomyOption = False,
    as_json: AsJsonOption = False,
) -> None:
    """Tell what a manifest would cost and take, and which lines are wrong; nothing is spent.

    Examples:
      imagequeue batch estimate lines.jsonl
      imagequeue batch estimate animals.csv --template "A {animal} in the style of {style}"
    """
    from imagequeue.cli import batch_estimate  # noqa: PLC0415

    batch_estimate.show(
        file,
        {
            "template": template,
            "skip_invalid": True if skip_invalid else None,
            "max_cost_usd": max_cost,
            "window": window,
            "completion_window": "24h" if economy else None,
        },
        as_json=as_json,
    )


batch_steering.register(app)
