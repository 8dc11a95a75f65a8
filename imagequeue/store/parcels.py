"""Parcels of the economy lane in Redis: who ships which lines, who looks after a parcel, and lines that land."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast

from imagequeue.batches import Batch
from imagequeue.jobs import Claim, Job
from imagequeue.parcels import PackedLine, Parcel
from imagequeue.store.attempts import new_holder
from imagequeue.store.batches import batch_from_hash
from imagequeue.store.connection import RedisClient, now_ms, translated
from imagequeue.store.job_codec import new_job_fields
from imagequeue.store.jobs import JobStore, flat
from imagequeue.store.keys import Keys
from imagequeue.store.limits import micro
from imagequeue.store.scripts import Scripts

Shipped = Literal["shipped", "not_running", "other_line", "fewer", "waits", "paused", "too_many_jobs", "too_fast"]
NOW: Final = "now"
"""As a value of `note`: Redis's time."""
_GIVEN_AT_ONCE: Final = 500
_LEASE_MS: Final = 60_000


class ParcelLost(Exception):
    """Somebody else looks after the parcel now: whatever this worker still wants of it is refused."""


@dataclass(frozen=True, slots=True)
class HeldParcel:
    """A worker's right to look after a parcel: valid while its lease is renewed."""

    parcel: Parcel
    holder: str


