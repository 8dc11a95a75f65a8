"""What the tests of API keys in the store share: a key with limits, and what it has used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from store_kit import Bench, new_job

from imagequeue.api_keys import DEFAULT_SCOPES, KeyLimits, new_key_id
from imagequeue.jobs import Idempotency, Job, NewJob
from imagequeue.store.api_keys import NewKey
from imagequeue.store.limits import micro

HIGH: Final = micro(new_job().estimate.high_usd)
EXPECTED: Final = micro(new_job().estimate.expected_usd)


@dataclass(frozen=True, slots=True)
class Purse:
    """An API key and its books."""

    bench: Bench
    key_id: str

    def new(self, **changes: object) -> NewJob:
        """A job that this key pays."""
        return new_job(key_id=self.key_id, **changes)

    def submit(self, **changes: object) -> Job:
        """Store one."""
        return self.bench.store.submit(self.new(**changes))

    @property
    def reserved(self) -> dict[str, int]:
        """What is reserved for each job, in millionths of a dollar."""
        return {job_id: int(amount) for job_id, amount in self._hash("reserved").items()}

    @property
    def reserved_in_all(self) -> int:
        """The sum as the books have it."""
        return int(self._hash("spending").get("reserved", 0))

    @property
    def spent(self) -> int:
        """What was spent on all days; each month's must add up to the same."""
        books = self._hash("spending")
        days, months = (
            sum(int(value) for name, value in books.items() if name.startswith(kind)) for kind in ("day:", "month:")
        )
        assert days == months
        return days

    def limit(self, **limits: float) -> None:
        """Replace the key's limits."""
        self.bench.api_keys.set_limits(self.key_id, KeyLimits.model_validate(limits))

    def _hash(self, name: str) -> dict[str, str]:
        return self.bench.client.hgetall(self.bench.keys.for_key(self.key_id)[name])


def make_purse(bench: Bench, **limits: float) -> Purse:
    """A new key."""
    key_id = new_key_id()
    new = NewKey(key_id, "test", key_id, DEFAULT_SCOPES, KeyLimits.model_validate(limits), "abcd")
    assert bench.api_keys.add(new, f"digest-of-{key_id}") == key_id
    return Purse(bench, key_id)


def once(name: str = "a", request: str = "r") -> Idempotency:
    """What came with an idempotency key."""
    return Idempotency(key=f"key-{name}", fingerprint=f"fingerprint-{request}")
