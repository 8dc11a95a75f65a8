"""API keys: for administrators, and a key's look at itself."""

from __future__ import annotations

from typing import Final

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from pydantic import BaseModel, Field

from api.answers import BODY_PROBLEMS, view_answer
from api.context import the_caller, the_queue
from api.document import add_route, json_answer, make_blueprint
from api.parameters import NoQuery
from api.request_body import has_body, read_json_object
from imagequeue.key_requests import KeyLimitsRequest, KeyRequest, RotateRequest
from imagequeue.key_views import CallerView, IssuedKeyView, KeyList, KeyView, caller_view, issued_view, key_view
from imagequeue.requests import parse_as

_LOOK_PROBLEMS: Final = ("invalid_request", "key_not_found", "store_unavailable")


class KeyPath(BaseModel):
    """Which key."""

    key_id: str = Field(description="The key's id.", examples=["key_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"])


def create_key(query: NoQuery) -> Response:
    """Make an API key.

    The answer shows the secret, this once: it is kept nowhere.
    """
    asked = parse_as(KeyRequest, read_json_object())
    issued = the_queue().keys.create(asked.name, owner=asked.owner, scopes=asked.scopes, limits=asked.limits)
    response = view_answer(issued_view(issued, the_queue().keys.spending(issued.key.id)), 201)
    response.headers["Location"] = f"/v1/keys/{issued.key.id}"
    return response


def list_keys(query: NoQuery) -> Response:
    """List all keys, oldest first, with what they have used."""
    keys = the_queue().keys
    return view_answer(KeyList(keys=tuple(key_view(key, keys.spending(key.id)) for key in keys.all())), 200)


def get_key(path: KeyPath, query: NoQuery) -> Response:
    """Look at a key."""
    return _key_answer(path.key_id)


def get_current_key(query: NoQuery) -> Response:
    """Look at the key of this very request: whose it is, what it may do, and what it has used."""
    caller, keys = the_caller(), the_queue().keys
    key = key_view(keys.get(caller.key_id), keys.spending(caller.key_id)) if caller.key_id else None
    return view_answer(caller_view(caller, key), 200)


def limit_key(path: KeyPath, query: NoQuery) -> Response:
    """Replace a key's limits: what is not named is not limited any more."""
    the_queue().keys.set_limits(path.key_id, parse_as(KeyLimitsRequest, read_json_object()).limits)
    return _key_answer(path.key_id)


def rotate_key(path: KeyPath, query: NoQuery) -> Response:
    """Give a key a new secret.

    The answer shows it, this once. The old one is good for `grace_seconds` more.
    """
    asked = parse_as(RotateRequest, read_json_object() if has_body() else {})
    issued = the_queue().keys.rotate(path.key_id, grace_seconds=asked.grace_seconds)
    return view_answer(issued_view(issued, the_queue().keys.spending(path.key_id)), 200)


def revoke_key(path: KeyPath, query: NoQuery) -> Response:
    """Refuse a key from now on.

    Jobs that it submitted go on and stay. Revoking it again changes nothing.
    """
    the_queue().keys.revoke(path.key_id)
    return _key_answer(path.key_id)


def key_routes() -> APIBlueprint:
    """The routes under `/v1/keys`."""
    routes = make_blueprint("keys", "Who may use the queue, and how much of it.", "/v1")
    made = {201: json_answer(IssuedKeyView, "The key with its secret.", {"Location": "Address of the key."})}
    add_route(
        routes,
        "post",
        "/keys",
        create_key,
        made,
        problems=(*BODY_PROBLEMS, "misconfigured", "store_unavailable"),
        body=KeyRequest,
    )
    add_route(
        routes,
        "get",
        "/keys",
        list_keys,
        {200: json_answer(KeyList, "All keys.")},
        problems=("invalid_request", "store_unavailable"),
    )
    add_route(
        routes,
        "get",
        "/keys/current",
        get_current_key,
        {200: json_answer(CallerView, "Who asks.")},
        problems=("invalid_request", "store_unavailable"),
    )
    _add_actions(routes)
    return routes


def _add_actions(routes: APIBlueprint) -> None:
    shown = {200: json_answer(KeyView, "The key.")}
    add_route(routes, "get", "/keys/<key_id>", get_key, shown, problems=_LOOK_PROBLEMS)
    add_route(
        routes,
        "post",
        "/keys/<key_id>/limits",
        limit_key,
        shown,
        problems=(*BODY_PROBLEMS, "key_not_found", "store_unavailable"),
        body=KeyLimitsRequest,
    )
    add_route(
        routes,
        "post",
        "/keys/<key_id>/rotate",
        rotate_key,
        {200: json_answer(IssuedKeyView, "The key with its new secret.")},
        problems=(*BODY_PROBLEMS, "key_not_found", "misconfigured", "store_unavailable"),
        body=RotateRequest,
        body_required=False,
    )
    add_route(routes, "post", "/keys/<key_id>/revoke", revoke_key, shown, problems=_LOOK_PROBLEMS)


def _key_answer(key_id: str) -> Response:
    keys = the_queue().keys
    return view_answer(key_view(keys.get(key_id), keys.spending(key_id)), 200)
