"""`imagequeue jobs …`: declared here, carried out in `job_commands`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="""Look at jobs, wait for them, fetch their images, cancel, retry and delete them.

Examples:
  imagequeue jobs list --state failed
  imagequeue jobs wait job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z -o images
""",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class State(StrEnum):
    """The states of a job, as an option's values; `imagequeue.jobs.JobState` without its imports."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Type(StrEnum):
    """The types of jobs, as an option's values; `imagequeue.jobs.JobType` without its imports."""

    GENERATE = "generate"
    EDIT = "edit"
    TURN = "turn"


JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id, `job_…`.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, as the API gives it.")]


@app.command("list")
def list_jobs(
    state: Annotated[
        State | None,
        typer.Option(metavar="STATE", help="Only `queued`, `running`, `succeeded`, `failed` or `cancelled` ones."),
    ] = None,
    job_type: Annotated[
        Type | None, typer.Option("--type", metavar="TYPE", help="Only `generate`, `edit` or `turn` ones.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first.

    Examples:
      imagequeue jobs list
      imagequeue jobs list --state failed --limit 100
      imagequeue jobs list --type edit --state succeeded --json > jobs.json
    """
    from imagequeue.cli import job_commands  # noqa: PLC0415

    job_commands.list_jobs(state.value if state else None, job_type.value if job_type else None, limit, as_json=as_json)


@app.command()
def show(job_id: JobId, as_json: AsJson = False) -> None:
    """Show everything about a job: its request, tries, images, cost and error.

    Example:
      imagequeue jobs show job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z
    """
    from imagequeue.cli import job_commands  # noqa: PLC0415

    job_commands.show(job_id, as_json=as_json)


@app.command()
def wait(
    job_id: JobId,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Save the images here; without it nothing is saved."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Wait until a job has ended and save its images.

    It may be repeated: files that are there already are not fetched again.

    Example:
      imagequeue jobs wait job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z -o images
    """
    from imagequeue.cli import delivery  # noqa: PLC0415

    delivery.wait(job_id, output, as_json=as_json)


@app.command()
def cancel(job_id: JobId, as_json: AsJson = False) -> None:
    """Cancel a job: a queued one at once, a running one as soon as its worker can stop.

    OpenAI may still charge for a call that had been sent.

    Example:
      imagequeue jobs cancel job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z
    """
    from imagequeue.cli import job_commands  # noqa: PLC0415

    job_commands.cancel(job_id, as_json=as_json)


@app.command()
def retry(job_id: JobId, as_json: AsJson = False) -> None:
    """Try a job that failed or was cancelled again, as a new job of the same request.

    Example:
      imagequeue jobs retry job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z
    """
    from imagequeue.cli import job_commands  # noqa: PLC0415

    job_commands.retry(job_id, as_json=as_json)


@app.command()
def delete(
    job_ids: Annotated[
        list[str], typer.Argument(metavar="ID...", help="Ids of jobs that have ended.", show_default=False)
    ],
) -> None:
    """Delete jobs that have ended, with their images, for good.

    What they cost stays in `imagequeue usage`. A job that cannot be deleted does not keep the others.

    Example:
      imagequeue jobs delete job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z
    """
    from imagequeue.cli import deletion  # noqa: PLC0415

    deletion.delete_jobs(job_ids)
