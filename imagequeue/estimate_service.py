"""Estimates, as the API uses them: a part of the one door, ImageQueue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from imagequeue import pricing
from imagequeue.batch_requests import BatchOptions
from imagequeue.economy_terms import economy_terms
from imagequeue.estimate_views import EstimateView, SpendingLimitView
from imagequeue.estimates import BATCH_SHARE, Duration, LimitName, Pace, Tally, excess, in_dollars, in_words
from imagequeue.key_service import KeyService
from imagequeue.manifests.lines import BadLine, ManifestLine, Sieve
from imagequeue.manifests.views import LineView, line_view, line_violations
from imagequeue.rate_limits import LimiterState, rate_in_words
from imagequeue.settings import Settings
from imagequeue.store.fleet import FleetStore
from imagequeue.store.limiter import LimiterStore

PREVIEWED: Final = 5


class EstimateService:
    """Tells what requests would come to; reads limits, measured latencies and budgets, and changes nothing."""

    def __init__(self, settings: Settings, limiter: LimiterStore, fleet: FleetStore, keys: KeyService) -> None:
        self._settings = settings
        self._limiter = limiter
        self._fleet = fleet
        self._keys = keys

    def estimate(
        self, lines: Iterable[ManifestLine | BadLine], options: BatchOptions, key_id: str | None = None
    ) -> EstimateView:
        """What the lines would cost and take.

        Args:
            lines: read once.
            options: how they would be run.
            key_id: the API key that would pay.

        Raises:
            InvalidRequest: the deadline is over, or too far ahead.
            InvalidManifest: there are bad lines that may not be skipped, or no good ones.
            StoreUnavailable: Redis does not answer.
        """
        limiter, caps = self._limiter.state(), self._caps(options, key_id)
        now = self._fleet.now()
        deadline = economy_terms(options, now).deadline
        tally = Tally(
            self._settings.model, limiter.measured, caps, 1.0 if deadline is None else pricing.BATCH_API_FACTOR
        )
        sieve, preview = Sieve(lines, skip_invalid=options.skip_invalid), list[LineView]()
        for line in sieve:
            tally.add(line.request)
            if len(preview) < PREVIEWED:
                preview.append(line_view(line))
        workers = len(self._fleet.live_workers(self._settings.lease_ms))
        if deadline is None:
            duration = tally.duration(Pace.of(limiter, self._calls_at_once(workers, options.window)))
        else:
            duration = Duration((deadline - now) / 1000, "completion_window")
        return EstimateView(
            summary=_summary(tally, duration, limiter.images_per_minute),
            lines=tally.lines,
            images=tally.images,
            **tally.price.model_dump(),
            seconds=round(duration.seconds),
            bound=duration.bound,
            images_per_minute=limiter.images_per_minute or None,
            limits=_limits(tally),
            notes=_notes(limiter, workers),
            preview=tuple(preview),
            skipped_lines=sieve.bad.total,
            skipped=line_violations(sieve.bad),
        )

    def _caps(self, options: BatchOptions, key_id: str | None) -> Mapping[LimitName, float]:
        """What may still be spent, by the limit's name."""
        caps: dict[LimitName, float | None] = {"max_cost_usd": options.max_cost_usd}
        if key_id is not None:
            limits, spending = self._keys.get(key_id).limits, self._keys.spending(key_id)
            day, month = limits.daily_budget_usd, limits.monthly_budget_usd
            caps["daily_budget_usd"] = None if day is None else day - spending.today_usd - spending.reserved_usd
            caps["monthly_budget_usd"] = (
                None if month is None else month - spending.this_month_usd - spending.reserved_usd
            )
        return {name: max(0.0, left) for name, left in caps.items() if left is not None}

    def _calls_at_once(self, workers: int, window: int | None) -> int:
        slots = int(BATCH_SHARE * max(1, workers) * self._settings.worker_slots)
        return min(slots, window or self._settings.batch_window)


def _limits(tally: Tally) -> tuple[SpendingLimitView, ...]:
    return tuple(
        SpendingLimitView(
            name=name,
            left_usd=round(left, 6),
            exceeded=excess(tally.price, left),
            covered_lines=tally.covered.get(name, 0),
        )
        for name, left in tally.caps.items()
    )


def _summary(tally: Tally, duration: Duration, per_minute: float) -> str:
    """`500 images at 20 per minute: about 25 min, $26.50`."""
    images = f"{tally.images:,} image{'s' * (tally.images != 1)}"
    pace = f" at {rate_in_words(per_minute)} per minute" if per_minute and duration.bound != "completion_window" else ""
    time = in_words(duration.seconds)
    time = f"within {time}" if duration.bound == "completion_window" else f"about {time}"
    return f"{images}{pace}: {time}, {in_dollars(tally.price.expected_usd)}"


def _notes(limiter: LimiterState, workers: int) -> tuple[str, ...]:
    notes = [] if workers else ["No worker runs now; the time is that of one with this server's number of slots."]
    if limiter.reason:
        notes.append(f"Jobs wait now for {limiter.reason}")
    if not limiter.images_per_minute:
        notes.append("No limit of images per minute is known: a 429 from OpenAI would make it take longer.")
    return tuple(notes)
