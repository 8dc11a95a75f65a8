"""What many requests will come to before anything is spent: images, dollars, time. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from imagequeue.durations import expected_seconds
from imagequeue.jobs import PriceEstimate, load_of, price_of
from imagequeue.rate_limits import LimiterState
from imagequeue.requests import JobRequest
from imagequeue.sizes import parse_size

BATCH_SHARE: Final = 0.9
"""Of all worker slots, so many hold batch lines at most: an interactive job finds one free at once."""
Bound = Literal[
    "images_per_minute",
    "tokens_per_minute",
    "input_images_per_minute",
    "calls_at_once",
    "one_call",
    "completion_window",
]
"""What a time is owed to: a limit of the account, how many calls may run at once, how long one call takes, or the time
that OpenAI's Batch API was given."""
LimitName = Literal["daily_budget_usd", "monthly_budget_usd", "max_cost_usd"]
Excess = Literal["no", "possible", "likely", "certain"]
"""By which of the figures a limit is exceeded: none, the upper bound, the expected one, or even the lowest."""
_DUST_USD: Final = 5e-7
"""Half of what money is counted in: sums of dollars are not exact."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast calls may leave: per minute (0: no such limit is known), and so many at once."""

    images_per_minute: float = 0
    tokens_per_minute: float = 0
    input_images_per_minute: float = 0
    calls_at_once: int = 1

    @classmethod
    def of(cls, limiter: LimiterState, calls_at_once: int) -> Pace:
        """What the fleet's limiter lets go."""
        return cls(
            images_per_minute=limiter.images_per_minute,
            tokens_per_minute=limiter.tokens_per_minute,
            input_images_per_minute=limiter.input_images_per_minute,
            calls_at_once=max(1, calls_at_once),
        )


@dataclass(frozen=True, slots=True)
class Duration:
    """How long it will probably take, and why not less."""

    seconds: float
    bound: Bound


@dataclass
class Tally:
    """Sums over requests as they come.

    `caps` are dollars by name; `covered` tells how many requests, in order, each of them pays for at the upper bound.
    """

    model: str = ""
    measured: Mapping[str, float] = field(default_factory=dict[str, float])  # seconds of calls lately, by class
    caps: Mapping[LimitName, float] = field(default_factory=dict[LimitName, float])
    price_factor: float = 1.0
    lines: int = 0
    images: int = 0
    tokens: int = 0
    input_images: int = 0
    call_seconds: float = 0.0
    longest_call: float = 0.0
    covered: dict[LimitName, int] = field(default_factory=dict[LimitName, int])
    _dollars: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def add(self, request: JobRequest) -> None:
        """Count one more request."""
        price, load = price_of(request), load_of(request)
        more = (price.low_usd, price.expected_usd, price.high_usd)
        low, expected, high = (
            total + each * self.price_factor for total, each in zip(self._dollars, more, strict=True)
        )
        self._dollars = low, expected, high
        self.lines += 1
        self.images += load.images
        self.tokens += load.tokens
        self.input_images += load.input_images
        seconds = expected_seconds(self.model, parse_size(request.size), request.quality, self.measured)
        self.call_seconds += seconds
        self.longest_call = max(self.longest_call, seconds)
        for name, cap in self.caps.items():
            if high <= cap + _DUST_USD:
                self.covered[name] = self.lines

    @property
    def price(self) -> PriceEstimate:
        """Dollars of all."""
        low, expected, high = (round(total, 6) for total in self._dollars)
        return PriceEstimate(low_usd=low, expected_usd=expected, high_usd=high)

    def duration(self, pace: Pace) -> Duration:
        """How long the requests take when nothing else runs: as the tightest limit lets them go, and the last call."""
        mean = self.call_seconds / max(1, self.lines)
        limits: dict[Bound, float] = {
            "images_per_minute": _minutes(self.images, pace.images_per_minute) * 60 + mean,
            "tokens_per_minute": _minutes(self.tokens, pace.tokens_per_minute) * 60 + mean,
            "input_images_per_minute": _minutes(self.input_images, pace.input_images_per_minute) * 60 + mean,
            "calls_at_once": self.call_seconds / pace.calls_at_once,
            "one_call": self.longest_call,
        }
        bound = max(limits, key=lambda name: (limits[name], name == "one_call"))
        return Duration(limits[bound], bound)


def excess(price: PriceEstimate, left_usd: float) -> Excess:
    """Whether requests of this price exceed what is left."""
    left = left_usd + _DUST_USD
    if price.high_usd <= left:
        return "no"
    return "possible" if price.expected_usd <= left else "likely" if price.low_usd <= left else "certain"


def _minutes(amount: int, per_minute: float) -> float:
    return amount / per_minute if per_minute else 0.0


def in_words(seconds: float) -> str:
    """A time for people: `45 s`, `25 min`, `3.5 h`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    hours = f"{seconds / 3600:.1f}".removesuffix(".0")
    return f"{hours} h"


def in_dollars(amount: float) -> str:
    """Money for people: `$26.50`, `$0.0059`."""
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:.4f}"
