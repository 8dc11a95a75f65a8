"""When a request is repeated and when to stop waiting: what the sync and the async client have in common."""

from __future__ import annotations

import math
import random
import time
from typing import Final

from imagequeue.api_answers import ApiProblem, ApiUnreachable

FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 5.0
LONGEST_WAIT_SECONDS: Final = 90.0
"""Of one request: what the API takes by default."""
UPDATE_SECONDS: Final = 1.0
"""How often a waiter who wants to see the position is told of it."""
_ANSWERED: Final = frozenset({"session_full", "too_many_jobs_in_flight", "too_many_jobs_per_minute"})
"""Refusals that pass, but not by asking again at once."""


class Patience:
    """How long one request, which must do no harm when it is repeated, goes on while the API is away or answers 503.

    Args:
        seconds: from now on.
        deadline: by `time.monotonic`, if that is sooner.
        once_received: only from the moment on when a request may have reached the API: where nothing listens in the
            first place, nothing is lost, and whoever asked is told at once.
    """

    def __init__(self, seconds: float, deadline: float = math.inf, *, once_received: bool = False) -> None:
        self._seconds = seconds
        self._deadline = deadline
        self._once_received = once_received
        self._received = False
        self.renew()

    def renew(self) -> None:
        """Begin anew: there was an answer."""
        self._pause = FIRST_PAUSE_SECONDS
        self._give_up = min(self._deadline, time.monotonic() + self._seconds)

    def pause(self) -> float:
        """Seconds until the next attempt, longer each time."""
        pause = self._pause * random.uniform(0.75, 1.25)
        self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        return pause

    def pause_after(self, error: ApiUnreachable | ApiProblem) -> float:
        """Seconds until the next attempt after one that failed; raises the error when there should be none."""
        unsent = isinstance(error, ApiUnreachable) and not error.maybe_received
        self._received = self._received or not unsent
        hopeless = not error.retryable or error.code in _ANSWERED
        too_early = self._once_received and not self._received
        if hopeless or too_early or time.monotonic() + self._pause > self._give_up:
            if unsent and self._received:  # by an earlier attempt
                raise ApiUnreachable(str(error), maybe_received=True) from error
            raise error
        return self.pause()


class Waiting:
    """A wait of any length as requests that each wait for some seconds.

    Args:
        timeout_seconds: of the whole; None waits for ever.
        longest: seconds of one request.
    """

    def __init__(self, timeout_seconds: float | None, longest: float = LONGEST_WAIT_SECONDS) -> None:
        self._asked_at = time.monotonic()
        self.deadline = math.inf if timeout_seconds is None else self._asked_at + timeout_seconds
        self._longest = longest
        self._seconds = 0.0

    def next_seconds(self) -> float:
        """How long the next request waits."""
        self._asked_at = time.monotonic()
        self._seconds = max(0.0, min(self._longest, self.deadline - self._asked_at))
        return self._seconds

    def pause(self) -> float | None:
        """Seconds until the next request when the answer was not the end; None when the time is over."""
        now = time.monotonic()
        if now >= self.deadline:
            return None
        # A server that is told to stop answers at once: do not ask it a thousand times.
        return FIRST_PAUSE_SECONDS if now - self._asked_at < min(self._seconds, FIRST_PAUSE_SECONDS) else 0.0
