"""What clients are told of jobs while it happens: events, and the ids from which a stream goes on. Pure.

An event's id is that of its entry in the fleet's stream of changes, so it is good for every stream that shows the
event, in every process and after every restart. `progress` has none: there is nothing to go on from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

from pydantic import Field

from imagequeue.batch_events import BATCH_EVENT, batch_event
from imagequeue.jobs import Job, JobState, PriceEstimate
from imagequeue.rate_limits import LimiterState
from imagequeue.views import Timestamp, View, eta_seconds, image_path, utc, waiting_for

_ENTRY_ID: Final = re.compile(r"(\d{1,15})-(\d{1,15})", re.ASCII)  # Redis refuses numbers beyond 64 bits
_END: Final = "-end"
"""Added to the id of a job's last event, so that a client that comes back with it is known to have it all."""


class EntryId(NamedTuple):
    """The id of an entry in a Redis stream: milliseconds, and a number within them. Ids grow."""

    milliseconds: int
    number: int

    def __str__(self) -> str:
        """As Redis writes it."""
        return f"{self.milliseconds}-{self.number}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read what Redis wrote; None for anything else."""
        match = _ENTRY_ID.fullmatch(text)
        return cls(int(match[1]), int(match[2])) if match else None


BEGINNING: Final = EntryId(0, 0)


class LastEventId(NamedTuple):
    """What a client that comes back has seen: everything up to an entry and, if `ended`, that its job is over."""

    entry: EntryId
    ended: bool

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read a Last-Event-ID; None when it is not one of ours."""
        entry = EntryId.parse(text.removesuffix(_END))
        return cls(entry, text.endswith(_END)) if entry else None


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened to a job, or to a batch: then `job_id` is empty. `data` is JSON."""

    id: EntryId
    job_id: str
    event: str
    data: str


class JobEvent(View):
    """Data of the events `state` and `end`: a job's state, small."""

    id: str = Field(description="The job's.", examples=["job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"])
    state: JobState
    session_id: str | None = Field(default=None, description="The edit session that the job is a turn of.")
    turn: int | None = Field(default=None, description="Number of the turn, from 1.")
    batch_id: str | None = Field(default=None, description="The batch that the job is a line of.")
    line: int | None = Field(default=None, description="Number of the line in the batch's manifest, from 0.")
    custom_id: str | None = Field(default=None, description="What the manifest calls the line.")
    attempt: int | None = Field(default=None, description="Number of the attempt, from 1.")
    at: Timestamp = Field(description="Since when.")
    error: str | None = Field(default=None, description="Code of the error that it ended with.")
    images: tuple[str, ...] = Field(default=(), description="Stable paths of its images, once it has succeeded.")


class JobProgress(View):
    """Data of the event `progress`: what may change while the state stays."""

    id: str = Field(description="The job's.")
    state: JobState
    position: int | None = Field(description="As in the job.")
    waiting_for: str | None = Field(description="As in the job.")
    eta_seconds: int | None = Field(description="As in the job.")
    estimate: PriceEstimate = Field(description="Price before the call.")


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """An event as a client gets it. `id`: what to come back with, None for what cannot be repeated."""

    name: str
    data: Mapping[str, Any]
    id: str | None = None


def event_of(entry: Entry) -> StreamEvent:
    """What clients are told of an entry: a change of the state is `state`, anything else has its own name."""
    if entry.event == BATCH_EVENT:
        return StreamEvent(BATCH_EVENT, batch_event(entry.data).model_dump(mode="json"), str(entry.id))
    told: dict[str, Any] = {"id": entry.job_id, **json.loads(entry.data)}
    if "at" in told:
        told["at"] = utc(told["at"]).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if entry.event != told.get("state"):
        return StreamEvent(entry.event, told, str(entry.id))
    told["images"] = [image_path(entry.job_id, index) for index in range(told.get("images", 0))]
    event = JobEvent.model_validate({name: told[name] for name in JobEvent.model_fields if name in told})
    return StreamEvent("state", event.model_dump(mode="json"), str(entry.id))


def state_event(job: Job) -> StreamEvent:
    """The state that a job has now; without an id."""
    event = JobEvent(
        id=job.id,
        state=job.state,
        session_id=job.session_id,
        turn=job.turn,
        batch_id=job.batch_id,
        line=job.line,
        custom_id=job.custom_id,
        attempt=job.attempt or None,
        at=utc(_state_since(job)),
        error=job.error.code if job.error else None,
        images=tuple(image_path(job.id, image.index) for image in job.images),
    )
    return StreamEvent("state", event.model_dump(mode="json"))


def end_event(state: StreamEvent, entry: EntryId) -> StreamEvent:
    """The last event of a job's own stream, after the `state` that ended it."""
    return StreamEvent("end", state.data, f"{entry}{_END}")


def reset_event(reason: str) -> StreamEvent:
    """Tells a client that events may be missing; what follows is how things are now."""
    return StreamEvent("reset", {"reason": reason})


def ends(entry: Entry) -> bool:
    """Whether the job has ended with this entry."""
    return entry.event in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


def progress_of(job: Job, position: int | None, limiter: LimiterState) -> JobProgress:
    """How far a job is."""
    return JobProgress(
        id=job.id,
        state=job.state,
        position=position,
        waiting_for=waiting_for(job, position, limiter),
        eta_seconds=eta_seconds(job, position, limiter),
        estimate=job.estimate,
    )


def _state_since(job: Job) -> int:
    if job.state is JobState.RUNNING and job.attempts:
        return job.attempts[-1].started
    if job.state is JobState.QUEUED and job.attempts:
        return job.attempts[-1].ended or job.created_at
    return job.finished_at or job.created_at
