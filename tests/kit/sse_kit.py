"""A plain client of event streams: what comes over the wire, without a library's opinion of it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

PATIENCE_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Event:
    """One event; `name` is empty for what no browser would dispatch."""

    name: str
    data: Any = None
    id: str | None = None


@dataclass
class EventReader:
    """An open stream. `last_id`: what a browser would come back with.

    Where a stream is cut off, and not ended by the server, every method raises http.client.IncompleteRead.
    """

    status: int
    headers: Mapping[str, str]
    last_id: str | None
    _response: http.client.HTTPResponse
    seen: list[Event] = field(default_factory=list[Event])
    _unread: bytes = b""

    def next_line(self) -> str:
        """The next line as it comes."""
        return self._line().decode().rstrip("\n")

    def next_block(self) -> Event | None:
        """The next block, signs of life included; None at the end of the stream."""
        lines: list[str] = []
        while (line := self._line()) not in (b"", b"\n"):
            lines.append(line.decode().rstrip("\n"))
        if not lines and not line:
            return None
        pairs = [line.partition(": ") for line in lines if not line.startswith(":")]
        fields = {name: value for name, _, value in pairs}
        if "id" in fields:
            self.last_id = fields["id"]
        data = json.loads(fields["data"]) if "data" in fields else None
        self.seen.append(Event(fields.get("event", ""), data, fields.get("id")))
        return self.seen[-1]

    def events(self, *, progress: bool = False) -> Generator[Event]:
        """The events as they come, `progress` only if asked for."""
        while block := self.next_block():
            if block.name and (progress or block.name != "progress"):
                yield block

    def until(self, name: str, **data: object) -> list[Event]:
        """The events up to the next of this name whose data has these values."""
        found: list[Event] = []
        for event in self.events():
            found.append(event)
            if event.name == name and data.items() <= event.data.items():
                return found
        raise AssertionError(f"the stream ended without {name} {data}: {found}")

    def rest(self) -> list[Event]:
        """The events to the end of the stream."""
        return list(self.events())

    def _line(self) -> bytes:
        # The response's own readline() takes a connection that broke for the end.
        while b"\n" not in self._unread and (piece := self._response.read1()):
            self._unread += piece
        line, end, self._unread = self._unread.partition(b"\n")
        return line + end


@contextmanager
def event_stream(url: str, path: str, last_id: str | None = None, method: str = "GET") -> Generator[EventReader]:
    """Open a stream, coming back with `last_id` if there is one."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE_SECONDS)
    try:
        connection.request(method, path, headers={} if last_id is None else {"Last-Event-ID": last_id})
        response = connection.getresponse()
        yield EventReader(response.status, dict(response.getheaders()), last_id, response)
    finally:
        connection.close()


def told(events: list[Event]) -> list[tuple[str, str]]:
    """Name and state of each event."""
    return [(event.name, event.data.get("state", "")) for event in events]
