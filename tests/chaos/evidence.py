"""What a run leaves behind, from four witnesses: the clients, the API's records, OpenAI's journal, and S3.

Plain values, so that the checker is pure and its own tests can write them by hand. Times are milliseconds since 1970.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from imagequeue import pricing
from imagequeue.jobs import Usage
from imagequeue.views import AttemptView, JobView

Fate = Literal["accepted", "perhaps", "refused", "skipped"]


@dataclass(frozen=True, slots=True)
class Submission:
    """What a client knows of one job that it sent. A `perhaps` was sent, and no whole answer came."""

    prompt: str
    fate: Fate
    job_id: str | None = None
    reason: str = ""  # of a refusal: the API's code


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt in a job's record."""

    number: int
    started: int
    call_started: int | None
    ended: int | None
    outcome: str | None
    code: str | None = None  # of the error that ended it
    cost_usd: float | None = None

    @property
    def maybe_billed_for_nothing(self) -> bool:
        """Whether it may have cost money without an image to show for it, nobody knows how much."""
        without_image = self.outcome in ("unknown", "cancelled") or self.code == "bad_output"
        return without_image and self.call_started is not None and self.cost_usd is None


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An output in a job's record."""

    key: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Record:
    """A job as the API shows it."""

    id: str
    prompt: str
    state: str
    n: int = 1
    session_id: str | None = None
    turn: int | None = None
    finished: int | None = None
    error_code: str | None = None
    attempts: tuple[Try, ...] = ()
    inputs: tuple[str, ...] = ()  # sha256
    images: tuple[StoredImage, ...] = ()
    estimate_usd: float = 0.0
    cost_usd: float | None = None
    cost_by_usage_usd: float | None = None
    possible_extra_usd: float = 0.0
    raw: str = ""  # all of it, to see that it does not change

    @property
    def terminal(self) -> bool:
        """Whether it has ended."""
        return self.state in ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class JournalCall:
    """One call as OpenAI's side saw it. `outcome` None: it was killed before it answered."""

    request_id: str
    client_request_id: str | None
    outcome: str | None = None
    status: int | None = None
    images: tuple[str, ...] = ()  # sha256 of the images that were answered
    inputs: tuple[str, ...] = ()  # sha256

    @property
    def job_id(self) -> str:
        """The job that it was for; '' when it does not say."""
        return (self.client_request_id or "").rpartition("-")[0]

    @property
    def attempt(self) -> int:
        """The attempt that it was for; 0 when it does not say."""
        number = (self.client_request_id or "").rpartition("-")[2]
        return int(number) if number.isdecimal() else 0

    @property
    def fault(self) -> str | None:
        """The injected fault that it met, by its outcome and status."""
        if self.outcome is None or not self.outcome.startswith("fault:"):
            return None
        kind = self.outcome.removeprefix("fault:")
        return str(self.status) if kind == "error" else kind


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that the checker looks at."""

    tough: bool  # every retry was allowed: no job may end because a call's outcome was unknown or a worker was lost
    submissions: tuple[Submission, ...]
    records: Mapping[str, Record]
    calls: tuple[JournalCall, ...] = ()
    stored: Mapping[str, str | None] = field(default_factory=dict[str, str | None])  # S3 key: sha256; None: missing
    endings: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])  # terminal events
    seen: Mapping[str, str] = field(default_factory=dict[str, str])  # terminal records as `raw`, seen during the run
    unlisted: frozenset[str] = frozenset()  # jobs that can be read, and that no list shows
    leftovers: Mapping[str, int] = field(default_factory=dict[str, int])  # entries in queues after the last ending
    cancels: frozenset[str] = frozenset()  # jobs that a client asked to cancel
    usage_told: str = ""  # the API's figures of all that was used
    usage_summed: str = ""  # what the records of the jobs add up to


def record_of(view: JobView) -> Record:
    """The record behind a job as the API shows it."""
    return Record(
        id=view.id,
        prompt=view.request.prompt,
        state=view.state.value,
        n=view.request.n,
        session_id=view.session_id,
        turn=view.turn,
        finished=_milliseconds(view.finished_at),
        error_code=view.error.code if view.error else None,
        attempts=tuple(_try_of(attempt) for attempt in view.attempts),
        inputs=tuple(image.sha256 for image in view.inputs),
        images=tuple(StoredImage(image.key, image.sha256) for image in view.images),
        estimate_usd=view.estimate.expected_usd,
        cost_usd=view.cost_usd_estimated,
        cost_by_usage_usd=_cost(view.usage),
        possible_extra_usd=view.possible_extra_cost_usd,
        raw=view.model_dump_json(),
    )


def read_journal(file: Path) -> tuple[JournalCall, ...]:
    """The calls in a journal file, which several sandboxes in turn have written; oldest first."""
    calls: dict[str, dict[str, Any]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        entry: dict[str, Any] = json.loads(line)
        calls.setdefault(entry["request_id"], {}).update(entry)
    return tuple(
        JournalCall(
            request_id=request_id,
            client_request_id=entry["client_request_id"],
            outcome=entry.get("outcome"),
            status=entry.get("status"),
            images=tuple(entry.get("images", ())),
            inputs=tuple(entry["inputs"]),
        )
        for request_id, entry in calls.items()
    )


def _try_of(attempt: AttemptView) -> Try:
    return Try(
        number=attempt.number,
        started=_milliseconds(attempt.started_at) or 0,
        call_started=_milliseconds(attempt.call_started_at),
        ended=_milliseconds(attempt.ended_at),
        outcome=attempt.outcome.value if attempt.outcome else None,
        code=attempt.code,
        cost_usd=attempt.cost_usd_estimated,
    )


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)


def _cost(usage: Usage | None) -> float | None:
    if usage is None:
        return None
    counted = usage.model_dump(include={"input_tokens", "output_tokens", "input_text_tokens", "input_image_tokens"})
    return pricing.cost_usd(pricing.TokenUsage(**counted))
