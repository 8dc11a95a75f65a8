"""One page for each kind of error: where a problem's `type` leads."""

from __future__ import annotations

from flask import Response, abort
from flask_openapi.blueprint import APIBlueprint
from markupsafe import Markup

from api.document import add_route, make_blueprint, other_answer
from api.parameters import NoQuery, ProblemPath
from api.problems import PROBLEM_TYPES

_PAGE = Markup(
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
    "<h1>{title}</h1><p><code>{code}</code>, HTTP status {status}</p><p>{meaning}</p></html>\n"
)


def get_problem_type(path: ProblemPath, query: NoQuery) -> Response:
    """Explain a kind of error."""
    kind = PROBLEM_TYPES.get(path.code)
    if kind is None:
        abort(404, f"There is no error code {path.code!r}; the codes are {', '.join(PROBLEM_TYPES)}.")
    page = _PAGE.format(title=kind.title, code=kind.code, status=kind.status, meaning=kind.meaning)
    return Response(page, mimetype="text/html")


def problem_routes() -> APIBlueprint:
    """The pages under `/problems`."""
    routes = make_blueprint("problems", "What the errors mean.", "/problems")
    add_route(
        routes,
        "get",
        "/<code>",
        get_problem_type,
        {200: other_answer("A page about the error.", content={"text/html": {"schema": {"type": "string"}}})},
        problems=("invalid_request", "not_found"),
    )
    return routes
