"""What the feeder sees and does in Redis: batches with lines to begin, places for them, lines that become jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal, cast

from imagequeue.batches import Batch
from imagequeue.jobs import JobError, NewJob
from imagequeue.store.batches import batch_from_hash
from imagequeue.store.connection import RedisClient, translated
from imagequeue.store.job_codec import new_job_fields
from imagequeue.store.jobs import flat
from imagequeue.store.keys import Keys
from imagequeue.store.limits import micro
from imagequeue.store.reuse import Reused, new_reuse_field
from imagequeue.store.scripts import Scripts

Begun = Literal[
    "stored",
    "reused",
    "not_running",
    "window_full",
    "other_line",
    "waits",
    "paused",
    "too_many_jobs",
    "too_fast",
    "too_late",
    "failed",
]
Outcome = NewJob | Reused | JobError
"""What a line is to become, or why it can become nothing."""
_AGAIN_LOOKED_AT: Final = 200


@dataclass(frozen=True, slots=True)
class Hungry:
    """A batch with lines to begin. `next_lines`: the numbers of the next ones, a part of them."""

    batch: Batch
    next_lines: Sequence[int]


@dataclass(frozen=True, slots=True)
class Fleet:
    """How much the fleet works on for batches. `slots`: calls that all live workers hold at once."""

    slots: int
    flying: Mapping[str, int]  # lines in flight by owner
    queued: int  # of those, jobs that no worker has and that wait for no time
    broken: bool  # the circuit breaker is open
    now: int


class FeedStore:
    """The feeder's view. Every method raises StoreUnavailable when Redis does not answer."""

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)

    def may_feed(self, worker: str, hold_ms: int) -> bool:
        """Whether this process is the one that feeds for the next `hold_ms`. Two at once do no harm."""
        with translated():
            if self._client.set(self._keys.feeder, worker, nx=True, px=hold_ms):
                return True
            if self._client.get(self._keys.feeder) != worker:
                return False
            return bool(self._client.set(self._keys.feeder, worker, px=hold_ms))

    def stop_feeding(self, worker: str) -> None:
        """Let another one feed at once."""
        with translated():
            if self._client.get(self._keys.feeder) == worker:
                self._client.delete(self._keys.feeder)

    def resuming(self, now: int, limit: int) -> list[str]:
        """Paused batches that are to go on by the time `now` (ms)."""
        with translated():
            return self._client.zrangebyscore(self._keys.batches_resuming, "-inf", str(now), 0, limit)

    def owner(self, batch_id: str) -> str:
        """Whose batch it is; empty when it is gone."""
        with translated():
            return self._client.hmget(self._keys.batch(batch_id), ["owner"])[0] or ""

    def fleet(self, lease_ms: int) -> Fleet:
        """How busy the fleet is; workers live that gave a sign of life within two leases."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.time()
        pipeline.zrange(self._keys.workers, 0, -1, withscores=True)
        pipeline.hgetall(self._keys.slots)
        pipeline.hgetall(self._keys.batches_flying)
        pipeline.zcard(self._keys.waiting("batch"))
        pipeline.zcard(self._keys.delayed)
        pipeline.hget(self._keys.limiter, "broken_at")
        with translated():
            clock, workers, slots, flying, waiting, delayed, broken_at = pipeline.execute()
        seconds, microseconds = cast("tuple[int, int]", clock)
        now = seconds * 1000 + microseconds // 1000
        held = cast("dict[str, str]", slots)
        live = [name for name, seen in cast("list[tuple[str, float]]", workers) if seen > now - 2 * lease_ms]
        return Fleet(
            slots=sum(int(held.get(name, 1)) for name in live),
            flying={owner: int(count) for owner, count in cast("dict[str, str]", flying).items()},
            queued=max(0, cast("int", waiting) - cast("int", delayed)),
            broken=broken_at is not None,
            now=now,
        )

    def hungry(self) -> list[Hungry]:
        """The batches that run and have lines to begin."""
        with translated():
            ids = self._client.zrange(self._keys.batches_active, 0, -1)
        pipeline = self._client.pipeline(transaction=False)
        for batch_id in ids:
            pipeline.hgetall(self._keys.batch(batch_id))
            pipeline.zrange(self._keys.for_batch(batch_id, "")["batch_again"], 0, _AGAIN_LOOKED_AT - 1)
        with translated():
            answers = pipeline.execute()
        found: list[Hungry] = []
        for fields, again in zip(answers[::2], answers[1::2], strict=True):
            if not fields:
                continue
            batch = batch_from_hash(cast("dict[str, str]", fields))
            numbers = [int(number) for number in cast("list[str]", again)]
            fed = len(numbers) < _AGAIN_LOOKED_AT and not batch.economy  # in the economy lane they are shipped
            behind = range(batch.next_line, batch.feed_until) if fed else range(0)
            found.append(Hungry(batch, [*numbers, *islice(behind, _AGAIN_LOOKED_AT)]))
        return found

    def begin(self, lines: Sequence[tuple[Batch, int, Outcome]]) -> list[Begun]:
        """Make jobs of lines, or end those of which none can be made, in this order; what became of each.

        A line is taken only if it is the batch's next one by then, so that nobody begins one twice.
        """
        calls = [self._call(batch, number, outcome) for batch, number, outcome in lines]
        return cast("list[Begun]", self._scripts.run_many(calls))

    def _call(self, batch: Batch, number: int, outcome: Outcome) -> tuple[str, Mapping[str, str], Sequence[str | int]]:
        if isinstance(outcome, JobError):
            keys = self._keys.for_batch(batch.id, batch.owner)
            return "fail_line", keys, [batch.id, number, outcome.model_dump_json()]
        if isinstance(outcome, Reused):
            new = outcome.new
            keys = self._keys.for_job(new.id, batch.owner, "batch", None, batch.key_id, batch.id)
            about = [len(outcome.images), outcome.folder, new_reuse_field(new), new.retention_ms]
            return "reuse_line", keys, [new.id, batch.id, number, *about, *outcome.fields]
        keys = self._keys.for_job(outcome.id, batch.owner, "batch", None, batch.key_id, batch.id)
        most = micro(outcome.estimate.high_usd)
        belongs = [batch.id, number, batch.owner, batch.key_id or "", most]
        return "submit_line", keys, [outcome.id, *belongs, *flat(new_job_fields(outcome))]
