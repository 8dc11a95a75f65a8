"""The rate limits of an account: a strict sliding window over the calls that were admitted.

A call is admitted when what it uses fits beside what all calls admitted in the last window used. Refused calls use
nothing. Message, type, code and headers follow OpenAI's answers to calls over a limit of the image models.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sandbox.api_errors import ApiError

_LEAST_RETRY_SECONDS: Final = 1
_HELP: Final = "Visit https://platform.openai.com/account/rate-limits to learn more."


@dataclass(frozen=True, slots=True)
class Use:
    """What a call uses: images made, tokens read and written, images read."""

    images: int
    tokens: int
    input_images: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """What the calls of any `window_seconds` may use together; None: no limit."""

    images: int | None = None
    tokens: int | None = None
    input_images: int | None = None
    window_seconds: float = 60.0

    def in_force(self) -> list[tuple[str, int]]:
        """The limits that there are, under OpenAI's names for them."""
        named = (("images", self.images), ("tokens", self.tokens), ("input-images", self.input_images))
        return [(kind, limit) for kind, limit in named if limit is not None]


@dataclass(slots=True)
class RateWindow:
    """The calls admitted in the last window, oldest first: the second of their admission and what they use."""

    _admitted: deque[tuple[float, Use]] = field(default_factory=deque[tuple[float, Use]])

    def admit(self, use: Use, limits: Limits, now: float) -> dict[str, str]:
        """Admit a call at the second `now` of a clock that never goes back; returns the headers of its answer.

        Raises:
            ApiError: 429 `rate_limit_exceeded` that names the limit which takes longest to fit, with `retry-after`.
        """
        while self._admitted and self._admitted[0][0] + limits.window_seconds <= now:
            self._admitted.popleft()
        waits = {kind: self._wait(kind, limit, use, limits, now) for kind, limit in limits.in_force()}
        worst = max(waits, key=waits.__getitem__, default=None)
        if worst is not None and waits[worst] > 0:
            raise self._refusal(worst, waits[worst], use, limits, now)
        if waits:
            self._admitted.append((now, use))
        return self._headers(limits, now)

    def clear(self) -> None:
        """Forget the calls."""
        self._admitted.clear()

    def _wait(self, kind: str, limit: int, use: Use, limits: Limits, now: float) -> float:
        """Seconds until the call fits, 0 when it does now; infinite when it never will."""
        excess = self._used(kind) + _amount(use, kind) - limit
        if excess <= 0:
            return 0.0
        for since, earlier in self._admitted:
            excess -= _amount(earlier, kind)
            if excess <= 0:
                return since + limits.window_seconds - now
        return math.inf

    def _used(self, kind: str) -> int:
        return sum(_amount(use, kind) for _, use in self._admitted)

    def _refusal(self, kind: str, wait: float, use: Use, limits: Limits, now: float) -> ApiError:
        limit, wanted = dict(limits.in_force())[kind], _amount(use, kind)
        if math.isinf(wait):
            wait = limits.window_seconds
            message = f"Request too large for gpt-image-2 on {kind} per min: Limit {limit}, Requested {wanted}. {_HELP}"
        else:
            message = (
                f"Rate limit reached for gpt-image-2 (for limit gpt-image) in organization org-sandbox on {kind} per "
                f"min: Limit {limit}, Used {self._used(kind)}, Requested {wanted}. "
                f"Please try again in {_duration(wait)}. {_HELP}"
            )
        retry_after = max(_LEAST_RETRY_SECONDS, math.ceil(wait))
        headers = {"retry-after": str(retry_after), **self._headers(limits, now)}
        return ApiError(message, status=429, code="rate_limit_exceeded", kind=kind, headers=headers)

    def _headers(self, limits: Limits, now: float) -> dict[str, str]:
        """For each limit: how much there is, how much is left, and in how long all of it will be left again."""
        reset = self._admitted[-1][0] + limits.window_seconds - now if self._admitted else 0.0
        headers: dict[str, str] = {}
        for kind, limit in limits.in_force():
            headers[f"x-ratelimit-limit-{kind}"] = str(limit)
            headers[f"x-ratelimit-remaining-{kind}"] = str(max(0, limit - self._used(kind)))
            headers[f"x-ratelimit-reset-{kind}"] = _duration(reset)
        return headers


def _amount(use: Use, kind: str) -> int:
    amounts: Mapping[str, int] = {"images": use.images, "tokens": use.tokens, "input-images": use.input_images}
    return amounts[kind]


def _duration(seconds: float) -> str:
    """Whole milliseconds, rounded up, in the form of OpenAI's headers: `17ms`, `8.64s`, `1m0s`."""
    milliseconds = math.ceil(round(seconds * 1000, 3))  # rounded first: 0.3 s from 100.0 to 100.3 is not 301 ms
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    return (f"{minutes}m" if minutes else "") + f"{rest / 1000:g}s"
