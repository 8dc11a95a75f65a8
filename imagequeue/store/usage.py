"""What owners have used, by day (UTC), API key and model: counted by the scripts that end jobs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from imagequeue.store.connection import RedisClient, now_ms, translated
from imagequeue.store.keys import Keys

_EPOCH = date(1970, 1, 1)
Counters = Mapping[str, int]
"""Amounts by counter; money in millionths of a dollar. `note_end` in scripts/_lib.lua names the counters."""


class UsedBy(NamedTuple):
    """What figures are kept apart by. Jobs that came without an API key have none."""

    day: date
    key_id: str | None
    model: str


class UsageStore:
    """Reads the figures. Every method raises StoreUnavailable when Redis does not answer."""

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def read(self, owner: str) -> Mapping[UsedBy, Counters]:
        """All figures of an owner."""
        with translated():
            fields = self._client.hgetall(self._keys.usage(owner))
        found: defaultdict[UsedBy, dict[str, int]] = defaultdict(dict)
        for name, amount in fields.items():
            day, counter, key_id, model = name.split(":", 3)
            found[UsedBy(_EPOCH + timedelta(days=int(day)), key_id or None, model)][counter] = int(amount)
        return found

    def today(self) -> date:
        """The day by Redis's clock."""
        return datetime.fromtimestamp(now_ms(self._client) / 1000, UTC).date()
