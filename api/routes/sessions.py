"""Edit sessions."""

from __future__ import annotations

from typing import Final

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from api.answers import (
    BODY_PROBLEMS,
    SUBMIT_PROBLEMS,
    TAGGED,
    submit_terms,
    submitted_answer,
    submitted_answers,
    unchanged,
    view_answer,
)
from api.context import the_owner, the_queue
from api.document import add_route, json_answer, make_blueprint, other_answer
from api.etags import conditional
from api.input_problems import SOURCE_PROBLEM_CODES
from api.parameters import NoQuery, SessionListQuery, SessionPath, SubmitHeader
from api.request_body import has_body, read_json_object
from imagequeue.requests import ContinueSessionRequest, ForkSessionRequest, StartSessionRequest, parse_as
from imagequeue.session_views import SessionPage, SessionView

_LOOK_PROBLEMS: Final = ("invalid_request", "session_not_found", "store_unavailable", "objects_unavailable")


def start_session(query: NoQuery, header: SubmitHeader) -> Response:
    """Start an edit session with its first turn.

    The answer is the turn's job, with the `session_id`. Further turns may be added at once: each edits the image of the
    turn before it. With `Prefer: wait=N` the answer waits up to N seconds for the turn to end.
    """
    body = read_json_object(with_images=True)
    request = parse_as(StartSessionRequest, body)
    return submitted_answer(the_queue().sessions.start(request, submit_terms(body, header)), header)


def add_turn(path: SessionPath, query: NoQuery, header: SubmitHeader) -> Response:
    """Add a turn to a session.

    It runs when all turns before it have ended, and is cancelled when the one before it fails. The answer is the turn's
    job; with `Prefer: wait=N` it waits up to N seconds for the turn to end.
    """
    body = read_json_object()
    request = parse_as(ContinueSessionRequest, body)
    submitted = the_queue().sessions.add_turn(path.session_id, request, submit_terms(body, header))
    return submitted_answer(submitted, header)


def list_sessions(query: SessionListQuery) -> Response:
    """List sessions, newest first."""
    page = the_queue().sessions.list(cursor=query.cursor, limit=query.limit, owner=the_owner())
    return conditional(view_answer(page, 200))


def get_session(path: SessionPath, query: NoQuery) -> Response:
    """Look at a session with all its turns."""
    return conditional(view_answer(the_queue().sessions.get(path.session_id, owner=the_owner()), 200))


def fork_session(path: SessionPath, query: NoQuery) -> Response:
    """Make a new session that goes on from a turn's image.

    Nothing is spent before it gets a turn. Sessions that have ended or expired can be forked too.
    """
    request = parse_as(ForkSessionRequest, read_json_object() if has_body() else {})
    forked = the_queue().sessions.fork(path.session_id, request.turn, owner=the_owner())
    response = view_answer(forked, 201)
    response.headers["Location"] = f"/v1/sessions/{forked.id}"
    return response


def end_session(path: SessionPath, query: NoQuery) -> Response:
    """End a session.

    Turns that wait are cancelled, a running one finishes, images stay. Ending it again changes nothing.
    """
    return view_answer(the_queue().sessions.end(path.session_id, owner=the_owner()), 200)


def delete_session(path: SessionPath, query: NoQuery) -> Response:
    """Delete a session that is over, with all its turns and their images.

    What its turns cost stays in the usage figures.
    """
    the_queue().sessions.delete(path.session_id, owner=the_owner())
    return Response(status=204)


def session_routes() -> APIBlueprint:
    """The routes under `/v1/sessions`."""
    routes = make_blueprint("sessions", "Edit an image turn by turn.", "/v1")
    add_route(
        routes,
        "post",
        "/sessions",
        start_session,
        submitted_answers(),
        problems=(*SUBMIT_PROBLEMS, *SOURCE_PROBLEM_CODES, "store_unavailable", "objects_unavailable"),
        body=StartSessionRequest,
        announced="job-event",
    )
    add_route(
        routes,
        "get",
        "/sessions",
        list_sessions,
        {200: json_answer(SessionPage, "A page of sessions.", TAGGED), **unchanged()},
        problems=("invalid_request", "store_unavailable", "objects_unavailable"),
    )
    add_route(
        routes,
        "get",
        "/sessions/<session_id>",
        get_session,
        {200: json_answer(SessionView, "The session.", TAGGED), **unchanged()},
        problems=_LOOK_PROBLEMS,
    )
    _add_actions(routes)
    return routes


def _add_actions(routes: APIBlueprint) -> None:
    add_route(
        routes,
        "post",
        "/sessions/<session_id>/turns",
        add_turn,
        submitted_answers(),
        problems=(
            *SUBMIT_PROBLEMS,
            *(
                "session_not_found",
                "session_ended",
                "session_expired",
                "session_full",
                "store_unavailable",
                "objects_unavailable",
            ),
        ),
        body=ContinueSessionRequest,
        announced="job-event",
    )
    add_route(
        routes,
        "post",
        "/sessions/<session_id>/fork",
        fork_session,
        {201: json_answer(SessionView, "The new session.", {"Location": "Address of the new session."})},
        problems=(
            *BODY_PROBLEMS,
            *("session_not_found", "image_not_found", "store_unavailable", "objects_unavailable"),
        ),
        body=ForkSessionRequest,
        body_required=False,
    )
    add_route(
        routes,
        "post",
        "/sessions/<session_id>/end",
        end_session,
        {200: json_answer(SessionView, "The session as it ended.")},
        problems=_LOOK_PROBLEMS,
    )
    add_route(
        routes,
        "delete",
        "/sessions/<session_id>",
        delete_session,
        {204: other_answer("Deleted.")},
        problems=(*_LOOK_PROBLEMS, "session_active", "job_running", "image_in_use"),
    )
