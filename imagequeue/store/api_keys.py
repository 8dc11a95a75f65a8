"""API keys in Redis, found by the digest of their secret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from imagequeue.api_keys import ApiKey, KeyLimits, Scope
from imagequeue.errors import KeyNotFound
from imagequeue.store.connection import RedisClient, translated
from imagequeue.store.keys import Keys
from imagequeue.store.limits import MICRO, micro
from imagequeue.store.scripts import Scripts

_BUDGETS: Final = ("daily_budget", "monthly_budget")
_COUNTS: Final = ("jobs_per_minute", "jobs_in_flight")


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that is not stored yet."""

    id: str
    name: str
    owner: str
    scopes: frozenset[Scope]
    limits: KeyLimits
    hint: str  # the secret's last four characters


@dataclass(frozen=True, slots=True)
class Spending:
    """What a key has used. Dollars; days and months are those of UTC."""

    jobs_in_flight: int
    reserved_usd: float  # for jobs that have not ended, at the upper end of their estimates
    today_usd: float
    this_month_usd: float


class KeyStore:
    """The records of keys. Every method raises StoreUnavailable when Redis does not answer."""

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)

    def add(self, new: NewKey, digest: str) -> str:
        """Store a key with the digest of its secret; gives its id, or that of the key that has the secret already.

        It is listed last: from then on nobody is served without a key, so that one which can be used must be there.
        """
        fields = {"id": new.id, "name": new.name, "owner": new.owner, "scopes": " ".join(sorted(new.scopes))}
        record = {**fields, **_limit_fields(new.limits), "hint": new.hint, "created_at": str(self._now())}
        with translated():
            self._client.hset(self._keys.api_key(new.id), mapping=record)
        self._give_secret(new.id, digest, new.hint, grace_ms=0)
        with translated():
            known = self._client.get(self._keys.api_key_by(digest)) or new.id
            if known != new.id:
                self._client.delete(self._keys.api_key(new.id))
            self._client.zadd(self._keys.api_keys, {known: 0})
        return known

    def rotate(self, key_id: str, digest: str, hint: str, *, grace_ms: int) -> None:
        """Let a key be found by a new secret's digest, and by the one before for `grace_ms` more.

        Raises:
            KeyNotFound: there is no such key, or it is revoked.
        """
        while (answer := self._give_secret(key_id, digest, hint, grace_ms=grace_ms)) == "changed":
            pass  # by another rotation at the same time, which came first
        if answer == "missing":
            raise KeyNotFound(key_id)

    def find(self, digest: str) -> ApiKey | None:
        """The key with this secret; None when there is none, or it is revoked."""
        with translated():
            key_id = self._client.get(self._keys.api_key_by(digest))
        key = self.get(key_id) if key_id else None
        return key if key and key.revoked_at is None else None

    def get(self, key_id: str) -> ApiKey | None:
        """Read a key."""
        with translated():
            fields = self._client.hgetall(self._keys.api_key(key_id))
        return _key_of(fields) if fields else None

    def all(self) -> list[ApiKey]:
        """All keys, oldest first, those that are revoked included."""
        with translated():
            ids = self._client.zrange(self._keys.api_keys, 0, -1)
        return [key for key in map(self.get, ids) if key]

    def any(self) -> bool:
        """Whether a key was ever made: from then on, nobody is served without one."""
        with translated():
            return self._client.zcard(self._keys.api_keys) > 0

    def set_limits(self, key_id: str, limits: KeyLimits) -> None:
        """Replace a key's limits."""
        fields = _limit_fields(limits)
        pipeline = self._client.pipeline()
        pipeline.hdel(self._keys.api_key(key_id), *_COUNTS, *_BUDGETS)
        if fields:
            pipeline.hset(self._keys.api_key(key_id), mapping=fields)
        with translated():
            pipeline.execute()

    def revoke(self, key_id: str) -> None:
        """Refuse the key from now on; repeating it changes nothing."""
        with translated():
            self._client.hset(self._keys.api_key(key_id), mapping={"revoked_at": str(self._now())})

    def spending(self, key_id: str) -> Spending:
        """What a key has used so far."""
        answer = self._scripts.run("spending", self._keys.for_key(key_id), [])
        in_flight, *amounts = cast("Sequence[int]", answer)
        return Spending(in_flight, *(amount / MICRO for amount in amounts))

    def pepper(self, check: str) -> str:
        """Note which pepper the digests are made with, unless that is noted; gives what is noted."""
        with translated():
            self._client.set(self._keys.api_key_pepper, check, nx=True)
            return self._client.get(self._keys.api_key_pepper) or ""

    def _give_secret(self, key_id: str, digest: str, hint: str, *, grace_ms: int) -> object:
        with translated():
            old, older = self._client.hmget(self._keys.api_key(key_id), ["digest", "old_digest"])
        keys = {
            "api_key": self._keys.api_key(key_id),
            "by_digest": self._keys.api_key_by(digest),
            "by_old_digest": self._keys.api_key_by(old),
            "by_older_digest": self._keys.api_key_by(older),
        }
        return self._scripts.run("rotate_api_key", keys, [key_id, digest, hint, old or "", grace_ms])

    def _now(self) -> int:
        with translated():
            seconds, microseconds = self._client.time()
        return seconds * 1000 + microseconds // 1000


def _limit_fields(limits: KeyLimits) -> Mapping[str, str]:
    counts = {name: getattr(limits, name) for name in _COUNTS}
    budgets = {name: getattr(limits, f"{name}_usd") for name in _BUDGETS}
    amounts = {name: None if dollars is None else micro(dollars) for name, dollars in budgets.items()}
    return {name: str(value) for name, value in (counts | amounts).items() if value is not None}


def _key_of(fields: Mapping[str, str]) -> ApiKey:
    counts = {name: int(fields[name]) for name in _COUNTS if name in fields}
    budgets = {f"{name}_usd": int(fields[name]) / MICRO for name in _BUDGETS if name in fields}
    limits = KeyLimits.model_validate(counts | budgets)
    scopes = frozenset(Scope(name) for name in fields["scopes"].split())
    plain = {name: value for name, value in fields.items() if name in ApiKey.model_fields}
    return ApiKey.model_validate({**plain, "scopes": scopes, "limits": limits})
