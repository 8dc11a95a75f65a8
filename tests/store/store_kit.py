"""What the store's tests share: a store under a key prefix of its own, hands that move time, and a look at it all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from imagequeue.jobs import AttemptOutcome, Claim, Image, Job, JobError, JobState, NewJob, Result
from imagequeue.requests import GenerateRequest
from imagequeue.store.api_keys import KeyStore
from imagequeue.store.attempts import AttemptStore, Due, lease_of
from imagequeue.store.batches import BatchStore
from imagequeue.store.connection import RedisClient
from imagequeue.store.feeding import FeedStore
from imagequeue.store.fleet import FleetStore
from imagequeue.store.jobs import Ending
from imagequeue.store.keys import Keys
from imagequeue.store.limiter import LimiterStore
from imagequeue.store.sessions import SessionStore

OWNER: Final = "owner-1"
HOUR_MS: Final = 3_600_000
LONG_AGO_MS: Final = 1
_OLDEST_TIME_MS: Final = 1e12  # 2001: no other number in a record is as large
BUSY: Final = JobError(code="provider_busy", message="429 from OpenAI", retryable=True)
REFUSED: Final = JobError(code="moderation_blocked", message="refused", retryable=False)
IMAGE: Final = Image(
    index=0,
    key="images/job/1/0.png",
    preview_key="images/job/1/0.webp",
    filename="hero-1.png",
    mime_type="image/png",
    size_bytes=2_000_000,
    width=1024,
    height=1024,
    sha256="ab" * 32,
)
SUCCEEDED: Final = Result(
    state=JobState.SUCCEEDED,
    outcome=AttemptOutcome.SUCCEEDED,
    images=(IMAGE,),
    cost_usd_estimated=0.05268,
    request_id="req_1",
)
FAILED: Final = Result(state=JobState.FAILED, outcome=AttemptOutcome.FAILED, error=REFUSED)
GIVEN_UP: Final = Result(state=JobState.CANCELLED, outcome=AttemptOutcome.CANCELLED)
RESULTS: Final = (SUCCEEDED, FAILED, GIVEN_UP)
FINISHED: Final = Ending("finished")
TOO_LATE: Final = Ending("refused")
NOTHING_DUE: Final = Due(unsent=(), lapsed=(), delayed=(), halted=(), idle_sessions=())


def new_job(**changes: object) -> NewJob:
    """A valid job, with fields replaced."""
    defaults: dict[str, object] = {
        "request": GenerateRequest(prompt="A lighthouse at dawn"),
        "owner": OWNER,
        "lane": "interactive",
        "model": "gpt-image-2",
        "on_unknown_outcome": "retry",
    }
    return NewJob.model_validate(defaults | changes)


@dataclass(frozen=True, slots=True)
class Bench:
    """One store on one Redis."""

    client: RedisClient
    raw: Any  # the same client, for the commands that the store itself has no use for
    keys: Keys
    store: AttemptStore
    sessions: SessionStore
    fleet: FleetStore
    limiter: LimiterStore
    api_keys: KeyStore
    batches: BatchStore
    feed: FeedStore

    def submit(self, **changes: object) -> Job:
        """Store a new job."""
        return self.store.submit(new_job(**changes))

    def claim(self, job_id: str, holder: str = "holder-1", worker: str = "worker-1") -> Claim | None:
        """Claim with a lease that no test outlives."""
        return self.store.claim(job_id, worker, holder, HOUR_MS)

    def claimed(self, job: Job | None = None, holder: str = "holder-1") -> Claim:
        """A claim of the job, or of a new one, that must succeed."""
        claim = self.claim((job or self.submit()).id, holder)
        assert claim is not None
        return claim

    def lapse(self, claim: Claim) -> None:
        """Let the lease run out: its time is set into the past, in Redis."""
        assert lease_of(claim) in self.members(self.keys.leases)
        self.raw.zadd(self.keys.leases, {lease_of(claim): LONG_AGO_MS})

    def taken_back(self, claim: Claim) -> str:
        """Let the lease run out and sweep it."""
        self.lapse(claim)
        return self.store.sweep(claim.job.id, lease_of(claim))

    def due(self, outbox_age_ms: int = 0, limit: int = 10) -> Due:
        """What a sweep has to look at; sessions are idle after an hour."""
        return self.store.due(outbox_age_ms, HOUR_MS, HOUR_MS, limit)

    def end_delay(self, job_id: str) -> None:
        """Let the time of a retry come."""
        assert job_id in self.members(self.keys.delayed)
        self.raw.zadd(self.keys.delayed, {job_id: LONG_AGO_MS})
        self.raw.hset(self.keys.job(job_id), "not_before", LONG_AGO_MS)

    def released(self, claim: Claim, delay_ms: int = 0, outcome: AttemptOutcome = AttemptOutcome.BUSY) -> str:
        """Put the job back into the queue."""
        return self.store.release(claim, outcome, BUSY, delay_ms, None)

    def fields(self, job_id: str) -> dict[str, str]:
        """The job's whole hash."""
        return self.client.hgetall(self.keys.job(job_id))

    def events(self, job_id: str) -> list[str]:
        """The names of the job's events, oldest first."""
        return [fields["event"] for _, fields in self.client.xrange(self.keys.events(job_id), "-", "+")]

    def last_event_data(self, job_id: str) -> object:
        """What the job's newest event says."""
        ((_, fields),) = self.client.xrevrange(self.keys.events(job_id), "+", "-", 1)
        return json.loads(fields["data"])

    def changes(self) -> list[tuple[str, str]]:
        """Job and event of every change in the fleet, oldest first."""
        return [(fields["job"], fields["event"]) for _, fields in self.client.xrange(self.keys.changes, "-", "+")]

    def members(self, key: str) -> dict[str, float]:
        """A sorted set with its scores."""
        return dict(self.raw.zrange(key, 0, -1, withscores=True))

    def indexed_as(self, job_id: str, owner: str = OWNER) -> list[JobState]:
        """The states in whose index the job is; exactly one is right."""
        return [state for state in JobState if job_id in self.members(self.keys.index(owner, state))]

    def contents(self) -> dict[str, object]:
        """Everything under the prefix, by key without it."""
        found: dict[str, object] = {}
        for key in self.raw.scan_iter(match=f"{self.keys.prefix}*", count=1000):
            found[key.removeprefix(self.keys.prefix)] = self._value(key)
        return found

    def _value(self, key: str) -> object:
        kind = self.raw.type(key)
        if kind == "hash":
            return self.client.hgetall(key)
        if kind == "zset":
            return self.members(key)
        if kind == "list":
            return self.client.lrange(key, 0, -1)
        if kind == "set":
            return sorted(self.client.smembers(key))
        if kind == "stream":
            return self.client.xrange(key, "-", "+")
        return self.client.get(key)


