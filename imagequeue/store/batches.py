"""Batches in Redis. Their lines wait in S3; those that have begun are jobs, which store/attempts.py ends."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, Literal, cast

from imagequeue.batches import (
    LETTER_OF,
    LINE_BYTES,
    Batch,
    BatchNotFound,
    LineRecord,
    LineState,
    NewBatch,
    job_id_of_ulid,
    line_records,
)
from imagequeue.errors import IdempotencyKeyReused
from imagequeue.jobs import JobError
from imagequeue.store.connection import RedisClient, now_ms, translated
from imagequeue.store.jobs import IDEMPOTENCY_MS, NO_IDEMPOTENCY_KEY, flat
from imagequeue.store.keys import Keys
from imagequeue.store.scripts import Scripts

WRITING_MS: Final = 3_600_000
"""How long a manifest may take to be written. It takes seconds, and some minutes with many images; what is left of it
then belongs to nobody."""
Steering = Literal["done", "over"]
_TOLD: Final = "told:"
_COUNTED: Final = frozenset({"max_cost", "window", "priority"})


class BatchStore:
    """The records of batches. Every method raises StoreUnavailable when Redis does not answer."""

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)

    def now(self) -> int:
        """Redis's clock (ms)."""
        return now_ms(self._client)

    def begin_draft(self, batch_id: str) -> None:
        """Note that a manifest is being written: it is deleted when its batch is never stored."""
        with translated():
            self._client.zadd(self._keys.batches_drafts, {batch_id: now_ms(self._client)})

    def end_draft(self, batch_id: str) -> None:
        """Forget a manifest that is not there any more."""
        with translated():
            self._client.zrem(self._keys.batches_drafts, batch_id)

    def abandoned_drafts(self, now: int, limit: int) -> list[str]:
        """Batches that are not stored, and never will be, as `now` (ms) their manifest should have been written."""
        with translated():
            return self._client.zrangebyscore(self._keys.batches_drafts, "-inf", str(now - WRITING_MS), 0, limit)

    def create(self, new: NewBatch) -> str | None:
        """Store a batch, which runs from now on; gives its id, or that of the one made with the same idempotency key.

        None: `begin_draft` is too long ago, and the manifest may be deleted by now.

        Raises:
            IdempotencyKeyReused: the idempotency key came with another request before.
        """
        key = new.idempotency.key if new.idempotency else NO_IDEMPOTENCY_KEY
        keys = {
            **self._keys.for_batch(new.id, new.owner),
            "idempotency": self._keys.idempotency(new.owner, key),
        }
        once = [new.idempotency.fingerprint if new.idempotency else "", IDEMPOTENCY_MS]
        answer = self._scripts.run("create_batch", keys, [new.id, WRITING_MS, *once, *flat(_new_fields(new))])
        what, *details = cast("list[str]", answer)
        if what == "idempotency_key_reused":
            raise IdempotencyKeyReused
        if what == "too_late":
            return None
        return details[0] if what == "replayed" else new.id

    def get(self, batch_id: str) -> Batch:
        """Read a batch.

        Raises:
            BatchNotFound: there is none.
        """
        found = self.get_many([batch_id])
        if not found:
            raise BatchNotFound(batch_id)
        return found[0]

    def get_many(self, batch_ids: Sequence[str]) -> list[Batch]:
        """Read the batches that exist, in the order of the ids."""
        pipeline = self._client.pipeline(transaction=False)
        for batch_id in batch_ids:
            pipeline.hgetall(self._keys.batch(batch_id))
        with translated():
            answers = cast("list[dict[str, str]]", pipeline.execute())
        return [batch_from_hash(fields) for fields in answers if fields]

    def list_ids(self, owner: str, after: str | None, limit: int) -> list[str]:
        """Up to `limit` ids of an owner's batches, newest first, older than the id `after`."""
        with translated():
            newest = f"({after}" if after else "+"
            return self._client.zrevrangebylex(self._keys.batch_index(owner), newest, "-", 0, limit)

    def is_listed(self, owner: str, batch_id: str) -> bool:
        """Whether the owner has this batch, in Redis or in S3."""
        with translated():
            return self._client.zscore(self._keys.batch_index(owner), batch_id) is not None

    def steer(self, batch: Batch, action: Literal["pause", "resume", "cancel"]) -> Steering:
        """Pause, resume or cancel a batch. `over`: it has ended, or was cancelled.

        Raises:
            BatchNotFound: it is gone.
        """
        return self._steer(batch.id, batch.owner, action)

    def resume_due(self, batch_id: str, owner: str) -> None:
        """Let a batch go on that was paused until a time that has come."""
        self._steer(batch_id, owner, "resume_due")

    def change(self, batch: Batch, changes: Mapping[str, int | None]) -> Steering:
        """Set `window`, `priority` or `max_cost` (millionths of a dollar; None: no cap)."""
        fields = {name: "" if value is None else str(value) for name, value in changes.items() if name in _COUNTED}
        return self._steer(batch.id, batch.owner, "change", *flat(fields))

    def leave_economy(self, batch: Batch) -> None:
        """Run the lines that have not been shipped in real time."""
        self._steer(batch.id, batch.owner, "change", "economy", "")

    def again(self, batch: Batch, states: Sequence[LineState], token: str) -> int:
        """Let the lines that ended so run once more; how many they are. Repeated with the same token it is one time.

        Raises:
            BatchNotFound: it is gone.
        """
        letters = "".join(LETTER_OF[state] for state in states)
        keys = self._keys.for_batch(batch.id, batch.owner)
        what, *count = cast("list[str | int]", self._scripts.run("again_batch", keys, [batch.id, letters, token]))
        if what == "missing":
            raise BatchNotFound(batch.id)
        return int(count[0]) if count else 0

    def lines(self, batch_id: str, first: int, count: int) -> list[LineRecord]:
        """Up to `count` lines that have begun, from the number `first` on, without what faults say."""
        with translated():
            text = self._client.getrange(
                self._keys.batch_lines(batch_id), first * LINE_BYTES, (first + count) * LINE_BYTES - 1
            )
        return line_records(text, first)

    def line_text(self, batch_id: str) -> str:
        """All lines that have begun, as they are kept."""
        with translated():
            return self._client.getrange(self._keys.batch_lines(batch_id), 0, -1)

    def lines_of(self, batch_id: str, numbers: Sequence[int]) -> list[LineRecord]:
        """The lines of these numbers, which must have begun."""
        pipeline = self._client.pipeline(transaction=False)
        for number in numbers:
            pipeline.getrange(self._keys.batch_lines(batch_id), number * LINE_BYTES, (number + 1) * LINE_BYTES - 1)
        with translated():
            texts = cast("list[str]", pipeline.execute())
        return [line for number, text in zip(numbers, texts, strict=True) for line in line_records(text, number)]

    def ended(self, batch_id: str, first: int, count: int) -> list[int]:
        """Up to `count` (-1: all) numbers of lines in the order in which they ended, from the place `first` on."""
        last = -1 if count < 0 else first + count - 1
        with translated():
            return [int(text) for text in self._client.lrange(self._keys.batch_ended(batch_id), first, last)]

    def faults(self, batch_id: str, numbers: Sequence[int]) -> Mapping[int, JobError]:
        """Why no jobs could be made of those of these lines of which none could."""
        if not numbers:
            return {}
        with translated():
            texts = self._client.hmget(self._keys.batch_faults(batch_id), [str(number) for number in numbers])
        return {
            number: JobError.model_validate_json(text)
            for number, text in zip(numbers, texts, strict=True)
            if text is not None
        }

    def earlier_jobs(self, batch_id: str) -> list[str]:
        """The jobs of lines that have another job now, because they ran again."""
        with translated():
            return [job_id_of_ulid(ulid) for ulid in self._client.lrange(self._keys.batch_earlier(batch_id), 0, -1)]

    def over(self, before: int, limit: int) -> list[str]:
        """Batches that have ended and are to be looked at by the time `before` (ms)."""
        with translated():
            return self._client.zrangebyscore(self._keys.batches_over, "-inf", str(before), 0, limit)

    def look_again(self, batch_id: str, at: int | None) -> None:
        """Look at a batch that has ended again at a time (ms), None: never. One that goes on again is left alone."""
        with translated():
            if at is None:
                self._client.zrem(self._keys.batches_over, batch_id)
            else:
                self._client.zadd(self._keys.batches_over, {batch_id: at}, xx=True)

    def archive(self, batch: Batch) -> None:
        """Let a batch that has ended leave Redis, if it has not gone on; its record must be in S3."""
        arguments = [batch.id, batch.finished_at or 0, batch.expires_at or 0]
        self._scripts.run("archive_batch", self._keys.for_batch(batch.id, batch.owner), arguments)

    def unlist(self, batch_id: str, owner: str) -> None:
        """Take a batch out of its owner's list."""
        with translated():
            self._client.zrem(self._keys.batch_index(owner), batch_id)

    def told(self, batch_id: str) -> Mapping[str, str]:
        """The events that webhooks are told of, by number: type and data (JSON), with a blank between them."""
        with translated():
            fields = self._client.hgetall(self._keys.batch(batch_id))
        return {name.removeprefix(_TOLD): text for name, text in fields.items() if name.startswith(_TOLD)}

    def _steer(self, batch_id: str, owner: str, *arguments: str) -> Steering:
        keys = self._keys.for_batch(batch_id, owner)
        answer = self._scripts.run("steer_batch", keys, [batch_id, *arguments])
        if answer == "missing":
            raise BatchNotFound(batch_id)
        return cast("Steering", answer)


def batch_from_hash(fields: Mapping[str, str]) -> Batch:
    """Read a batch back. Fields that only scripts need are passed over."""
    own: dict[str, object] = {name: value for name, value in fields.items() if name in Batch.model_fields}
    return Batch.model_validate({**own, "estimate": json.loads(fields["estimate"])})


def _new_fields(new: NewBatch) -> dict[str, str]:
    plain = new.model_dump(exclude={"id", "estimate"}, exclude_none=True)
    fields = {name: str(value) for name, value in plain.items() if value is not False}
    return {**fields, "estimate": new.estimate.model_dump_json(), "feed_until": str(new.lines)}
