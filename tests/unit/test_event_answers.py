"""How events are written, and what becomes of a connection that carries them."""

from __future__ import annotations

import socket
from collections.abc import Generator
from typing import Any, cast

from flask import Flask

from api.event_answers import event_answer, event_text
from api.streams import STALLED_SECONDS
from imagequeue.errors import StoreUnavailable
from imagequeue.event_streams import EventStream
from imagequeue.events import StreamEvent

STATE = StreamEvent("state", {"state": "queued", "said": "one\u2028two\n"}, "1-0")


class Told:
    """A stream that tells this."""

    def __init__(self, *events: StreamEvent) -> None:
        self._events = events

    def __iter__(self) -> Generator[StreamEvent]:
        """Tell it, then lose Redis."""
        yield from self._events
        raise StoreUnavailable("Redis is away")


def test_an_event_is_one_line_of_data_whatever_is_in_it() -> None:
    assert event_text(STATE) == ('event: state\ndata: {"state":"queued","said":"one\\u2028two\\n"}\nid: 1-0\n\n')
    assert event_text(StreamEvent("progress", {})) == "event: progress\ndata: {}\n\n"
    assert event_text(StreamEvent("", {}, "2-0")) == ": ping\nid: 2-0\n\n"


def test_a_stream_that_loses_redis_ends_and_its_client_may_come_back() -> None:
    with Flask(__name__).test_request_context():
        answer = event_answer(cast("EventStream", Told(STATE)))
    assert [*cast("Any", answer.response)] == [f"retry: 1000\n\n{event_text(STATE)}".encode()]


def test_a_client_that_takes_nothing_is_cut_off_and_the_next_request_is_not() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with Flask(__name__).test_request_context(environ_overrides={"gunicorn.socket": ours}):
            chunks = cast("Generator[bytes]", event_answer(cast("EventStream", Told(STATE, STATE))).response)
        next(chunks)
        assert ours.gettimeout() == STALLED_SECONDS
        chunks.close()
        assert ours.gettimeout() is None


def test_a_stream_that_is_over_is_204() -> None:
    with Flask(__name__).test_request_context():
        answer = event_answer(None)
    assert (answer.status_code, answer.get_data()) == (204, b"")
