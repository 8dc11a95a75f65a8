"""How a batch is doing, while somebody watches: a panel on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from imagequeue.batch_views import BatchView
from imagequeue.batches import BatchState
from imagequeue.cli.batch_pauses import whys
from imagequeue.cli.exits import say
from imagequeue.cli.output import one_line
from imagequeue.estimates import in_dollars, in_words

_REFRESHES_PER_SECOND: Final = 4
_RATE_SECONDS: Final = 60.0
_LINE_SECONDS: Final = 10.0
_LONG: Final = 400

Show = Callable[[BatchView, int], None]


class BatchPanel:
    """The figures of a batch, drawn again several times a second. `show` takes what they are now."""

    def __init__(self, batch: BatchView) -> None:
        self._batch = batch
        self._saved = 0
        self._rate = Rate()

    def show(self, batch: BatchView, saved: int) -> None:
        """Show this from now on."""
        self._batch, self._saved = batch, saved
        self._rate.note(ended(batch), time.monotonic())

    def __rich__(self) -> Group:
        """The panel as it is now."""
        batch = self._batch
        head = Text.assemble((one_line(batch.name or batch.id), "bold"), f"  {batch.id}" if batch.name else "", "  ")
        head.append(batch.state, _STATE_STYLES[batch.state])
        bar = Table.grid(padding=(0, 1), expand=False)
        done = ended(batch)
        bar.add_row(
            ProgressBar(total=batch.lines, completed=done, width=40, complete_style="green"),
            Text(f"{_percent(done, batch.lines)}"),
            Text(f"{done:,} of {batch.lines:,} lines"),
        )
        lines = [_counts(batch), Text(" · ".join(self._figures()))]
        lines += [Text(one_line(why, _LONG), "yellow") for why in whys(batch)]
        return Group(head, bar, *lines)

    def _figures(self) -> list[str]:
        per_minute = self._rate.per_minute() if self._batch.counts.in_flight else 0.0
        return [
            *([f"{per_minute:,.0f} lines per minute"] if per_minute else []),
            spend(self._batch),
            *time_left(self._batch),
            f"{self._saved:,} images saved",
        ]


class Rate:
    """How many lines end in a minute, by the last minute."""

    def __init__(self) -> None:
        self._noted: deque[tuple[float, int]] = deque()

    def note(self, done: int, now: float) -> None:
        """So many had ended at this time, in seconds."""
        self._noted.append((now, done))
        while now - self._noted[0][0] > _RATE_SECONDS:
            self._noted.popleft()

    def per_minute(self) -> float:
        """0 while there is none."""
        if len(self._noted) < 2:
            return 0.0
        (first, before), (last, after) = self._noted[0], self._noted[-1]
        return max(0, after - before) * 60 / max(last - first, 0.5)


@contextmanager
def shown(batch: BatchView) -> Generator[Show]:
    """Gives what is to be called with the batch, and the number of saved images, whenever it was looked at."""
    if not sys.stderr.isatty():
        yield _Lines().show
        return
    panel = BatchPanel(batch)
    console = Console(stderr=True)
    with Live(panel, console=console, transient=True, refresh_per_second=_REFRESHES_PER_SECOND):
        yield panel.show


class _Lines:
    """A line at the start, whenever the state changes, and every few seconds while something happens."""

    def __init__(self) -> None:
        self._told: object = None
        self._state: object = None
        self._next = 0.0

    def show(self, batch: BatchView, saved: int) -> None:
        counts = batch.counts
        state = (batch.state, *whys(batch))
        due = time.monotonic() >= self._next and (counts, saved) != self._told
        if state == self._state and not due:
            return
        self._told, self._state = (counts, saved), state
        self._next = time.monotonic() + _LINE_SECONDS
        done = ended(batch)
        parts = [
            f"{batch.id} {batch.state}",
            f"{_percent(done, batch.lines)}: {done:,} of {batch.lines:,} lines",
            *(f"{number:,} {name}" for name, number in _unsuccessful(batch) if number),
            spend(batch),
            *time_left(batch),
            f"{saved:,} images saved",
            *(one_line(why, _LONG) for why in whys(batch)),
        ]
        say(" · ".join(parts))


_STATE_STYLES: Final = {
    BatchState.RUNNING: "green",
    BatchState.PAUSED: "yellow",
    BatchState.CANCELLED: "magenta",
    BatchState.COMPLETED: "green",
}


def ended(batch: BatchView) -> int:
    """How many lines have ended."""
    return batch.lines - batch.counts.waiting - batch.counts.in_flight


def spend(batch: BatchView) -> str:
    """What was spent, and of what."""
    extra, cap = batch.possible_extra_cost_usd, batch.max_cost_usd
    most = f"about {in_dollars(batch.estimate.expected_usd)}" if cap is None else f"at most {in_dollars(cap)}"
    text = f"{in_dollars(batch.cost_usd_estimated + extra)} of {most}"
    return f"{text} ({in_dollars(extra)} of it uncertain)" if extra else text


def time_left(batch: BatchView) -> list[str]:
    """When it has probably ended; nothing where nobody can tell."""
    return [] if batch.eta_seconds is None else [f"about {in_words(batch.eta_seconds)} left"]


def _counts(batch: BatchView) -> Text:
    text = Text()
    text.append(f"{batch.counts.succeeded:,} done", "green")
    for (name, number), style in zip(_unsuccessful(batch), ("red", "yellow", "magenta"), strict=True):
        text.append(" · ")
        text.append(f"{number:,} {name}", style if number else "dim")
    text.append(f" · {batch.counts.in_flight:,} in flight · {batch.counts.waiting:,} waiting", "dim")
    return text


def _unsuccessful(batch: BatchView) -> tuple[tuple[str, int], ...]:
    counts = batch.counts
    return ("failed", counts.failed), ("refused", counts.refused), ("cancelled", counts.cancelled)


def _percent(done: int, lines: int) -> str:
    return f"{100 * done // lines}%"
