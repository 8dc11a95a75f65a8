"""The line that shows how a job is doing while somebody waits."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from imagequeue.cli.exits import say
from imagequeue.cli.output import one_line
from imagequeue.client import Client
from imagequeue.views import JobView

_REFRESHES_PER_SECOND = 8


def follow(client: Client, job: JobView) -> JobView:
    """Wait for the job's end: with a live line on a terminal, else with one line that names the job."""
    if job.state.terminal:
        return job
    if not sys.stderr.isatty():
        say(f"{job.id} is {job.state}")
        return client.wait(job.id)
    line = LiveLine(job)
    console = Console(stderr=True)
    with Live(line, console=console, transient=True, refresh_per_second=_REFRESHES_PER_SECOND):
        return client.wait(job.id, on_update=line.update)


class LiveLine:
    """State, position and elapsed time; drawn again several times a second."""

    def __init__(self, job: JobView) -> None:
        self._job = job
        self._since = time.monotonic()
        self._spinner = Spinner("dots")

    def update(self, job: JobView) -> None:
        """Show this from now on."""
        self._job = job

    def __rich__(self) -> Spinner:
        """The line as it is now."""
        job = self._job
        parts = [job.id, str(job.state)]
        if job.position is not None:
            parts.append(f"position {job.position:,}")
        if job.waiting_for:
            parts.append(f"waits for {one_line(job.waiting_for, 120)}")
        parts.append(f"{time.monotonic() - self._since:.0f} s")
        self._spinner.update(text=Text(" · ".join(parts), no_wrap=True, overflow="ellipsis"))
        return self._spinner
