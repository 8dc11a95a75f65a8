"""The client follows streams: it connects again where they break off, and goes on after the last event."""

from __future__ import annotations

import pytest
from client_kit import JOB_ID, Answer, ScriptedServer, refused
from portal_kit import Connect

from imagequeue.api_events import EventLines
from imagequeue.client import ApiProblem, ApiUnreachable

HEAD = "retry: 1000\n\n"
QUEUED = 'event: state\ndata: {"state":"queued"}\nid: 1-0\n\n'
PROGRESS = 'event: progress\ndata: {"position":1}\n\n'
PING = ": ping\nid: 2-0\n\n"
END = 'event: end\ndata: {"state":"succeeded"}\nid: 3-0-end\n\n'


def streamed(text: str, cut_after: int | None = None) -> Answer:
    """A stream that ends or breaks off."""
    return Answer(200, text.encode(), {"Content-Type": "text/event-stream"}, cut_after)


def resumed_with(server: ScriptedServer) -> list[str | None]:
    """The Last-Event-ID of each request."""
    return [asked.headers.get("Last-Event-ID") for asked in server.asked]


def test_a_stream_is_followed_to_its_end_over_what_breaks_it_off(server: ScriptedServer, connect: Connect) -> None:
    broken = HEAD + QUEUED + QUEUED.replace("queued", "running")
    server.will_answer(
        streamed(broken, cut_after=len(HEAD + QUEUED) + 9),
        Answer(503, b"", cut_after=-1),
        refused(503, "store_unavailable"),
        streamed(HEAD + PROGRESS + PING),
        streamed(HEAD + END + QUEUED),
    )
    with connect(server.url) as client:
        events = list(client.events(JOB_ID))
    assert [event.name for event in events] == ["state", "progress", "end"]
    assert [event.data for event in events] == [{"state": "queued"}, {"position": 1}, {"state": "succeeded"}]
    assert resumed_with(server) == [None, "1-0", "1-0", "1-0", "2-0"], "a sign of life has an id, too"
    assert {asked.path for asked in server.asked} == {f"/v1/jobs/{JOB_ID}/events"}


def test_an_earlier_call_can_be_gone_on_from_until_there_is_no_more(server: ScriptedServer, connect: Connect) -> None:
    server.will_answer(Answer(204))
    with connect(server.url, api_key="secret") as client:
        assert list(client.events(JOB_ID, last_event_id="3-0-end")) == []
    assert resumed_with(server) == ["3-0-end"]
    assert server.asked[0].headers["Authorization"] == "Bearer secret"


def test_sessions_and_everything_have_streams_of_their_own(server: ScriptedServer, connect: Connect) -> None:
    server.will_answer(Answer(204))
    with connect(server.url) as client:
        assert [*client.events(), *client.events(session_id="ses_1")] == []
    assert [asked.path for asked in server.asked] == ["/v1/events", "/v1/sessions/ses_1/events"]


def test_a_refusal_is_final(server: ScriptedServer, connect: Connect) -> None:
    server.will_answer(refused(404, "job_not_found"))
    with connect(server.url) as client, pytest.raises(ApiProblem) as caught:
        next(client.events("job_none"))
    assert caught.value.code == "job_not_found"
    assert len(server.asked) == 1


def test_patience_ends(server: ScriptedServer, connect: Connect) -> None:
    server.will_answer(Answer(200, cut_after=-1))
    with connect(server.url, patience_seconds=0.3) as client, pytest.raises(ApiUnreachable):
        next(client.events())
    assert len(server.asked) >= 2


def test_lines_are_read_as_the_standard_says() -> None:
    lines = EventLines()
    text = ["event:state", 'data:{"a": ":b"}', "id", "unknown: field", "", ": note", "id: 1-0", ""]
    events = [event for line in text if (event := lines.read(line))]
    assert [(event.name, event.data, event.id) for event in events] == [("state", {"a": ":b"}, ""), ("", {}, "1-0")]
