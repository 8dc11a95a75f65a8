"""Streams of events."""

from __future__ import annotations

from typing import Final

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from api.batch_parameters import BatchPath
from api.context import the_owner, the_queue
from api.document import add_route, make_blueprint, other_answer
from api.event_answers import EVENT_STREAM, event_answer
from api.parameters import JobPath, LastEventIdHeader, NoQuery, SessionPath

_EVENTS: Final = (
    "Server-sent events: `state` (data: JobEvent), `batch` (BatchEvent), `progress` (JobProgress; of a batch: "
    "BatchProgress), `partial_image`, `end` (JobEvent; of a batch: BatchEvent), and `reset` when events may be "
    "missing: the states that follow it are how things are now. A client passes over events that it does not know. A "
    "line that begins with a colon comes every 5 seconds."
)
_OVER: Final = "The job or batch has ended, and the client's Last-Event-ID says that it knows."


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


def batch_events(path: BatchPath, query: NoQuery, header: LastEventIdHeader) -> Response:
    """Follow a batch.

    The stream begins with the batch's state (`batch`), goes on with the states of its lines' jobs as they change, tells
    how far it is every 2 seconds at most, and closes after `end`.
    """
    return event_answer(the_queue().events.of_batch(path.batch_id, header.last_event_id, owner=the_owner()))


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
    add_route(
        routes,
        "get",
        "/batches/<batch_id>/events",
        batch_events,
        {200: stream, 204: over},
        problems=(*problems, "batch_not_found", "objects_unavailable"),
    )
    add_route(routes, "get", "/events", all_events, {200: stream}, problems=problems)
    return routes
