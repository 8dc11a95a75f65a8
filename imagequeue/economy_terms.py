"""What a batch that may take longer pays, and until when its lines are to have ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from imagequeue.batch_requests import BatchOptions
from imagequeue.batches import NewBatch
from imagequeue.errors import InvalidRequest, Violation
from imagequeue.pricing import BATCH_API_FACTOR

_DAY_MS: Final = 86_400_000
_MOST_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class EconomyTerms:
    """`deadline` in Redis's milliseconds; None: the batch is run in real time."""

    deadline: int | None

    def applied(self, new: NewBatch) -> NewBatch:
        """The batch on these terms."""
        if self.deadline is None:
            return new
        estimate = new.estimate.times(BATCH_API_FACTOR)
        return new.model_copy(update={"economy": True, "deadline": self.deadline, "estimate": estimate})


def economy_terms(options: BatchOptions, now: int) -> EconomyTerms:
    """The terms that the options ask for, at the time `now` (ms).

    Raises:
        InvalidRequest: the deadline is over, or too far ahead.
    """
    if options.deadline is None:
        return EconomyTerms(now + _DAY_MS if options.completion_window else None)
    deadline = int(options.deadline.timestamp() * 1000)
    if not now < deadline <= now + _MOST_DAYS * _DAY_MS:
        rule = f"must be in the future, at most {_MOST_DAYS} days ahead"
        raise InvalidRequest([Violation("deadline", rule, options.deadline.isoformat(), "tomorrow, 06:00 UTC")])
    return EconomyTerms(deadline)
