"""What a batch has made, as a whole: all images in an archive, and a report."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from flask import Response, request
from flask_openapi.blueprint import APIBlueprint

from api.answers import view_answer
from api.batch_pages import report_page
from api.batch_parameters import AcceptHeader, BatchPath, ReportQuery, ZipQuery
from api.context import the_owner, the_queue
from api.document import add_route, make_blueprint, other_answer
from api.schemas import reference
from api.streams import stream_answer
from imagequeue.archive_names import safe_name
from imagequeue.batch_reports import BatchReport

_PROBLEMS: Final = ("invalid_request", "batch_not_found", "store_unavailable", "objects_unavailable")
_ZIP: Final = "application/zip"
_HTML: Final = "text/html"


def batch_images(path: BatchPath, query: ZipQuery) -> Response:
    """Get all images of a batch, as a ZIP.

    Of the lines that have ended by now. Files are named by `custom_id`, with the image's index where a line asks for
    more than one; `index.jsonl` says which file is whose, and `failed.jsonl` has the lines without images, with errors
    and requests. It is made while it is sent: when something fails, the connection breaks, and what was sent is no
    whole archive.
    """
    by_prompt = query.folders == "prompt"
    batch, pieces = the_queue().batches.outputs.archive(path.batch_id, by_prompt=by_prompt, owner=the_owner())
    response = stream_answer(pieces, _ZIP)
    name = f"{safe_name(batch.name, 60)}-{batch.id[-8:].lower()}" if batch.name else batch.id
    # RFC 6266: a name may have letters of any script in this form only.
    response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name)}.zip"
    return response


def batch_report(path: BatchPath, query: ReportQuery, header: AcceptHeader) -> Response:
    """Get a batch's report.

    Counts, cost, times, why lines were refused or failed, and the slowest lines; while the batch runs, too. For
    `Accept: text/html` a page with contact sheets, see there.
    """
    if request.accept_mimetypes.best_match(("application/json", _HTML)) == _HTML:
        return report_page(path.batch_id, query.page)
    return view_answer(the_queue().batches.outputs.report(path.batch_id, owner=the_owner()), 200)


def batch_report_page(path: BatchPath, query: ReportQuery) -> Response:
    """Get a batch's report, as a page.

    The first page has the report; each has the contact sheet of 100 lines. The pictures are in the page itself: saved,
    it works alone, and nobody needs a key to look at it.
    """
    return report_page(path.batch_id, query.page)


def batch_output_routes() -> APIBlueprint:
    """The routes under `/v1/batches/{batch_id}` that give what it has made."""
    routes = make_blueprint("batch outputs", "All that a batch has made.", "/v1")
    archive = {_ZIP: {"schema": {"type": "string", "format": "binary"}}}
    page = {_HTML: {"schema": {"type": "string"}}}
    report = {"application/json": {"schema": reference(BatchReport)}}
    add_route(
        routes,
        "get",
        "/batches/<batch_id>/images.zip",
        batch_images,
        {200: other_answer("The images.", {"Content-Disposition": "A name for the file."}, archive)},
        problems=_PROBLEMS,
    )
    add_route(
        routes,
        "get",
        "/batches/<batch_id>/report",
        batch_report,
        {200: other_answer("The report.", content={**report, **page})},
        problems=_PROBLEMS,
    )
    add_route(
        routes,
        "get",
        "/batches/<batch_id>/report.html",
        batch_report_page,
        {200: other_answer("The report.", content=page)},
        problems=_PROBLEMS,
    )
    return routes
