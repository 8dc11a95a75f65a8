"""What holds calls back for the whole fleet: rate limits, a pause that OpenAI asked for, the circuit breaker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Self

LEARNED_DOUBLES_MS: Final = 60_000
"""A rate that a 429 taught doubles in this time, until it is dropped; scripts/_limiter.lua has the same."""


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What the account may use in a minute; 0: no limit is known, and OpenAI's 429s teach it.

    `interactive_share` of each is kept from the batch lane while interactive jobs come.
    """

    images: int = 0
    tokens: int = 0
    input_images: int = 0
    interactive_share: float = 0.2

    @property
    def arguments(self) -> list[str | int]:
        """As the scripts take them."""
        return [self.images, self.tokens, self.input_images, str(self.interactive_share)]


@dataclass(frozen=True, slots=True)
class Load:
    """What one call uses of the limits: images made, tokens expected, images sent."""

    images: int
    tokens: int
    input_images: int

    def __str__(self) -> str:
        """As a job's record keeps it."""
        return f"{self.images}:{self.tokens}:{self.input_images}"


@dataclass(frozen=True, slots=True)
class LimiterState:
    """Why calls are held back now, and how long they take. Times are Redis's milliseconds; None: no such reason."""

    broken_at: int | None = None  # the circuit breaker is open since then
    broken_reason: str = ""
    broken_text: str = ""  # what OpenAI said, and what to do
    probe_at: int | None = None  # the next job is let through then
    paused_until: int | None = None
    pause_text: str = ""
    images_per_minute: float = 0  # as the workers' settings say, or as 429s taught; 0: no limit is known
    tokens_per_minute: float = 0  # as the workers' settings say; 0: no limit is known
    input_images_per_minute: float = 0  # the same
    parked: int = 0  # jobs that wait for room
    measured: Mapping[str, float] = field(default_factory=dict[str, float])  # seconds of calls lately, by class

    @classmethod
    def read(cls, fields: Mapping[str, str], parked: int, now: int, durations: Mapping[str, str]) -> Self:
        """The state in the limiter's hash, at the time `now`, while `parked` jobs wait for room.

        `durations` holds `milliseconds:count` of each class of calls.
        """
        broken = "broken_at" in fields
        paused_until = int(fields.get("paused_until", 0))
        return cls(
            broken_at=int(fields["broken_at"]) if broken else None,
            broken_reason=fields.get("broken_reason", "") if broken else "",
            broken_text=fields.get("broken_text", "") if broken else "",
            probe_at=int(fields["probe_at"]) if broken else None,
            paused_until=paused_until if paused_until > now else None,
            pause_text=fields.get("pause_text", "") if paused_until > now else "",
            images_per_minute=_images_per_minute(fields, now),
            tokens_per_minute=float(fields.get("limit_tokens", 0)),
            input_images_per_minute=float(fields.get("limit_inputs", 0)),
            parked=parked,
            measured={name: float(text.partition(":")[0]) / 1000 for name, text in durations.items()},
        )

    def pace(self, position: int) -> str:
        """In brackets, how fast the limit lets jobs go and when it will probably be this one's turn."""
        if not self.images_per_minute:
            return ""
        return f" ({rate_in_words(self.images_per_minute)} images a minute: about {self.seconds_until(position):.0f} s)"

    def seconds_until(self, position: int) -> float:
        """When it will probably be the turn of the job at this place, as far as a limit holds it back."""
        return 60 * position / self.images_per_minute if self.parked and self.images_per_minute else 0.0

    @property
    def reason(self) -> str | None:
        """Why no job may call OpenAI now, and what to do; None when they may."""
        if self.broken_at is not None and self.probe_at is not None:
            return (
                f"OpenAI to take calls of this account again: {self.broken_text} "
                f"One job is tried at {_clock(self.probe_at)}; all go on by themselves when it is served."
            )
        if self.paused_until is not None:
            return f"the end of a pause at {_clock(self.paused_until)} that OpenAI asked for: {self.pause_text}"
        return None


def rate_in_words(per_minute: float) -> str:
    """A rate for people: `0.5`, `20`, `1,250`."""
    return f"{per_minute:,.0f}" if per_minute >= 10 else f"{per_minute:.2g}"


def _images_per_minute(fields: Mapping[str, str], now: int) -> float:
    """As scripts/_limiter.lua has it."""
    configured = float(fields.get("limit_images", 0))
    if "learned" not in fields:
        return configured
    learned = float(fields["learned"]) * 2 ** ((now - int(fields["learned_at"])) / LEARNED_DOUBLES_MS)
    if learned >= float(fields["learned_cap"]):
        return configured
    return min(configured, learned) if configured else learned


def _clock(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
