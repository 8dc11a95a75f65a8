"""Webhooks: endpoints, the secret that signs, and what was delivered."""

from __future__ import annotations

from typing import Final

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from api.answers import view_answer
from api.context import the_owner, the_queue
from api.document import add_route, json_answer, make_blueprint, other_answer
from api.parameters import DeliveryListQuery, DeliveryPath, EndpointPath, NoQuery
from api.request_body import read_json_object
from imagequeue.requests import parse_as
from imagequeue.webhook_views import DeliveryPage, DeliveryView, EndpointList, EndpointRequest, EndpointView, SecretView

_LOOK_PROBLEMS: Final = ("invalid_request", "store_unavailable")


def put_webhook_endpoint(query: NoQuery) -> Response:
    """Let a URL get the events of all of your jobs.

    Every job that ends from now on is told there by a signed POST. With the URL of an endpoint of yours, its events are
    replaced, and it is enabled again if it was disabled.
    """
    request = parse_as(EndpointRequest, read_json_object())
    endpoint, new = the_queue().webhooks.put_endpoint(request, owner=the_owner())
    return view_answer(endpoint, 201 if new else 200)


def list_webhook_endpoints(query: NoQuery) -> Response:
    """List your webhook endpoints."""
    return view_answer(the_queue().webhooks.endpoints(owner=the_owner()), 200)


def remove_webhook_endpoint(path: EndpointPath, query: NoQuery) -> Response:
    """Remove a webhook endpoint.

    What it was not told yet, it is not told any more.
    """
    the_queue().webhooks.remove_endpoint(path.endpoint_id, owner=the_owner())
    return Response(status=204)


def get_webhook_secret(query: NoQuery) -> Response:
    """Get the secret that signs your webhooks.

    It is made when it is first needed. Receivers verify with it that a webhook came from here.
    """
    return view_answer(the_queue().webhooks.secret(owner=the_owner()), 200)


def rotate_webhook_secret(query: NoQuery) -> Response:
    """Put a new secret in use.

    For 24 hours webhooks carry a signature by the one before too, so that receivers can change over.
    """
    return view_answer(the_queue().webhooks.rotate_secret(owner=the_owner()), 200)


def list_webhook_deliveries(query: DeliveryListQuery) -> Response:
    """List deliveries of webhooks, newest first, with the answers that they got.

    Of the last 1,000; a delivery that has ended is kept for a week.
    """
    page = the_queue().webhooks.deliveries(
        owner=the_owner(), job_id=query.job, state=query.state, cursor=query.cursor, limit=query.limit
    )
    return view_answer(page, 200)


def redeliver_webhook(path: DeliveryPath, query: NoQuery) -> Response:
    """Deliver a webhook again.

    It is sent at once, under the same `webhook-id`, and retried like a new one when that fails.
    """
    return view_answer(the_queue().webhooks.redeliver(path.delivery_id, owner=the_owner()), 202)


def webhook_routes() -> APIBlueprint:
    """The routes under `/v1/webhooks`."""
    routes = make_blueprint("webhooks", "Be told when jobs have ended.", "/v1/webhooks")
    add_route(
        routes,
        "post",
        "/endpoints",
        put_webhook_endpoint,
        {
            200: json_answer(EndpointView, "Replaced."),
            201: json_answer(EndpointView, "Added."),
        },
        problems=(
            *("invalid_request", "malformed_json", "body_too_large", "unsupported_media_type"),
            *("webhook_endpoints_full", "store_unavailable"),
        ),
        body=EndpointRequest,
    )
    add_route(
        routes,
        "get",
        "/endpoints",
        list_webhook_endpoints,
        {200: json_answer(EndpointList, "All of your endpoints.")},
        problems=_LOOK_PROBLEMS,
    )
    add_route(
        routes,
        "delete",
        "/endpoints/<endpoint_id>",
        remove_webhook_endpoint,
        {204: other_answer("Removed.")},
        problems=("invalid_request", "webhook_endpoint_not_found", "store_unavailable"),
    )
    _add_secret(routes)
    _add_deliveries(routes)
    return routes


def _add_secret(routes: APIBlueprint) -> None:
    add_route(
        routes,
        "get",
        "/secret",
        get_webhook_secret,
        {200: json_answer(SecretView, "The secret.")},
        problems=_LOOK_PROBLEMS,
    )
    add_route(
        routes,
        "post",
        "/secret/rotate",
        rotate_webhook_secret,
        {200: json_answer(SecretView, "The new secret.")},
        problems=_LOOK_PROBLEMS,
    )


def _add_deliveries(routes: APIBlueprint) -> None:
    add_route(
        routes,
        "get",
        "/deliveries",
        list_webhook_deliveries,
        {200: json_answer(DeliveryPage, "A page of deliveries.")},
        problems=("invalid_request", "job_not_found", "store_unavailable"),
    )
    add_route(
        routes,
        "post",
        "/deliveries/<delivery_id>/redeliver",
        redeliver_webhook,
        {202: json_answer(DeliveryView, "Due now.")},
        problems=("invalid_request", "webhook_delivery_not_found", "store_unavailable"),
    )
