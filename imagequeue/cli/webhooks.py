"""`imagequeue webhooks …`: declared here, carried out in `webhook_commands`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from imagequeue.cli.options import AsJsonOption

app = typer.Typer(
    help="""Be told when jobs have ended: endpoints, deliveries, the secret that signs.

Examples:
  imagequeue webhooks add https://example.com/imagequeue
  imagequeue webhooks deliveries --state failed
  imagequeue webhooks secret
""",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Event(StrEnum):
    """The events, as an option's values; `imagequeue.webhooks.EventType` without its imports."""

    SUCCEEDED = "job.succeeded"
    FAILED = "job.failed"
    CANCELLED = "job.cancelled"
    BATCH_COMPLETED = "batch.completed"
    BATCH_CANCELLED = "batch.cancelled"
    BATCH_PAUSED = "batch.paused"


class State(StrEnum):
    """The states of a delivery, as an option's values; `imagequeue.webhooks.DeliveryState` without its imports."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@app.command("list")
def list_endpoints(as_json: AsJsonOption = False) -> None:
    """List your endpoints: the URLs that get the events of all of your jobs.

    Example:
      imagequeue webhooks list
    """
    from imagequeue.cli import webhook_commands  # noqa: PLC0415

    webhook_commands.list_endpoints(as_json=as_json)


@app.command()
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="An https:// URL.", show_default=False)],
    event: Annotated[
        list[Event] | None,
        typer.Option(
            metavar="EVENT", help="`job.succeeded`, `job.failed` or `job.cancelled`; may be repeated. Default: all."
        ),
    ] = None,
    as_json: AsJsonOption = False,
) -> None:
    """Add an endpoint and print its id; a URL that is one gets these events from now on, and is enabled again.

    Examples:
      imagequeue webhooks add https://example.com/imagequeue
      imagequeue webhooks add https://example.com/alarms --event job.failed
    """
    from imagequeue.cli import webhook_commands  # noqa: PLC0415

    webhook_commands.add([one.value for one in event or ()], url, as_json=as_json)


@app.command()
def remove(
    endpoint_id: Annotated[str, typer.Argument(metavar="ID", help="The endpoint's id, `whe_…`.", show_default=False)],
) -> None:
    """Remove an endpoint; what it was not told yet, it is not told any more.

    Example:
      imagequeue webhooks remove whe_0a1b2c3d4e5f60718293a4b5
    """
    from imagequeue.cli import webhook_commands  # noqa: PLC0415

    webhook_commands.remove(endpoint_id)


@app.command()
def deliveries(
    job: Annotated[str | None, typer.Option(metavar="ID", help="Only those about this job.")] = None,
    state: Annotated[
        State | None, typer.Option(metavar="STATE", help="Only `pending`, `delivered` or `failed` ones.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 20,
    as_json: AsJsonOption = False,
) -> None:
    """List deliveries, newest first, with the last answer of each.

    Examples:
      imagequeue webhooks deliveries --state failed
      imagequeue webhooks deliveries --job job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z --json
    """
    from imagequeue.cli import webhook_commands  # noqa: PLC0415

    webhook_commands.list_deliveries(job, state.value if state else None, limit, as_json=as_json)


@app.command()
def redeliver(
    delivery_id: Annotated[str, typer.Argument(metavar="ID", help="The delivery's id, `dlv_…`.", show_default=False)],
    as_json: AsJsonOption = False,
) -> None:
    """Send a delivery again now, under the same webhook-id; it is retried like a new one.

    Example:
      imagequeue webhooks redeliver dlv_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z_0a1b2c3d
    """
    from imagequeue.cli import webhook_commands  # noqa: PLC0415

    webhook_commands.redeliver(delivery_id, as_json=as_json)


@app.command()
def secret(as_json: AsJsonOption = False) -> None:
    """Print the secret that signs your webhooks: receivers verify with it.

    Example:
      export WEBHOOK_SECRET=$(imagequeue webhooks secret)
    """
    from imagequeue.cli import webhook_commands  # noqa: PLC0415

    webhook_commands.secret(as_json=as_json)


@app.command("rotate-secret")
def rotate_secret(as_json: AsJsonOption = False) -> None:
    """Put a new secret in use and print it; the one before signs too for 24 hours.

    Example:
      imagequeue webhooks rotate-secret
    """
    from imagequeue.cli import webhook_commands  # noqa: PLC0415

    webhook_commands.rotate_secret(as_json=as_json)
