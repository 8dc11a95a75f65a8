"""Server-sent events, as the WHATWG HTML standard has them."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Final

import structlog
from flask import Response

from api.streams import cut_off_if_stalled, the_connection
from imagequeue.errors import StoreUnavailable
from imagequeue.event_streams import EventStream
from imagequeue.events import StreamEvent

EVENT_STREAM: Final = "text/event-stream"
RETRY_MS: Final = 1000
"""What browsers pause before they connect again."""
_log = structlog.stdlib.get_logger(__name__)


def event_answer(stream: EventStream | None) -> Response:
    """The stream, or 204 for one that is over, which keeps browsers from connecting again."""
    if stream is None:
        return Response(status=204)
    response = Response(_chunks(stream, the_connection()), mimetype=EVENT_STREAM)
    response.headers["X-Accel-Buffering"] = "no"  # nginx would collect events until a buffer is full
    return response


def event_text(event: StreamEvent) -> str:
    """An event in the stream's syntax; one without a name, as a comment with the id to come back with."""
    lines = [f"event: {event.name}", f"data: {_json(event)}"] if event.name else [": ping"]
    if event.id:
        lines.append(f"id: {event.id}")
    return "\n".join(lines) + "\n\n"


def _json(event: StreamEvent) -> str:
    # In ASCII: some clients take U+2028 and the like for the end of a line.
    return json.dumps(event.data, separators=(",", ":"))


def _chunks(stream: EventStream, connection: object) -> Generator[bytes]:
    """The headers leave with the first chunk, and that with the first event: from then on nothing passes unseen."""
    head = f"retry: {RETRY_MS}\n\n"
    with cut_off_if_stalled(connection):
        try:
            for event in stream:
                yield (head + event_text(event)).encode()
                head = ""
        except StoreUnavailable as error:  # the client comes back with the last id that it got
            _log.warning("event_stream_interrupted", error=str(error))
