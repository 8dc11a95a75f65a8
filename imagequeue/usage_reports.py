"""What an owner's jobs came to, by day or by model: what `GET /v1/usage` answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Final, Literal

from pydantic import Field

from imagequeue.errors import InvalidRequest, Violation
from imagequeue.store.usage import Counters, UsageStore, UsedBy
from imagequeue.views import View

KEPT_DAYS: Final = 400
"""How long the figures are kept; `note_end` in scripts/_lib.lua drops older ones."""
DEFAULT_DAYS: Final = 30
_MICRO: Final = 1_000_000
_Group = tuple[date | None, str | None, str | None]
Grouping = Literal["day", "key", "model"]


class JobCounts(View):
    """Jobs by how they ended."""

    succeeded: int
    failed: int
    cancelled: int


class UsageFigures(View):
    """What jobs that ended came to, whether they are still there or deleted."""

    jobs: JobCounts
    images: int = Field(description="Images that were stored.")
    input_tokens: int = Field(description="As OpenAI counted them; calls without usage figures count none.")
    output_tokens: int
    estimate_usd: float = Field(description="What was expected before the calls, of all jobs.")
    cost_usd_estimated: float | None = Field(
        description="From OpenAI's usage figures, of the jobs of which it is known; null when it is known of none."
    )
    jobs_of_unknown_cost: int = Field(description="Jobs with a call whose cost is not known.")
    possible_extra_cost_usd: float = Field(description="What calls of unknown fate may have cost on top.")


class UsageRow(UsageFigures):
    """The figures of one day, of one API key, or of one model; the other two are null."""

    day: date | None = Field(description="On which the jobs ended (UTC).")
    key_id: str | None = Field(description="Of the API key; null, too, of jobs that came without one.")
    model: str | None


class UsageReport(View):
    """Figures of a span of days, both included. Days, keys and models without jobs are left out."""

    first_day: date
    last_day: date
    group: Grouping
    rows: tuple[UsageRow, ...]
    total: UsageFigures


class UsageReports:
    """Makes reports. Every method raises StoreUnavailable when Redis does not answer."""

    def __init__(self, store: UsageStore) -> None:
        self._store = store

    def report(
        self, *, owner: str, first_day: date | None = None, last_day: date | None = None, group: Grouping = "day"
    ) -> UsageReport:
        """The figures of an owner; by default of the last 30 days up to today (UTC).

        Raises:
            InvalidRequest: the days are the wrong way round.
        """
        last = last_day or self._store.today()
        first = first_day or last - timedelta(days=DEFAULT_DAYS - 1)
        if first > last:
            rule = f"must not be after `to`, {last}"
            raise InvalidRequest([Violation("from", rule, str(first), str(last - timedelta(days=DEFAULT_DAYS - 1)))])
        return _report(self._store.read(owner), first, last, group)


def _report(found: Mapping[UsedBy, Counters], first: date, last: date, group: Grouping) -> UsageReport:
    total, groups = Counter[str](), dict[_Group, Counter[str]]()
    for used_by, counters in found.items():
        if first <= used_by.day <= last:
            total.update(counters)
            groups.setdefault(_group_of(used_by, group), Counter()).update(counters)
    rows = tuple(
        UsageRow(day=day, key_id=key_id, model=model, **dict(_figures(groups[day, key_id, model])))
        for day, key_id, model in sorted(groups, key=str)
    )
    return UsageReport(first_day=first, last_day=last, group=group, rows=rows, total=_figures(total))


def _group_of(used_by: UsedBy, group: Grouping) -> _Group:
    """Day, key and model of a row, of which it has one."""
    return (
        used_by.day if group == "day" else None,
        used_by.key_id if group == "key" else None,
        used_by.model if group == "model" else None,
    )


def _figures(counted: Counter[str]) -> UsageFigures:
    jobs = JobCounts(succeeded=counted["succeeded"], failed=counted["failed"], cancelled=counted["cancelled"])
    unknown = counted["cost_unknown"]
    all_unknown = unknown > 0 and unknown == jobs.succeeded + jobs.failed + jobs.cancelled
    return UsageFigures(
        jobs=jobs,
        images=counted["images"],
        input_tokens=counted["input_tokens"],
        output_tokens=counted["output_tokens"],
        estimate_usd=counted["estimate"] / _MICRO,
        cost_usd_estimated=None if all_unknown and not counted["cost"] else counted["cost"] / _MICRO,
        jobs_of_unknown_cost=unknown,
        possible_extra_cost_usd=counted["extra"] / _MICRO,
    )
