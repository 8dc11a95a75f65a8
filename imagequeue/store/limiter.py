"""The fleet's limiter in Redis: who may call OpenAI now, shared by all workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

from imagequeue.jobs import LANES, Lane
from imagequeue.rate_limits import LimiterState, RateLimits
from imagequeue.store.connection import RedisClient, translated
from imagequeue.store.keys import Keys
from imagequeue.store.scripts import Scripts

PROBE_MS: Final = 60_000
"""How often an open breaker lets one job through; scripts/_limiter.lua has the same."""


@dataclass(frozen=True, slots=True)
class Granted:
    """Parked jobs that may go now, and milliseconds until there may be room for more (None: no other is parked)."""

    jobs: tuple[tuple[Lane, str], ...]
    wait_ms: int | None


class LimiterStore:
    """Rate limits, the pause after a 429, and the circuit breaker. `claim` obeys them, see AttemptStore.

    Every method raises StoreUnavailable when Redis does not answer.
    """

    def __init__(self, client: RedisClient, keys: Keys, rates: RateLimits | None = None) -> None:
        self._client = client
        self._keys = keys
        self._rates = rates or RateLimits()
        self._scripts = Scripts(client)

    def grant(self, most: int) -> Granted:
        """Let up to `most` parked jobs go for which there is room now."""
        answer = self._scripts.run("grant", self._keys.for_fleet(), [*self._rates.arguments, most])
        wait_ms, *lanes_and_ids = cast("tuple[int, *tuple[str, ...]]", answer)
        lanes = cast("list[Lane]", lanes_and_ids[::2])
        jobs = tuple(zip(lanes, lanes_and_ids[1::2], strict=True))
        return Granted(jobs=jobs, wait_ms=None if wait_ms < 0 else wait_ms)

    def slow_down(self, pause_ms: int, text: str) -> int:
        """Pause the fleet after a 429 and let it go on at half its rate; gives back how long it stays, in ms."""
        return cast("int", self._scripts.run("slow_down", self._keys.for_fleet(), [pause_ms, text]))

    def open_breaker(self, reason: str, text: str, probe_ms: int = PROBE_MS) -> bool:
        """Stop the fleet because OpenAI refuses the account; whether it was running before."""
        return self._scripts.run("open_breaker", self._keys.for_fleet(), [reason, text, probe_ms]) == 1

    def close_breaker(self) -> None:
        """Let the fleet go on: a probe was served."""
        with translated():
            self._client.hdel(self._keys.limiter, "broken_at", "broken_reason", "broken_text", "probe_at")

    def state(self) -> LimiterState:
        """Why calls are held back now, and how long they take."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.hgetall(self._keys.limiter)
        pipeline.hgetall(self._keys.durations)
        for lane in LANES:
            pipeline.zcard(self._keys.parked(lane))
        pipeline.time()
        with translated():
            fields, durations, *parked, clock = cast("list[dict[str, str]]", pipeline.execute())
        seconds, microseconds = cast("tuple[int, int]", clock)
        now = seconds * 1000 + microseconds // 1000
        return LimiterState.read(fields, sum(cast("list[int]", parked)), now, durations)
