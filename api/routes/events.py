"""Streams of events."""

from __future__ import annotations

from typing import Final

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from api.context import the_owner, the_queue
from api.document import add_route, make_blueprint, other_answer
from api.event_answers import EVENT_STREAM, event_answer
from api.parameters import JobPath, LastEventIdHeader, NoQuery, SessionPath

_EVENTS: Final = (
    "Server-sent events: `state` (data: JobEvent), `progress` (JobProgress), `partial_image`, `end` (JobEvent), and "
    "`reset` when events may be missing: the states that follow it are how things are now. A client passes over events "
    "that it does not know. A line that begins with a colon comes every 5 seconds."
)
_OVER: Final = "The job has ended, and the client's Last-Event-ID says that it knows."


def job_events(path: JobPath, query: NoQuery, header: LastEventIdHeader) -> Response:
    """Follow a job.

    The stream begins with the job's state and closes after `end`. A client that comes back with `Last-Event-ID` gets
    what it missed.
    """
    queue = the_queue()
    return event_answer(queue.events.of_job(queue.get(path.job_id, owner=the_owner()), header.last_event_id))


def session_events(path: SessionPath, query: NoQuery, header: LastEventIdHeader) -> Response:
    """Follow a session.

    The stream begins with the states of its last 100 turns and goes on with those that are added. It does not close.
    """
    return event_answer(the_queue().events.of_session(path.session_id, header.last_event_id, owner=the_owner()))


def all_events(query: NoQuery, header: LastEventIdHeader) -> Response:
    """Follow all jobs.

    The stream begins with the states of 100 jobs that have not ended. It does not close.
    """
    return event_answer(the_queue().events.of_owner(the_owner(), header.last_event_id))


def event_routes() -> APIBlueprint:
    """The routes `…/events`."""
    routes = make_blueprint("events", "Follow what happens, without polling.", "/v1")
    stream = other_answer(_EVENTS, content={EVENT_STREAM: {"schema": {"type": "string"}}})
    over = other_answer(_OVER)
    problems = ("invalid_request", "store_unavailable")
    add_route(
        routes,
        "get",
        "/jobs/<job_id>/events",
        job_events,
        {200: stream, 204: over},
        problems=(*problems, "job_not_found"),
    )
    add_route(
        routes,
        "get",
        "/sessions/<session_id>/events",
        session_events,
        {200: stream},
        problems=(*problems, "session_not_found"),
    )
    add_route(routes, "get", "/events", all_events, {200: stream}, problems=problems)
    return routes
