"""What an owner has used."""

from __future__ import annotations

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from api.answers import view_answer
from api.context import the_owner, the_queue
from api.document import add_route, json_answer, make_blueprint
from api.parameters import UsageQuery
from imagequeue.usage_reports import UsageReport


def get_usage(query: UsageQuery) -> Response:
    """Show what your jobs came to, by day, API key or model.

    Jobs count on the day (UTC) on which they ended, and stay counted when they are deleted.
    """
    report = the_queue().usage.report(
        owner=the_owner(), first_day=query.first_day, last_day=query.last_day, group=query.group
    )
    return view_answer(report, 200)


def usage_routes() -> APIBlueprint:
    """The route under `/v1/usage`."""
    routes = make_blueprint("usage", "See what was spent.", "/v1")
    add_route(
        routes,
        "get",
        "/usage",
        get_usage,
        {200: json_answer(UsageReport, "The figures.")},
        problems=("invalid_request", "store_unavailable"),
    )
    return routes
