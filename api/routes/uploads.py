"""Input images."""

from __future__ import annotations

from typing import Final

from flask import Response, request
from flask_openapi.blueprint import APIBlueprint
from pydantic import BaseModel

from api.context import the_queue
from api.document import add_route, either_answer, make_blueprint
from api.input_problems import INPUT_PROBLEMS
from api.parameters import NoQuery
from api.request_body import read_json_object
from api.uploaded_files import FIELD, MULTIPART, receive_file
from imagequeue.errors import InputFault
from imagequeue.input_images import MIME_TYPES
from imagequeue.uploads import UploadedImage, UploadRequest, UploadTarget, parse_upload_request

_PRESIGNED_TYPE: Final = "application/octet-stream"
_BINARY: Final = {"type": "string", "format": "binary"}
_FORM: Final = {"type": "object", "properties": {FIELD: _BINARY}, "required": [FIELD]}
_REFUSALS: Final = tuple(
    row.code
    for row in INPUT_PROBLEMS
    if row.code.startswith("input_") and row.code not in (InputFault.BAD_SOURCE, InputFault.MISSING)
)


def upload_image(query: NoQuery) -> Response:
    """Upload an input image.

    Send the file as multipart/form-data or as the body itself: it is checked, kept under its SHA-256, and can be named
    by jobs at once. Or announce it as JSON and PUT it to the presigned URL in the answer.
    """
    inputs = the_queue().inputs
    if request.mimetype == "application/json":
        announced = parse_upload_request(read_json_object())
        target = inputs.presigned_upload(announced.sha256, announced.size_bytes, _PRESIGNED_TYPE)
        return _created(UploadTarget.of(announced.sha256, target))
    with inputs.folder() as folder:
        received = receive_file(folder)
        image = inputs.store_file(received.path, received.declared_type, FIELD)
        return _created(UploadedImage.of(image, inputs.kept_until()))


def upload_routes() -> APIBlueprint:
    """The route under `/v1/uploads`."""
    routes = make_blueprint("uploads", "Bring the images that edits start from.", "/v1")
    add_route(
        routes,
        "post",
        "/uploads",
        upload_image,
        {201: either_answer((UploadedImage, UploadTarget), "Kept; or, for an announcement, where to PUT the file.")},
        problems=(
            *("invalid_request", "malformed_json", "bad_request", "body_too_large", "unsupported_media_type"),
            *_REFUSALS,
            *("store_unavailable", "objects_unavailable"),
        ),
        body=UploadRequest,
        other_bodies={MULTIPART: _FORM, **dict.fromkeys(MIME_TYPES, _BINARY)},
    )
    return routes


def _created(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), status=201, mimetype="application/json")
