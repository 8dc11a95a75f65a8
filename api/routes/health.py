"""Whether the process serves, and whether the whole installation does."""

from __future__ import annotations

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from api.context import the_queue
from api.document import add_route, json_answer, make_blueprint
from api.parameters import NoQuery
from api.schemas import Health, Part, Readiness


def healthz(query: NoQuery) -> Response:
    """Whether this process serves; nothing else is asked."""
    return Response(Health(status="ok").model_dump_json(), mimetype="application/json")


def readyz(query: NoQuery) -> Response:
    """Whether Redis, S3, a worker and OpenAI serve, part by part.

    While only OpenAI does not take calls, jobs are taken and wait: the status is `paused`, and no load balancer should
    turn clients away.
    """
    health = the_queue().health()
    ready = all(part.ok for name, part in health.items() if name != "openai")
    taking_calls = health["openai"].ok
    readiness = Readiness(
        status=("ready" if taking_calls else "paused") if ready else "unready",
        parts={name: Part(ok=part.ok, detail=part.detail) for name, part in health.items()},
    )
    return Response(readiness.model_dump_json(), status=200 if ready else 503, mimetype="application/json")


def health_routes() -> APIBlueprint:
    """`/healthz` for restarts and `/readyz` for load balancers."""
    routes = make_blueprint("health", "For supervisors and load balancers.")
    add_route(
        routes,
        "get",
        "/healthz",
        healthz,
        {200: json_answer(Health, "The process serves.")},
        problems=("invalid_request",),
    )
    add_route(
        routes,
        "get",
        "/readyz",
        readyz,
        {
            200: json_answer(Readiness, "Jobs are taken; `paused`: they wait, and the part `openai` says for what."),
            503: json_answer(Readiness, "A part does not serve; its `detail` says what to do."),
        },
        problems=("invalid_request",),
    )
    return routes
