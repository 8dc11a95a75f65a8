"""Which input images are about to be used, and which are being deleted: nobody may do both to one at once.

Redis decides between the two, in one script each. When an input was last used is told by its sidecar's time in S3,
which is written anew at a use; here is only what may not have got there yet.
"""

from __future__ import annotations

from typing import Final, Literal, cast

from imagequeue.jobs import LANES
from imagequeue.store.connection import RedisClient, translated
from imagequeue.store.keys import Keys
from imagequeue.store.scripts import Scripts

_AFTER: Final = "inputs_after"
_DUE: Final = "inputs_due"


class InputUses:
    """Uses and removals of input images. Every method raises StoreUnavailable when Redis does not answer."""

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)

    def use(self, sha256: str) -> Literal["used", "leaving"]:
        """Note a use that begins now. `leaving`: the input is being deleted; look again when that is over."""
        return cast("Literal['used', 'leaving']", self._scripts.run("use_input", self._named, [sha256]))

    def leave(self, sha256: str, window_ms: int) -> Literal["leaving", "used"]:
        """Mark an input whose removal begins. `used`: a use of it began within the last `window_ms`."""
        return cast("Literal['leaving', 'used']", self._scripts.run("drop_input", self._named, [sha256, window_ms]))

    def left(self, sha256: str) -> None:
        """End a removal."""
        with translated():
            self._client.zrem(self._keys.inputs_leaving, sha256)

    def leaving(self) -> list[str]:
        """The inputs that are being deleted."""
        with translated():
            return self._client.zrange(self._keys.inputs_leaving, 0, -1)

    def oldest_unfinished(self) -> str | None:
        """The id that was made first of all jobs that wait in the queue or run; None without any."""
        pipeline = self._client.pipeline(transaction=True)  # a job may go from one to the other
        for lane in LANES:
            pipeline.zrange(self._keys.waiting(lane), 0, 0)
        pipeline.zrange(self._keys.leases, 0, -1)
        with translated():
            found = cast("list[list[str]]", pipeline.execute())
        return min((member.partition(":")[0] for members in found for member in members), default=None)

    def round(self) -> tuple[str, int]:
        """Behind which key the round through all inputs goes on, and when (ms)."""
        with translated():
            after, due = self._client.hmget(self._keys.housekeeping, [_AFTER, _DUE])
        return after or "", int(due or 0)

    def go_on(self, after: str, due: int) -> None:
        """Note where the round goes on, and when (ms)."""
        with translated():
            self._client.hset(self._keys.housekeeping, _AFTER, after)
            self._client.hset(self._keys.housekeeping, _DUE, str(due))

    @property
    def _named(self) -> dict[str, str]:
        return {"input_uses": self._keys.input_uses, "inputs_leaving": self._keys.inputs_leaving}
