"""What the limits of API keys count in, and how a refusal of the submit script reads."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final

from imagequeue.errors import BudgetExceeded, LimitReached, Quota

MICRO: Final = 1_000_000
"""Money is counted in whole millionths of a dollar: a sum of them is exact."""
_DAY_SECONDS: Final = 86_400


def micro(dollars: float) -> int:
    """Dollars in whole millionths."""
    return round(dollars * MICRO)


def quota(figures: list[int]) -> Quota | None:
    """What submit answered with `stored`, as its header says; None without a limit of jobs a minute."""
    if not figures:
        return None
    limit, remaining, wait_ms = figures
    return Quota(limit, remaining, _whole_seconds(wait_ms))


def limit_reached(what: str, figures: list[int], cost_usd: float) -> LimitReached:
    """What submit answered, as an error.

    Args:
        what: `too_many_jobs`, `too_fast`, `daily_budget` or `monthly_budget`.
        figures: as the script's header says.
        cost_usd: the most that the job may cost.
    """
    if what == "too_many_jobs":
        in_flight, limit = figures
        return LimitReached(
            "too_many_jobs_in_flight",
            f"This key has {in_flight} jobs that have not ended, and may have {limit}. Wait until one has ended.",
        )
    if what == "too_fast":
        wait_ms, limit = figures
        seconds = _whole_seconds(wait_ms)
        return LimitReached(
            "too_many_jobs_per_minute",
            f"This key may submit {limit} jobs a minute. The next one can come in {seconds} s.",
            retry_after_seconds=seconds,
            quota=Quota(limit, 0, seconds),
        )
    limit, spent, reserved = (figure / MICRO for figure in figures)
    period = what.partition("_")[0]
    resets = _next_day() if period == "daily" else _next_month()
    return BudgetExceeded(
        f"This job may cost ${cost_usd:.4f}, and the key's {period} budget of ${limit:.4f} has ${spent:.4f} spent and "
        f"${reserved:.4f} reserved for jobs that have not ended. It starts anew at {resets:%Y-%m-%dT%H:%M:%SZ}. "
        "Choose a lower quality or a smaller size, wait for running jobs to settle, or have the budget raised.",
        retry_after_seconds=max(1, round(resets.timestamp() - time.time())),
    )


def _whole_seconds(milliseconds: int) -> int:
    return max(1, -(-milliseconds // 1000))


def _next_day() -> datetime:
    return datetime.fromtimestamp((time.time() // _DAY_SECONDS + 1) * _DAY_SECONDS, UTC)


def _next_month() -> datetime:
    today = datetime.now(UTC)
    return datetime(today.year + today.month // 12, today.month % 12 + 1, 1, tzinfo=UTC)
