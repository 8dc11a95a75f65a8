"""From a submitted job to files: follow, download, report."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from imagequeue.cli.connection import connect
from imagequeue.cli.exits import ExitCode, fail, say
from imagequeue.cli.live import follow
from imagequeue.cli.output import cost_text, dollars, one_line, print_json, print_line, print_table
from imagequeue.client import ApiUnreachable, Client
from imagequeue.jobs import JobState
from imagequeue.views import JobView

_NEXT_STEPS: Final = {
    "moderation_blocked": "Change the prompt: the same one will be refused again.",
    "provider_refused": "Change the request as OpenAI says, and generate again.",
    "provider_busy": "OpenAI was too busy for too long: generate again later.",
    "rate_limited": "OpenAI's rate limits left no room for too long: generate again later, or raise the limits there.",
    "outcome_unknown": "OpenAI may have charged for it: look at your usage there before you generate again.",
    "worker_lost": "Workers died while they ran it: look at their logs before you generate it again.",
    "bad_output": "OpenAI charged for it and sent no usable image: generate again, and report the request id.",
}
_MESSAGE_LENGTH: Final = 2000


@dataclass(frozen=True, slots=True)
class Delivery:
    """What is to become of a job that is submitted: left alone, or waited for and saved in `folder`."""

    folder: Path
    wait: bool
    as_json: bool

    def prepare(self) -> None:
        """Make the folder, before money is spent; the command ends when that fails."""
        if self.wait:
            _make_folder(self.folder)


def hand_over(
    client: Client, job: JobView, delivery: Delivery, handle: Callable[[JobView], str] = lambda job: job.id
) -> None:
    """Wait for a job's images and save them, or print its handle, by default the id, and leave."""
    if delivery.wait:
        _deliver(client, job, delivery.folder, as_json=delivery.as_json)
    elif delivery.as_json:
        print_json(job)
    else:
        print_line(handle(job))
        say(f"{job.id} is {job.state}. Fetch it with: {_fetch_command(job.id, delivery.folder)}")


def wait(job_id: str, folder: Path | None, *, as_json: bool) -> None:
    """Wait for a job and save its images if a folder is given."""
    if folder:
        _make_folder(folder)
    with connect() as client:
        # Fails at once where nothing answers; only a job that is known is waited for with patience.
        _deliver(client, client.get(job_id), folder, as_json=as_json)


def _deliver(client: Client, job: JobView, folder: Path | None, *, as_json: bool) -> None:
    with _told_how_to_fetch(job.id, folder):
        job = follow(client, job)
        saved = folder is not None and job.state is JobState.SUCCEEDED
        files = client.download(job, folder) if saved and folder else []
    if as_json:
        print_json(job, files=[str(file) for file in files])
    elif job.state is JobState.SUCCEEDED:
        _print_files(job, files)
    if job.state is not JobState.SUCCEEDED:
        _tell_failure(job)
        sys.exit(ExitCode.FAILED)


@contextmanager
def _told_how_to_fetch(job_id: str, folder: Path | None) -> Generator[None]:
    """However waiting ends early, the job goes on, and the person is told how to get it."""
    command = _fetch_command(job_id, folder or Path())
    try:
        yield
    except KeyboardInterrupt:
        say(f"\nThe job goes on without you. Fetch it: {command}")
        say(f"Stop it: imagequeue jobs cancel {job_id}")
        sys.exit(ExitCode.INTERRUPTED)
    except ApiUnreachable as error:
        say(f"The job {job_id} is kept by the queue. Once the API is back, fetch it: {command}")
        fail(error)
    except OSError as error:
        say(f"The images cannot be saved: {error}. They are kept; fetch them into another folder: {command}")
        sys.exit(ExitCode.FAILED)


def _print_files(job: JobView, files: list[Path]) -> None:
    share = None if job.cost_usd_estimated is None else job.cost_usd_estimated / len(job.images)
    names = [str(file) for file in files] or [image.url for image in job.images]
    rows = [
        (name, f"{image.width}x{image.height}", f"{image.size_bytes:,}", dollars(share))
        for name, image in zip(names, job.images, strict=True)
    ]
    first = "file" if files else "image"
    print_table((first, "pixels", "bytes", "cost"), rows, long={first})
    say(f"Cost: {cost_text(job)}")
    for note in job.notes:
        say(f"Note: {one_line(note, _MESSAGE_LENGTH)}")
    if not files:
        say(f"Nothing was saved. Save the images: {_fetch_command(job.id, Path())}")


def _tell_failure(job: JobView) -> None:
    if job.state is JobState.CANCELLED:
        say(f"{job.id} was cancelled.")
    elif job.error is None:
        say(f"{job.id} failed without a reason. See: imagequeue jobs show {job.id}")
    else:
        again = "Generate again later." if job.error.retryable else f"See: imagequeue jobs show {job.id}"
        say(f"{job.id} failed ({job.error.code}): {one_line(job.error.message, _MESSAGE_LENGTH)}")
        say(_NEXT_STEPS.get(job.error.code, again))
    if job.cost_usd_estimated or job.possible_extra_cost_usd:
        say(f"Cost: {cost_text(job)}")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        say(f"--output: must be a folder that can be written ({error})")
        sys.exit(ExitCode.BAD_INPUT)


def _fetch_command(job_id: str, folder: Path) -> str:
    return f"imagequeue jobs wait {job_id} -o {shlex.quote(str(folder))}"
