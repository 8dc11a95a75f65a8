"""What concerns no job in particular: signs of life, the sweeper's lock, probes of messages, the edits' route."""

from __future__ import annotations

from typing import Final

from imagequeue.store.connection import RedisClient, now_ms, translated
from imagequeue.store.keys import Keys

_PROBE_LIFE_MS: Final = 60_000


class FleetStore:
    """Small shared facts about the running processes."""

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def ping(self) -> None:
        """Ask Redis for an answer.

        Raises:
            StoreUnavailable: there is none.
        """
        with translated():
            self._client.ping()

    def live_workers(self, within_ms: int) -> list[str]:
        """Names of the worker processes that gave a sign of life lately."""
        oldest = self.now() - within_ms
        with translated():
            return self._client.zrangebyscore(self._keys.workers, str(oldest), "+inf")

    def now(self) -> int:
        """Redis's clock: milliseconds since 1970."""
        return now_ms(self._client)

    def worker_joined(self, worker: str, slots: int) -> None:
        """Note how many calls a worker process holds at once; what is known of processes long gone is forgotten."""
        with translated():
            gone = set(self._client.hgetall(self._keys.slots)) - set(self._client.zrange(self._keys.workers, 0, -1))
            if gone:
                self._client.hdel(self._keys.slots, *gone)
            self._client.hset(self._keys.slots, worker, str(slots))

    def worker_left(self, worker: str) -> None:
        """Forget a worker process that stopped in order."""
        with translated():
            self._client.zrem(self._keys.workers, worker)
            self._client.hdel(self._keys.slots, worker)

    def may_sweep(self, worker: str, hold_ms: int) -> bool:
        """Whether this process is the one that sweeps for the next `hold_ms`."""
        with translated():
            return bool(self._client.set(self._keys.sweeper, worker, nx=True, px=hold_ms))

    def may_keep_house(self, worker: str, hold_ms: int) -> bool:
        """Whether this process is the one that archives and deletes, for the next `hold_ms` or until `house_kept`."""
        with translated():
            return bool(self._client.set(self._keys.housekeeper, worker, nx=True, px=hold_ms))

    def house_kept(self) -> None:
        """Let others archive and delete."""
        with translated():
            self._client.delete(self._keys.housekeeper)

    def answer_probe(self, nonce: str, worker: str) -> None:
        """Note that a worker received the probe `nonce`."""
        with translated():
            self._client.set(self._keys.probe(nonce), worker, px=_PROBE_LIFE_MS)

    def probe_answer(self, nonce: str) -> str | None:
        """The worker that received the probe, None so far."""
        with translated():
            return self._client.get(self._keys.probe(nonce))

    def edit_route(self) -> str:
        """The route that edits take now: `direct`, or `responses` while that is remembered."""
        with translated():
            return self._client.get(self._keys.edit_route) or "direct"

    def remember_responses_route(self, ms: int) -> None:
        """Let the whole fleet send edits by the Responses API for the next `ms` milliseconds."""
        with translated():
            self._client.set(self._keys.edit_route, "responses", px=ms)
