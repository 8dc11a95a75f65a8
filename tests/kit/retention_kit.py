"""What the tests of retention share: fleets whose records age fast, in buckets of their own, and sums over records."""

from __future__ import annotations

import uuid
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Final, cast

from fleet_kit import Fleet
from outage_kit import joined_fleet

from imagequeue.jobs import JobState
from imagequeue.objects import ObjectStore
from imagequeue.store.keys import Keys
from imagequeue.usage_reports import JobCounts, UsageFigures
from imagequeue.views import AttemptView, JobView

_DAY_SECONDS: Final = 86_400
_MICRO: Final = 1_000_000


def ages(hot_seconds: float, retention_seconds: float = _DAY_SECONDS) -> Mapping[str, str]:
    """Settings of a worker under which records age so fast."""
    return {
        "IMAGEQUEUE_HOT_DAYS": f"{hot_seconds / _DAY_SECONDS:.9f}",
        "IMAGEQUEUE_RETENTION_DAYS": f"{retention_seconds / _DAY_SECONDS:.9f}",
    }


@contextmanager
def own_bucket(fleet: Fleet, **changes: str) -> Generator[Fleet]:
    """The queue with a bucket of its own: what retention deletes there, nobody else has put there."""
    bucket = {"IMAGEQUEUE_S3_BUCKET": f"own-{uuid.uuid4().hex}"}
    with joined_fleet(fleet, {**bucket, **changes}) as joined:
        ObjectStore(joined.settings).ensure_bucket()
        yield joined


def keys_of(fleet: Fleet) -> Keys:
    """How the fleet spells its keys."""
    return Keys(fleet.settings.key_prefix)


def in_redis(fleet: Fleet, job_id: str) -> bool:
    """Whether the job's record is in Redis."""
    return bool(fleet.redis.exists(keys_of(fleet).job(job_id)))


def archived(fleet: Fleet, job_ids: Iterable[str]) -> None:
    """Wait until the jobs have left Redis."""
    ids = list(job_ids)
    fleet.eventually(lambda: not any(in_redis(fleet, job_id) for job_id in ids))


def objects_of(fleet: Fleet, prefix: str = "") -> list[str]:
    """The keys of all objects in the fleet's bucket."""
    return [stored.key for stored in ObjectStore(fleet.settings).listed(prefix)]


def redis_keys(fleet: Fleet) -> set[str]:
    """What the fleet has in Redis, without its prefix."""
    prefix = fleet.settings.key_prefix
    found = cast("Iterable[str]", fleet.redis.scan_iter(match=f"{prefix}*", count=1000))
    return {key.removeprefix(prefix) for key in found}


def figures_of(jobs: Iterable[JobView]) -> UsageFigures:
    """What the records of jobs that have ended add up to."""
    views = [job for job in jobs if job.state.terminal]
    unknown = sum(any(map(_of_unknown_cost, job.attempts)) for job in views)
    cost = sum(round((job.cost_usd_estimated or 0) * _MICRO) for job in views)
    usages = [job.usage for job in views if job.usage]

    def ended(state: JobState) -> int:
        return sum(job.state is state for job in views)

    return UsageFigures(
        jobs=JobCounts(
            succeeded=ended(JobState.SUCCEEDED), failed=ended(JobState.FAILED), cancelled=ended(JobState.CANCELLED)
        ),
        images=sum(len(job.images) for job in views),
        input_tokens=sum(usage.input_tokens or 0 for usage in usages),
        output_tokens=sum(usage.output_tokens or 0 for usage in usages),
        estimate_usd=sum(round(job.estimate.expected_usd * _MICRO) for job in views) / _MICRO,
        cost_usd_estimated=None if unknown and unknown == len(views) and not cost else cost / _MICRO,
        jobs_of_unknown_cost=unknown,
        possible_extra_cost_usd=sum(round(job.possible_extra_cost_usd * _MICRO) for job in views) / _MICRO,
    )


def _of_unknown_cost(attempt: AttemptView) -> bool:
    return attempt.call_started_at is not None and attempt.cost_usd_estimated is None