def bench_on(client: RedisClient, keys: Keys) -> Bench:
    """A bench on a Redis, under these keys."""
    return Bench(
        client=client,
        raw=client,
        keys=keys,
        store=AttemptStore(client, keys),
        sessions=SessionStore(client, keys),
        fleet=FleetStore(client, keys),
        limiter=LimiterStore(client, keys),
        api_keys=KeyStore(client, keys),
        batches=BatchStore(client, keys),
        feed=FeedStore(client, keys),
    )


BenchMaker = Callable[[str], Bench]
"""Opens a bench on an engine: `fakeredis` or `redis`."""


def without_times(value: object) -> object:
    """A value with every time and stream id in it replaced, so that the contents of two runs can be compared."""
    match value:
        case dict():
            items = cast("Mapping[str, object]", value).items()
            return {name: without_times(part) for name, part in items}
        case list() | tuple():
            return [without_times(part) for part in cast("Sequence[object]", value)]
        case str():
            return _text_without_times(value)
        case int() | float():
            return "TIME" if value > _OLDEST_TIME_MS else value
        case _:
            return value


def _text_without_times(text: str) -> object:
    milliseconds, dash, number = text.partition("-")
    if dash and milliseconds.isdigit() and number.isdigit():
        return "STREAM-ID"
    if text[:1] in ("{", "[") or text.isdigit():
        return without_times(json.loads(text))
    return text
