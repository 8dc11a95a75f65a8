"""One session's records as the turn-lock model sees them: read in one step, put back in one step, without times."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, cast

from imagequeue.store.connection import RedisClient
from imagequeue.store.keys import Keys

SESSION_ID: Final = "ses_1"
TURNS: Final = (1, 2, 3)
OVER: Final = ("succeeded", "failed", "cancelled")
LAPSED_MS: Final = 1

# All that the scripts read of a session and its turns. Left out is what they only write: events and indexes.
_HASHES: Final = 1 + len(TURNS)
_READ: Final = """
local all = {}
for position, key in ipairs(KEYS) do
  if position == #KEYS then
    all[position] = {redis.call('GET', key)}
  elseif position <= tonumber(ARGV[1]) then
    all[position] = redis.call('HGETALL', key)
  else
    all[position] = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  end
end
return cjson.encode(all)
"""
_WRITE: Final = """
for position, parts in ipairs(cjson.decode(ARGV[2])) do
  local key = KEYS[position]
  redis.call('DEL', key)
  if position == #KEYS then
    redis.call('SET', key, parts[1])
  elseif position <= tonumber(ARGV[1]) then
    if parts[1] then redis.call('HSET', key, unpack(parts)) end
  else
    for index = 1, #parts, 2 do redis.call('ZADD', key, parts[index + 1], parts[index]) end
  end
end
"""


def job_id(turn: int) -> str:
    """The job of a turn."""
    return f"job_{turn}"


def turn_of(job: str) -> int:
    """The turn of a job, of one of its leases, or of its entry among the halted."""
    return int(job.partition(":")[0].removeprefix("job_"))


class Records:
    """Reads and restores everything that the scripts may read."""

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        hashes = [keys.session(SESSION_ID), *(keys.job(job_id(turn)) for turn in TURNS)]
        sets = [
            keys.turns(SESSION_ID),
            keys.waiting("interactive"),
            keys.outbox,
            keys.delayed,
            keys.leases,
            keys.halted,
        ]
        self._keys = [*hashes, *sets, keys.sequence]
        self._read = client.register_script(_READ)
        self._write = client.register_script(_WRITE)

    def read(self) -> str:
        """The records as text."""
        return cast("str", self._read(self._keys, [_HASHES]))

    def write(self, text: str) -> None:
        """Put the records back as they were."""
        self._write(self._keys, [_HASHES, text])


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """What decides about a turn. Counters of a turn that is over decide nothing."""

    state: str
    attempt: int
    holder: str
    calling: bool  # the current attempt's request has left
    cancel_requested: bool
    losses: int
    unknowns: int
    image: str
    raw: tuple[tuple[str, str], ...]  # the whole hash

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.state in OVER

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for turns with the same future."""
        known = (self.state, self.attempt, self.holder, self.image)
        return known if self.over else (*known, self.calling, self.cancel_requested, self.losses, self.unknowns)


@dataclass(frozen=True)
class View:
    """The records, read."""

    text: str

    @cached_property
    def records(self) -> list[dict[str, str]]:
        """Fields and members of all, the counter of places left out."""
        return [_pairs(parts or []) for parts in cast("list[list[str]]", json.loads(self.text))[:-1]]

    @property
    def session(self) -> dict[str, str]:
        """The session's hash."""
        return self.records[0]

    @cached_property
    def image(self) -> str:
        """The session's image, '' when there is none."""
        return cast("str", json.loads(self.session["image"])["key"]) if "image" in self.session else ""

    @cached_property
    def turns(self) -> dict[int, TurnRecord]:
        """The turns that were submitted, by number."""
        return {turn: _turn_record(self.records[turn]) for turn in TURNS if self.records[turn]}

    @cached_property
    def queue(self) -> list[int]:
        """The session's turns that run or wait, in order."""
        return [turn_of(job) for job in self._members(0)]

    @cached_property
    def waiting(self) -> list[int]:
        """The turns in the queue of all jobs."""
        return [turn_of(job) for job in self._members(1)]

    @cached_property
    def outbox(self) -> set[int]:
        """The turns whose hint is to be sent."""
        return {turn_of(job) for job in self._members(2)}

    @cached_property
    def delayed(self) -> set[int]:
        """The turns that wait for a retry."""
        return {turn_of(job) for job in self._members(3)}

    @cached_property
    def leases(self) -> dict[str, bool]:
        """The leases, and whether they lapsed."""
        return {lease: float(time) == LAPSED_MS for lease, time in self._members(4).items()}

    @cached_property
    def halted(self) -> dict[int, str]:
        """The turns that were taken out of the session, by their entry."""
        return {turn_of(entry): entry for entry in self._members(5)}

    @property
    def running(self) -> list[int]:
        """The turns that run."""
        return [turn for turn, record in self.turns.items() if record.state == "running"]

    @property
    def last_succeeded(self) -> int:
        """The last turn that succeeded, 0 for none."""
        return max((turn for turn, record in self.turns.items() if record.state == "succeeded"), default=0)

    @property
    def ended(self) -> bool:
        """Whether all turns are over."""
        return all(record.over for record in self.turns.values())

    @cached_property
    def key(self) -> str:
        """Equal for records with the same future."""
        session = [self.session[name] for name in ("state", "turn", "turn_lock") if name in self.session]
        turns = [(turn, record.key) for turn, record in self.turns.items()]
        sets = [self.queue, self.waiting, sorted(self.outbox), sorted(self.delayed), sorted(self.leases.items())]
        return repr((session, self.image, turns, sets, sorted(self.halted.values())))

    def _members(self, number: int) -> dict[str, str]:
        return self.records[_HASHES + number]


def _pairs(parts: Sequence[str]) -> dict[str, str]:
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _turn_record(fields: dict[str, str]) -> TurnRecord:
    attempt = int(fields["attempt"])
    current = cast("dict[str, object]", json.loads(fields.get(f"attempt:{attempt}", "{}")))
    images = cast("list[dict[str, str]]", json.loads(fields.get("images", "[]")))
    return TurnRecord(
        state=fields["state"],
        attempt=attempt,
        holder=fields.get("holder", ""),
        calling="call_started" in current,
        cancel_requested="cancel_requested" in fields,
        losses=int(fields.get("losses", 0)),
        unknowns=int(fields.get("unknowns", 0)),
        image=images[0]["key"] if images else "",
        raw=tuple(sorted(fields.items())),
    )
