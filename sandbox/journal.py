"""The journal: every call to a paid endpoint, from the moment it is received.

It is the provider's side of the story: how many calls came, which were answered, with which images. In the file, one
JSON line is written when a call is received and one when its fate is known; both carry the request id.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import count
from pathlib import Path
from typing import Final

MOST_CALLS: Final = 200_000


@dataclass(slots=True)
class Call:
    """One call; what is None was not sent, not usable or is not known yet.

    `outcome` is `answered`, `refused`, `fault:<kind>`, `client_gone`, `stopped` (the server was stopped), `batch_ended`
    (a line of a batch that expired or was cancelled) or `broken` (the sandbox itself failed). Times are milliseconds
    since 1970.
    """

    number: int
    received_ms: int
    endpoint: str
    prompt: str | None
    n: int | None
    size: str | None
    quality: str | None
    request_id: str
    client_request_id: str | None
    inputs: list[str]  # SHA-256 of each input image file, in their order, in hex
    mask: str | None  # SHA-256 of the mask file, in hex
    batch: str | None = None  # id of the batch that the call is a line of
    custom_id: str | None = None  # of that line
    outcome: str | None = None
    status: int | None = None
    settled_ms: int | None = None
    images: list[str] = field(default_factory=list[str])  # SHA-256 of each image file answered, in hex
    cost_usd: float | None = None  # what the account is charged, once the images are painted; half of it in a batch


class Journal:
    """The calls of this process, the last 200,000 of them in memory; appended to `file` when there is one.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._calls: deque[Call] = deque(maxlen=MOST_CALLS)
        self._numbers = count(1)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file.open("a", encoding="utf-8", buffering=1) if file is not None else None

    def receive(
        self,
        endpoint: str,
        request_id: str,
        client_request_id: str | None,
        *,
        prompt: str | None,
        n: int | None,
        size: str | None,
        quality: str | None,
        inputs: Sequence[str] = (),
        mask: str | None = None,
        batch: str | None = None,
        custom_id: str | None = None,
    ) -> Call:
        """Record that a call came in; numbers count up from 1, also across `clear`."""
        number, now = next(self._numbers), _now_ms()
        who = (request_id, client_request_id, list(inputs), mask, batch, custom_id)
        call = Call(number, now, endpoint, prompt, n, size, quality, *who)
        self._calls.append(call)
        self._write("received", call, _AT_RECEIPT)
        return call

    def settle(self, call: Call, outcome: str, status: int | None = None, images: Sequence[str] = ()) -> None:
        """Record what became of a call."""
        call.outcome, call.status, call.images, call.settled_ms = outcome, status, list(images), _now_ms()
        self._write("settled", call, _AT_THE_END)

    def calls(self, since: int = 0) -> list[dict[str, object]]:
        """The calls with a number above `since`, oldest first."""
        return [_members(call, _ALL) for call in self._calls if call.number > since]

    def clear(self) -> None:
        """Forget the calls in memory; the file keeps them."""
        self._calls.clear()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _write(self, event: str, call: Call, names: Sequence[str]) -> None:
        if self._file is not None:
            self._file.write(json.dumps({"event": event, **_members(call, names)}) + "\n")


_ALL: Final = tuple(member.name for member in fields(Call))
_AT_THE_END: Final = ("number", "request_id", "outcome", "status", "settled_ms", "images", "cost_usd")
_AT_RECEIPT: Final = tuple(name for name in _ALL if name not in _AT_THE_END[2:])


def _members(call: Call, names: Sequence[str]) -> dict[str, object]:
    # Not dataclasses.asdict: its deep copies take seconds for a full journal.
    return {name: getattr(call, name) for name in names}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
