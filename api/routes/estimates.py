"""What requests would cost and take, and manifests on their way."""

from __future__ import annotations

from typing import Final

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from api.answers import view_answer
from api.batch_parameters import BatchOptionsQuery
from api.context import the_caller, the_owner, the_queue, the_settings
from api.document import add_route, json_answer, make_blueprint
from api.manifest_body import receive_manifest, receive_manifest_file
from api.manifest_parameters import ManifestPath
from api.parameters import NoQuery
from api.uploaded_files import FIELD, MULTIPART
from imagequeue.batch_requests import BatchOptions
from imagequeue.batch_views import BatchBody
from imagequeue.errors import InvalidRequest, Violation
from imagequeue.estimate_views import EstimateView, StoredManifest
from imagequeue.manifests.uploads import kind_of
from imagequeue.requests import parse_as

_BINARY: Final = {"type": "string", "format": "binary"}
_FORM: Final = {"type": "object", "properties": {FIELD: _BINARY}, "required": [FIELD]}
MANIFEST_BODIES: Final = {"application/jsonl": _BINARY, "text/csv": _BINARY, MULTIPART: _FORM}
"""Bodies that may stand in the place of ManifestBody, by media type."""
MANIFEST_PROBLEMS: Final = (
    *("invalid_request", "malformed_json", "bad_request", "body_too_large", "unsupported_media_type"),
    *("invalid_manifest", "manifest_not_found", "store_unavailable", "objects_unavailable"),
)


def estimate(query: BatchOptionsQuery) -> Response:
    """Tell what requests would cost and take.

    Takes the body of a job, or a manifest of up to 50,000 lines: JSONL, CSV or a JSON array, `lines`, a template with
    variables, or the name of one that was put here before; with the options of a batch. Nothing is
    stored, reserved or spent.
    """
    queue = the_queue()
    with receive_manifest(query.model_dump(exclude_unset=True), or_job=True) as order:
        options = parse_as(BatchOptions, order.options)
        lines = queue.manifests.judged(order.lines(the_settings().model))
        return view_answer(queue.estimates.estimate(lines, options, the_caller().key_id), 200)


def put_manifest(path: ManifestPath, query: NoQuery) -> Response:
    """Keep a manifest to be used later.

    The body is the manifest; it is checked when it is used. What was kept under this name before is replaced. It is
    deleted when it has not been replaced for the retention time.
    """
    queue = the_queue()
    kind_of(path.name)
    with queue.inputs.folder() as folder:
        file = receive_manifest_file(folder)
        size = file.stat().st_size
        if not size:
            raise InvalidRequest(
                [Violation("body", "must be a manifest", "nothing", '{"prompt": "A lighthouse at dawn"}')]
            )
        url = queue.manifests.uploads.put(path.name, file, owner=the_owner())
    return view_answer(StoredManifest(manifest=url, size_bytes=size), 201)


def estimate_routes() -> APIBlueprint:
    """The routes under `/v1/estimates` and `/v1/manifests`."""
    routes = make_blueprint("estimates", "Know the price before.", "/v1")
    add_route(
        routes,
        "post",
        "/estimates",
        estimate,
        {200: json_answer(EstimateView, "The figures.")},
        problems=MANIFEST_PROBLEMS,
        body=BatchBody,
        other_bodies=MANIFEST_BODIES,
    )
    add_route(
        routes,
        "put",
        "/manifests/<name>",
        put_manifest,
        {201: json_answer(StoredManifest, "Kept.")},
        problems=(
            *("invalid_request", "bad_request", "body_too_large", "unsupported_media_type"),
            *("store_unavailable", "objects_unavailable"),
        ),
        other_bodies={"application/octet-stream": _BINARY},
    )
    return routes
