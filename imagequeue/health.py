"""Whether each part of an installation serves, and what to do when one does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from imagequeue.errors import ImageQueueError
from imagequeue.objects import ObjectStore
from imagequeue.store.fleet import FleetStore
from imagequeue.store.limiter import LimiterStore


@dataclass(frozen=True, slots=True)
class PartHealth:
    """Whether one part serves, and what to do when it does not."""

    ok: bool
    detail: str


def part_healths(
    fleet: FleetStore, objects: ObjectStore, limiter: LimiterStore, lease_ms: int
) -> Mapping[str, PartHealth]:
    """Whether Redis, S3, a worker and OpenAI serve. A worker gives a sign of life at least once a lease."""
    return {
        "redis": _redis(fleet),
        "s3": _s3(objects),
        "workers": _workers(fleet, lease_ms),
        "openai": _openai(limiter),
    }


def _redis(fleet: FleetStore) -> PartHealth:
    try:
        fleet.ping()
    except ImageQueueError as error:
        return PartHealth(False, f"{error} Check IMAGEQUEUE_REDIS_URL and that Redis runs.")
    return PartHealth(True, "answers")


def _s3(objects: ObjectStore) -> PartHealth:
    try:
        objects.ping()
    except ImageQueueError as error:
        return PartHealth(False, f"{error} Check IMAGEQUEUE_S3_ENDPOINT, IMAGEQUEUE_S3_BUCKET and AWS_*.")
    return PartHealth(True, "answers")


def _workers(fleet: FleetStore, lease_ms: int) -> PartHealth:
    try:
        workers = fleet.live_workers(lease_ms)
    except ImageQueueError as error:
        return PartHealth(False, str(error))
    if not workers:
        return PartHealth(False, "No worker gave a sign of life. Start one: imagequeue worker")
    return PartHealth(True, f"{len(workers)} alive")


def _openai(limiter: LimiterStore) -> PartHealth:
    """What the last calls told: nothing is asked of OpenAI here."""
    try:
        reason = limiter.state().reason
    except ImageQueueError as error:
        return PartHealth(False, str(error))
    return PartHealth(True, "takes calls") if reason is None else PartHealth(False, f"Jobs wait for {reason}")
