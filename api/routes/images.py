"""The images of jobs."""

from __future__ import annotations

from flask import redirect
from flask_openapi.blueprint import APIBlueprint
from werkzeug.wrappers import Response

from api.context import the_owner, the_queue
from api.document import add_route, make_blueprint, other_answer
from api.parameters import ImagePath, ImageQuery, NoQuery, PartialImagePath


def get_image(path: ImagePath, query: ImageQuery) -> Response:
    """Fetch an image.

    Redirects to the object in S3. The redirect's target works for a limited time, this address for ever.
    """
    return redirect(the_queue().image_url(path.job_id, path.index, query.variant, owner=the_owner()), 302)


def get_partial_image(path: PartialImagePath, query: NoQuery) -> Response:
    """Fetch a preview of the unfinished image.

    Only of jobs that ask for `partial_images`. Redirects to the object in S3, as for images.
    """
    queue = the_queue()
    return redirect(queue.partials.url(queue.get(path.job_id, owner=the_owner()), path.partial_index), 302)


def image_routes() -> APIBlueprint:
    """The routes under `/v1/jobs/{job_id}/images` and `/v1/jobs/{job_id}/partials`."""
    routes = make_blueprint("images", "Fetch what a job has made.", "/v1")
    add_route(
        routes,
        "get",
        "/jobs/<job_id>/images/<int(max=9999):index>",
        get_image,
        {302: other_answer("The image is there.", {"Location": "Presigned URL of the image."})},
        problems=(
            "invalid_request",
            "not_found",
            "job_not_found",
            "image_not_found",
            "store_unavailable",
            "objects_unavailable",
        ),
    )
    add_route(
        routes,
        "get",
        "/jobs/<job_id>/partials/<int(max=9999):partial_index>",
        get_partial_image,
        {302: other_answer("The preview is there.", {"Location": "Presigned URL of the preview."})},
        problems=("invalid_request", "not_found", "job_not_found", "image_not_found", "store_unavailable"),
    )
    return routes
