"""`imagequeue keys …`: declared here, carried out in `key_commands`."""

from __future__ import annotations

from typing import Annotated

import typer

from imagequeue.cli.options import AsJsonOption

app = typer.Typer(
    help="""Make, list, limit, rotate and revoke API keys.

Needs a key with the scope admin, as the first one has: `imagequeue up` makes it,
and an API that is started with IMAGEQUEUE_FIRST_KEY_FILE. What a key makes
belongs to its owner; nobody else sees it.

Examples:
  export IMAGEQUEUE_API_KEY=$(imagequeue keys secret)
  imagequeue keys create studio --daily-budget 20 --jobs-per-minute 60
  imagequeue keys list
  imagequeue keys rotate key_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z --grace-hours 24
""",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's id, `key_…`.", show_default=False)]
PerMinute = Annotated[int | None, typer.Option(min=1, help="Most jobs a minute.")]
InFlight = Annotated[int | None, typer.Option(min=1, help="Most jobs that have not ended.")]
Daily = Annotated[float | None, typer.Option(metavar="DOLLARS", help="Most dollars a day (UTC).")]
Monthly = Annotated[float | None, typer.Option(metavar="DOLLARS", help="Most dollars a month (UTC).")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="For people: who or what uses it.", show_default=False)],
    owner: Annotated[
        str | None, typer.Option(help="Whose records it makes and sees; default: its own, that no other key sees.")
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="submit, read or admin; may be repeated. Default: submit and read.")
    ] = None,
    jobs_per_minute: PerMinute = None,
    jobs_in_flight: InFlight = None,
    daily_budget: Daily = None,
    monthly_budget: Monthly = None,
    as_json: AsJsonOption = False,
) -> None:
    """Make a key and print its secret, which is shown this once.

    Examples:
      imagequeue keys create studio --daily-budget 20
      export IMAGEQUEUE_API_KEY=$(imagequeue keys create ci --jobs-in-flight 50)
    """
    from imagequeue.cli import key_commands  # noqa: PLC0415

    limits = key_commands.limits(jobs_per_minute, jobs_in_flight, daily_budget, monthly_budget)
    key_commands.create(name, owner, scope, limits, as_json=as_json)


@app.command()
def secret() -> None:
    """Print the key that the commands here use, for curl and other programs.

    It is IMAGEQUEUE_API_KEY, or else the first key of the stack on this machine.

    Example:
      export IMAGEQUEUE_API_KEY=$(imagequeue keys secret)
    """
    from imagequeue.cli import key_commands  # noqa: PLC0415

    key_commands.secret()


@app.command("list")
def list_keys(as_json: AsJsonOption = False) -> None:
    """List all keys, with their limits and what they have used.

    Example:
      imagequeue keys list
    """
    from imagequeue.cli import key_commands  # noqa: PLC0415

    key_commands.list_keys(as_json=as_json)


@app.command()
def limit(
    key_id: KeyId,
    jobs_per_minute: PerMinute = None,
    jobs_in_flight: InFlight = None,
    daily_budget: Daily = None,
    monthly_budget: Monthly = None,
) -> None:
    """Replace a key's limits; what is not named is not limited any more.

    Example:
      imagequeue keys limit key_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z --monthly-budget 500
    """
    from imagequeue.cli import key_commands  # noqa: PLC0415

    key_commands.limit(key_id, key_commands.limits(jobs_per_minute, jobs_in_flight, daily_budget, monthly_budget))


@app.command()
def rotate(
    key_id: KeyId,
    grace_hours: Annotated[
        float, typer.Option(min=0, max=720, help="How long the old secret stays good, in hours.")
    ] = 0,
    as_json: AsJsonOption = False,
) -> None:
    """Give a key a new secret and print it, which is shown this once.

    Example:
      imagequeue keys rotate key_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z --grace-hours 24
    """
    from imagequeue.cli import key_commands  # noqa: PLC0415

    key_commands.rotate(key_id, grace_hours, as_json=as_json)


@app.command()
def revoke(key_id: KeyId) -> None:
    """Refuse a key from now on; jobs that it submitted go on and stay.

    Example:
      imagequeue keys revoke key_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z
    """
    from imagequeue.cli import key_commands  # noqa: PLC0415

    key_commands.revoke(key_id)
