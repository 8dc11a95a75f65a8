"""Streamed answers: server-sent events that come while the image is painted, and the ways in which they go wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from sandbox.cut_answers import close_connection
from sandbox.faults import Fault

MEDIA_TYPE: Final = "text/event-stream"

Event = Mapping[str, object]
"""One event's data; its `type` is the event's name too."""


class Settle(Protocol):
    """Tells the journal what became of the call."""

    def __call__(self, outcome: str, status: int | None = None, images: Sequence[str] = ()) -> None:
        """Record it."""
        ...


class EventStream(StreamingResponse):
    """The events of one call, `latency` seconds from the first byte to the last event.

    Args:
        partials: the events before the last.
        completed: the last event.
        images: SHA-256 in hex of the image files in the last event.
        fault: what the call is to suffer, if anything.
        latency: seconds.
        settle: called when it is known what became of the call, before the client can know it.
        stopping: set when the server was told to stop: the stream then ends at once.
    """

    def __init__(
        self,
        partials: Sequence[Event],
        completed: Event,
        images: Sequence[str],
        fault: Fault | None,
        latency: float,
        settle: Settle,
        stopping: asyncio.Event,
    ) -> None:
        super().__init__((), media_type=MEDIA_TYPE)
        self._partials = partials
        self._completed = completed
        self._images = images
        self._fault = fault
        self._pause = latency / (len(partials) + 1)
        self._settle = settle
        self._stopping = stopping
        self._settled = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events, until the client leaves or the server stops."""
        sending = asyncio.ensure_future(self._send(scope, send))
        leaving = asyncio.ensure_future(until_gone(receive))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((sending, leaving, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not self._settled:
                self._settle("stopped" if stopping.done() else "client_gone")
            if sending.done():
                await sending
        finally:
            for task in (sending, leaving, stopping):
                task.cancel()
        if stopping.done():
            with suppress(RuntimeError):  # it had ended
                await send({"type": "http.response.body", "body": b""})

    async def _send(self, scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        fault = self._fault
        for partial in self._partials if fault is None or fault.stream is None else self._partials[: fault.after]:
            await asyncio.sleep(self._pause)
            await send(_part(_written(partial)))
        await asyncio.sleep(self._pause)
        if fault is not None and fault.stream is not None:
            await self._break_off(fault, scope, send)
            return
        whole = fault is None or fault.drop is None
        self._note("answered" if fault is None or fault.kind == "delay" else f"fault:{fault.kind}", self._images)
        last = _written(self._completed)
        await send(_part(last if whole else last[: len(last) // 2]))
        if not whole:
            close_connection(scope)
            await asyncio.Event().wait()
        await send({"type": "http.response.body", "body": b""})

    async def _break_off(self, fault: Fault, scope: Scope, send: Send) -> None:
        self._note(f"fault:{fault.kind}")
        match fault.stream:
            case "cut":
                close_connection(scope)
                await asyncio.Event().wait()
            case "hang":
                await asyncio.Event().wait()
            case "error":
                await send(_part(_written({"type": "error", **fault.error().body})))
            case _:
                pass
        await send({"type": "http.response.body", "body": b""})

    def _note(self, outcome: str, images: Sequence[str] = ()) -> None:
        self._settled = True
        self._settle(outcome, self.status_code, images)


async def until_gone(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _part(body: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": True}


def _written(event: Event) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
