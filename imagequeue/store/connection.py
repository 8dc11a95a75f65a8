"""Connections to Redis: typed, with bounded waits, and one translation of its errors."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Protocol, cast

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from imagequeue.errors import Misconfigured, StoreUnavailable

SOCKET_TIMEOUT_SECONDS: Final = 5.0
"""Longest silence of Redis. No command of ours blocks longer than BLOCK_MS."""
BLOCK_MS: Final = 1_000
_RETRIES: Final = 2
_REFUSALS: Final = ("LOADING", "READONLY", "OOM", "MISCONF", "NOAUTH", "WRONGPASS", "NOPERM", "MASTERDOWN", "BUSY")
"""How Redis's answers begin that tell of its state and not of our command."""
_SAFE_POLICY: Final = "noeviction"

StreamEntry = tuple[str, Mapping[str, str]]


class RegisteredScript(Protocol):
    """A Lua script; with a pipeline as `client`, it is run with that."""

    def __call__(
        self, keys: Sequence[str], args: Sequence[str | int], client: RedisPipeline | None = None
    ) -> object: ...


class RedisClient(Protocol):
    """The commands in use, with the types that they have under decode_responses."""

    def ping(self) -> bool: ...
    def info(self, section: str) -> Mapping[str, object]: ...
    def get(self, name: str) -> str | None: ...
    def exists(self, name: str) -> int: ...
    def delete(self, *names: str) -> int: ...
    def set(self, name: str, value: str, *, nx: bool = False, px: int | None = None) -> bool | None: ...
    def hgetall(self, name: str) -> dict[str, str]: ...
    def hmget(self, name: str, keys: Sequence[str]) -> list[str | None]: ...
    def hset(
        self, name: str, key: str | None = None, value: str | None = None, mapping: Mapping[str, str] | None = None
    ) -> int: ...
    def hdel(self, name: str, *keys: str) -> int: ...
    def lrange(self, name: str, start: int, end: int) -> list[str]: ...
    def smembers(self, name: str) -> set[str]: ...
    def getrange(self, key: str, start: int, end: int) -> str: ...
    def zadd(self, name: str, mapping: Mapping[str, float], *, xx: bool = False) -> int: ...
    def zrem(self, name: str, *values: str) -> int: ...
    def zrank(self, name: str, value: str) -> int | None: ...
    def zcard(self, name: str) -> int: ...
    def zrange(self, name: str, start: int, end: int) -> list[str]: ...
    def zrevrange(self, name: str, start: int, end: int) -> list[str]: ...
    def zscore(self, name: str, value: str) -> float | None: ...
    def zcount(self, name: str, min: str, max: str) -> int: ...
    def zrevrangebylex(self, name: str, max: str, min: str, start: int, num: int) -> list[str]: ...
    def zrangebyscore(
        self, name: str, min: str, max: str, start: int | None = None, num: int | None = None
    ) -> list[str]: ...
    def zrevrangebyscore(self, name: str, max: str, min: str) -> list[str]: ...
    def time(self) -> tuple[int, int]: ...
    def xread(
        self, streams: Mapping[str, str], *, count: int, block: int | None = None
    ) -> Sequence[tuple[str, Sequence[StreamEntry]]] | Mapping[str, Sequence[Sequence[StreamEntry]]]: ...
    def xrange(self, name: str, min: str, max: str, count: int | None = None) -> list[StreamEntry]: ...
    def xrevrange(self, name: str, max: str, min: str, count: int) -> list[StreamEntry]: ...
    def register_script(self, script: str) -> RegisteredScript: ...
    def pipeline(self, transaction: bool = True) -> RedisPipeline: ...
    def close(self) -> None: ...


class RedisPipeline(Protocol):
    """Commands sent together."""

    def exists(self, name: str) -> object: ...
    def hgetall(self, name: str) -> object: ...
    def hget(self, name: str, key: str) -> object: ...
    def getrange(self, key: str, start: int, end: int) -> object: ...
    def hset(self, name: str, *, mapping: Mapping[str, str]) -> object: ...
    def hdel(self, name: str, *keys: str) -> object: ...
    def zadd(self, name: str, mapping: Mapping[str, float]) -> object: ...
    def hmget(self, name: str, keys: list[str]) -> object: ...
    def zscore(self, name: str, value: str) -> object: ...
    def zrank(self, name: str, value: str) -> object: ...
    def zcard(self, name: str) -> object: ...
    def zrange(self, name: str, start: int, end: int, *, withscores: bool = False) -> object: ...
    def xrange(self, name: str, min: str, max: str, count: int | None = None) -> object: ...
    def xrevrange(self, name: str, max: str, min: str, count: int) -> object: ...
    def time(self) -> object: ...
    def execute(self) -> list[object]: ...


def connect(url: str, *, max_connections: int = 32) -> RedisClient:
    """A client whose pool makes callers wait for a free connection instead of failing.

    Raises:
        Misconfigured: the URL is not a Redis URL.
    """
    try:
        pool = redis.BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]
            url,
            decode_responses=True,
            max_connections=max_connections,
            timeout=SOCKET_TIMEOUT_SECONDS,
            socket_timeout=SOCKET_TIMEOUT_SECONDS,
            socket_connect_timeout=SOCKET_TIMEOUT_SECONDS,
            retry=Retry(ExponentialBackoff(cap=1, base=0.05), _RETRIES),
        )
    except ValueError:
        # The cause stays out: it quotes parts of the URL, and the URL may hold a password.
        raise Misconfigured(
            "IMAGEQUEUE_REDIS_URL is not a Redis URL. Write redis://:password@host:6379/0, with each of / # ? @ in "
            "the password percent-encoded."
        ) from None
    return cast("RedisClient", redis.Redis.from_pool(pool))


@contextmanager
def translated() -> Generator[None]:
    """Redis's errors as ours. What it calls a wrong command is a defect of ours and passes as it is.

    Raises:
        StoreUnavailable: Redis does not answer, or refuses (loading, read-only, out of memory).
    """
    try:
        yield
    except redis.RedisError as error:
        if isinstance(error, redis.ResponseError) and not str(error).startswith(_REFUSALS):
            raise
        raise StoreUnavailable(f"Redis does not serve: {error}") from error


def now_ms(client: RedisClient) -> int:
    """Redis's clock: milliseconds since 1970.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    with translated():
        seconds, microseconds = client.time()
    return seconds * 1000 + microseconds // 1000


def refuse_eviction(client: RedisClient) -> None:
    """Refuse a Redis that would throw records away when its memory is full.

    Raises:
        Misconfigured: `maxmemory-policy` is not `noeviction`.
    """
    with translated():
        policy = str(client.info("memory").get("maxmemory_policy", _SAFE_POLICY))
    if policy != _SAFE_POLICY:
        raise Misconfigured(
            f"Redis would evict records when full (maxmemory-policy is {policy!r}): jobs that were paid for could "
            f"vanish. Set it with: redis-cli CONFIG SET maxmemory-policy {_SAFE_POLICY}"
        )
