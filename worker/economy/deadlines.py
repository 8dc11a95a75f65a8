"""When lines of the economy lane have to leave it, to be done in real time before their batch's deadline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imagequeue.batches import Batch
from imagequeue.estimates import Pace, Tally
from imagequeue.requests import JobRequest


@dataclass(frozen=True, slots=True)
class RealTime:
    """How fast lines are done in real time; `measured` are seconds of calls lately, by class.

    `margin_seconds` is added for what cannot be known: OpenAI alone may take ten minutes to cancel a batch.
    """

    model: str
    measured: Mapping[str, float]
    pace: Pace
    margin_seconds: float

    def seconds(self, requests: Sequence[JobRequest], lines: int) -> float:
        """How long `lines` lines take that are like these requests, with the margin."""
        tally = Tally(self.model, self.measured)
        for request in requests:
            tally.add(request)
        return tally.duration(self.pace).seconds * lines / len(requests) + self.margin_seconds


def leave_at(batch: Batch, seconds: float) -> float:
    """The time (ms) at which lines that take so long in real time have to leave; infinite without a deadline."""
    return math.inf if batch.deadline is None else batch.deadline - 1000 * seconds
