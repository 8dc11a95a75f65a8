"""Following the API's streams of events, over restarts and lost connections."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from imagequeue.api_answers import ApiProblem, ApiUnreachable, problem
from imagequeue.api_async_connection import AsyncApiConnection
from imagequeue.api_connection import ApiConnection
from imagequeue.api_patience import Patience

_SILENCE_SECONDS: Final = 20.0
"""The API gives a sign of life every 5 s."""


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """An event as docs/guides/events.md lists them. `id`: what a later call may go on from; `progress` has none."""

    name: str
    data: Mapping[str, Any]
    id: str | None = None


def follow(api: ApiConnection, path: str, last_event_id: str | None) -> Generator[ServerEvent]:
    """The events of the stream at `path`, connecting again where it breaks off; a job's ends with `end`.

    Raises:
        ApiUnreachable: nothing answers for as long as the connection is patient.
        ApiProblem: the API refuses, or answers 503 for so long.
    """
    course = _Course(last_event_id, api.patience_seconds)
    while True:
        try:
            with api.stream(path, headers=course.headers, silence=_SILENCE_SECONDS) as response:
                if response.status_code == HTTPStatus.NO_CONTENT:
                    return
                if not response.is_success:
                    response.read()
                    raise problem(response)
                lines = EventLines()
                for line in response.iter_lines():
                    event = course.take(lines.read(line))
                    if event:
                        yield event
                    if course.ended:
                        return
            pause = course.patience.pause()
        except (ApiUnreachable, ApiProblem) as error:
            pause = course.patience.pause_after(error)
        time.sleep(pause)


async def follow_async(api: AsyncApiConnection, path: str, last_event_id: str | None) -> AsyncGenerator[ServerEvent]:
    """Like `follow`."""
    course = _Course(last_event_id, api.patience_seconds)
    while True:
        try:
            async with api.stream(path, headers=course.headers, silence=_SILENCE_SECONDS) as response:
                if response.status_code == HTTPStatus.NO_CONTENT:
                    return
                if not response.is_success:
                    await response.aread()
                    raise problem(response)
                lines = EventLines()
                async for line in response.aiter_lines():
                    event = course.take(lines.read(line))
                    if event:
                        yield event
                    if course.ended:
                        return
            pause = course.patience.pause()
        except (ApiUnreachable, ApiProblem) as error:
            pause = course.patience.pause_after(error)
        await asyncio.sleep(pause)


class EventLines:
    """The lines of one stream, put together."""

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}

    def read(self, line: str) -> ServerEvent | None:
        """The event that ends with this line; a block without an event has no name."""
        if not line:
            fields, self._fields = self._fields, {}
            return ServerEvent(fields.get("event", ""), json.loads(fields.get("data", "{}")), fields.get("id"))
        if not line.startswith(":"):
            name, _, value = line.partition(":")
            self._fields[name] = value.removeprefix(" ")
        return None


class _Course:
    """How far a stream was followed, over all its connections."""

    def __init__(self, last_event_id: str | None, patience_seconds: float) -> None:
        self._last_event_id = last_event_id
        self.patience = Patience(patience_seconds)
        self.ended = False

    @property
    def headers(self) -> dict[str, str]:
        """What makes the next connection go on where this one stopped."""
        return {"Last-Event-ID": self._last_event_id} if self._last_event_id else {}

    def take(self, event: ServerEvent | None) -> ServerEvent | None:
        """Note an event or a sign of life; give it if it is an event."""
        if event is None:
            return None
        self.patience.renew()
        self._last_event_id = event.id or self._last_event_id
        self.ended = event.name == "end"
        return event if event.name else None