class ParcelStore:
    """The records of parcels. Every method raises StoreUnavailable when Redis does not answer."""

    def __init__(self, client: RedisClient, keys: Keys, lease_ms: int = _LEASE_MS) -> None:
        self._client = client
        self._keys = keys
        self._lease_ms = lease_ms
        self._scripts = Scripts(client)
        self._jobs = JobStore(client, keys)

    def shipping(self) -> list[Batch]:
        """The batches of the economy lane that run and have lines to ship."""
        with translated():
            ids = self._client.zrange(self._keys.batches_active, 0, -1)
        pipeline = self._client.pipeline(transaction=False)
        for batch_id in ids:
            pipeline.hgetall(self._keys.batch(batch_id))
        with translated():
            answers = cast("list[dict[str, str]]", pipeline.execute())
        batches = [batch_from_hash(fields) for fields in answers if fields]
        return [batch for batch in batches if batch.economy and batch.next_line < batch.feed_until]

    def ship(self, batch: Batch, end: int, parcels: Sequence[Parcel]) -> Shipped:
        """Give the batch's lines from its cursor up to `end` (without it) to parcels, at most one for each endpoint."""
        by_endpoint = {parcel.endpoint: parcel for parcel in parcels}
        generations, edits = by_endpoint.get("/v1/images/generations"), by_endpoint.get("/v1/images/edits")
        keys = {
            **self._keys_of(batch.id, batch.owner, batch.key_id),
            "parcel_generations": self._keys.for_parcel(batch.id, generations and generations.id)["parcel"],
            "parcel_edits": self._keys.for_parcel(batch.id, edits and edits.id)["parcel"],
        }
        arguments = [batch.id, batch.key_id or "", batch.next_line, end, *_shipped(generations), *_shipped(edits)]
        return cast("Shipped", self._scripts.run("ship", keys, arguments))

    def now(self) -> int:
        """Redis's clock (ms)."""
        return now_ms(self._client)

    def claim_due(self, worker: str, limit: int) -> list[HeldParcel]:
        """Take up to `limit` parcels that are due."""
        with translated():
            ids = self._client.zrangebyscore(self._keys.parcels_due, "-inf", str(now_ms(self._client)), 0, limit)
        claimed = [self._claim(parcel_id, new_holder(worker)) for parcel_id in ids]
        return [held for held in claimed if held is not None]

    def renew(self, held: HeldParcel) -> None:
        """Renew the lease.

        Raises:
            ParcelLost: it is somebody else's now.
        """
        self._note(held, "", {})

    def note(self, held: HeldParcel, changes: Mapping[str, str | int | None], due_ms: int | None = None) -> HeldParcel:
        """Note how the parcel goes on; None takes a field away. With `due_ms` it is let go, and due again then.

        Raises:
            ParcelLost: it is somebody else's now.
        """
        fields = {name: "" if value is None else str(value) for name, value in changes.items()}
        self._note(held, "" if due_ms is None else str(due_ms), fields)
        return HeldParcel(self.get(held.parcel.id) or held.parcel, held.holder)

    def done(self, held: HeldParcel) -> None:
        """Forget a parcel of which every line has ended or was given back.

        Raises:
            ParcelLost: it is somebody else's now.
        """
        keys = self._keys_of(held.parcel.batch_id, held.parcel.owner, held.parcel.key_id, held.parcel.id)
        if self._scripts.run("parcel_done", keys, [held.parcel.id, held.holder]) == "lost":
            raise ParcelLost

    def get(self, parcel_id: str) -> Parcel | None:
        """Read a parcel; None when it is gone."""
        with translated():
            fields = self._client.hgetall(self._keys.parcel(parcel_id))
        return Parcel.model_validate({**fields}) if fields else None

    def of_batch(self, batch_id: str) -> list[Parcel]:
        """The parcels of a batch that are not done."""
        with translated():
            ids = self._client.smembers(self._keys.batch_parcels(batch_id))
        parcels = [self.get(parcel_id) for parcel_id in sorted(ids)]
        return [parcel for parcel in parcels if parcel is not None]

    def hurry(self, batch_id: str) -> None:
        """Have somebody look at a batch's parcels now, except at those that are held."""
        due = {parcel.id: 0 for parcel in self.of_batch(batch_id) if parcel.holder is None}
        if due:
            with translated():
                self._client.zadd(self._keys.parcels_due, due, xx=True)

    def give_back(self, parcel: Parcel, lines: Mapping[int, int]) -> int:
        """Give lines back that OpenAI has not executed, with the most that each may cost; how many that changed."""
        keys = self._keys_of(parcel.batch_id, parcel.owner, parcel.key_id, parcel.id)
        pairs = [part for pair in lines.items() for part in pair]
        given = 0
        for start in range(0, len(pairs), 2 * _GIVEN_AT_ONCE):
            some = pairs[start : start + 2 * _GIVEN_AT_ONCE]
            given += cast("int", self._scripts.run("give_back", keys, [parcel.batch_id, parcel.id, *some]))
        return given

    def land(self, parcel: Parcel, line: PackedLine, worker: str, lease_ms: int) -> Claim | Job | None:
        """The claim of a line's job, made now; the job, when there is one; None when the line is not the parcel's."""
        holder = new_holder(worker)
        keys = {
            **self._keys.for_job(line.job.id, parcel.owner, "batch", None, parcel.key_id, parcel.batch_id),
            "parcel": self._keys.parcel(parcel.id),
        }
        held = micro(line.job.estimate.high_usd)
        who = [line.job.id, parcel.batch_id, line.number, parcel.owner, parcel.id, held]
        lease = [worker, holder, lease_ms, parcel.creating_at or 0]
        answer = self._scripts.run("land_line", keys, [*who, *lease, *flat(new_job_fields(line.job))])
        if answer == "over":
            return None
        job = self._jobs.get(line.job.id)
        return Claim(job=job, holder=holder) if answer == "landed" else job

    def _claim(self, parcel_id: str, holder: str) -> HeldParcel | None:
        keys = self._keys.for_parcel("", parcel_id)
        if self._scripts.run("parcel_claim", keys, [parcel_id, holder, self._lease_ms]) != "claimed":
            return None
        parcel = self.get(parcel_id)
        return HeldParcel(parcel, holder) if parcel else None

    def _note(self, held: HeldParcel, due_ms: str, fields: Mapping[str, str]) -> None:
        keys = self._keys.for_parcel(held.parcel.batch_id, held.parcel.id)
        arguments = [held.parcel.id, held.holder, self._lease_ms, due_ms, *flat(fields)]
        if self._scripts.run("parcel_note", keys, arguments) != "noted":
            raise ParcelLost

    def _keys_of(
        self, batch_id: str, owner: str, key_id: str | None, parcel_id: str | None = None
    ) -> Mapping[str, str]:
        return {
            **self._keys.for_key(key_id),
            **self._keys.for_batch(batch_id, owner),
            **self._keys.for_parcel(batch_id, parcel_id),
        }


def _shipped(parcel: Parcel | None) -> list[str | int]:
    return [parcel.id, parcel.endpoint, parcel.lines, parcel.reserved] if parcel else ["", "", 0, 0]
