"""Batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from flask import Response
from flask_openapi.blueprint import APIBlueprint

from api.answers import BODY_PROBLEMS, REPLAYED, REPLAYED_HEADER, TAGGED, once_terms, unchanged, view_answer
from api.batch_parameters import BatchListQuery, BatchOptionsQuery, BatchPath, BatchQuery, ResultsQuery
from api.context import the_owner, the_queue, the_settings
from api.document import add_route, json_answer, make_blueprint, other_answer
from api.etags import conditional
from api.manifest_body import receive_manifest
from api.parameters import NoQuery, OnceHeader
from api.request_body import has_body, read_json_object
from api.routes.estimates import MANIFEST_BODIES, MANIFEST_PROBLEMS
from api.schemas import reference
from imagequeue.batch_requests import BatchChange, BatchOptions, CancelRequest, RetryRequest
from imagequeue.batch_views import BatchBody, BatchPage, BatchView, ResultLine
from imagequeue.requests import parse_as

_STORES: Final = ("store_unavailable", "objects_unavailable")
_LOOK_PROBLEMS: Final = ("invalid_request", "batch_not_found", *_STORES)
_LATER_SECONDS: Final = 10
_JSONL: Final = "application/jsonl"


def submit_batch(query: BatchOptionsQuery, header: OnceHeader) -> Response:
    """Submit a batch.

    Takes a manifest of up to 50,000 lines: JSONL, CSV or a JSON array, `lines`, a template with variables, or the name
    of one that was put here before. Each line is the request of a job. All are checked before any is accepted; then
    they wait, and become jobs as there are places for them.
    """
    queue, terms = the_queue(), once_terms({}, header)
    with receive_manifest(query.model_dump(exclude_unset=True)) as order:
        options = parse_as(BatchOptions, order.options)
        lines = queue.manifests.acceptable(order.lines(the_settings().model))
        view, replayed = queue.batches.create(lines, options, terms)
    response = view_answer(view, 201)
    response.headers["Location"] = f"/v1/batches/{view.id}"
    if replayed:
        response.headers[REPLAYED_HEADER] = "true"
    return response


def list_batches(query: BatchListQuery) -> Response:
    """List batches, newest first."""
    page = the_queue().batches.list(cursor=query.cursor, limit=query.limit, owner=the_owner())
    return conditional(view_answer(page, 200))


def get_batch(path: BatchPath, query: BatchQuery) -> Response:
    """Look at a batch, or wait for it.

    With `wait=N` the answer comes when the batch has ended or is paused, or after N seconds with it as it is then.
    """
    batches = the_queue().batches
    view = batches.wait(path.batch_id, query.wait or 0, owner=the_owner())
    response = view_answer(view, 200)
    if view.finished_at is None:
        response.headers["Retry-After"] = str(min(view.eta_seconds or _LATER_SECONDS, _LATER_SECONDS))
    return conditional(response)


def change_batch(path: BatchPath, query: NoQuery) -> Response:
    """Change a batch's window, priority or cap.

    A batch that is paused because of its cap goes on when the cap is raised.
    """
    change = parse_as(BatchChange, read_json_object())
    return view_answer(the_queue().batches.change(path.batch_id, change, owner=the_owner()), 200)


def pause_batch(path: BatchPath, query: NoQuery) -> Response:
    """Pause a batch.

    No more lines begin; those in flight go on. Pausing it again changes nothing.
    """
    return view_answer(the_queue().batches.pause(path.batch_id, owner=the_owner()), 200)


def resume_batch(path: BatchPath, query: NoQuery) -> Response:
    """Resume a batch.

    Whatever it was paused for; it pauses again when the reason still holds.
    """
    return view_answer(the_queue().batches.resume(path.batch_id, owner=the_owner()), 200)


def cancel_batch(path: BatchPath, query: NoQuery) -> Response:
    """Cancel a batch.

    Lines that wait are cancelled; those in flight go on to their end, unless `running` asks to stop them, too.
    Cancelling it again changes nothing.
    """
    request = parse_as(CancelRequest, read_json_object() if has_body() else {})
    return view_answer(the_queue().batches.cancel(path.batch_id, running=request.running, owner=the_owner()), 200)


def retry_failed(path: BatchPath, query: NoQuery) -> Response:
    """Run a batch's failed lines again.

    They become new jobs, under the same custom_ids and the batch's cap; the lines that succeeded stay as they are. A
    batch that had ended runs again.
    """
    request = parse_as(RetryRequest, read_json_object() if has_body() else {})
    view, _ = the_queue().batches.retry(path.batch_id, request.states, owner=the_owner())
    return view_answer(view, 200)


def delete_batch(path: BatchPath, query: NoQuery) -> Response:
    """Delete a batch that has ended.

    Its record, its manifest and its results are gone at once. The jobs of its lines stay with their images, until they
    are deleted themselves or their retention is over.
    """
    the_queue().batches.delete(path.batch_id, owner=the_owner())
    return Response(status=204)


def batch_results(path: BatchPath, query: ResultsQuery) -> Response:
    """Get a batch's results, as JSONL.

    While the batch runs, too. Come back with `after` for what has ended since.
    """
    results = the_queue().batches.results(path.batch_id, order=query.order, after=query.after, owner=the_owner())
    response = Response(_jsonl(results), mimetype=_JSONL)
    response.headers["Content-Disposition"] = f'inline; filename="{path.batch_id}.jsonl"'
    return response


def _jsonl(results: Iterator[ResultLine]) -> Iterator[bytes]:
    for result in results:
        yield result.model_dump_json().encode() + b"\n"


def batch_routes() -> APIBlueprint:
    """The routes under `/v1/batches`."""
    routes = make_blueprint("batches", "Many requests at once, within a budget.", "/v1")
    add_route(
        routes,
        "post",
        "/batches",
        submit_batch,
        {201: json_answer(BatchView, "The batch, which runs from now on.", {"Location": "Its address."} | REPLAYED)},
        problems=(*MANIFEST_PROBLEMS, "idempotency_key_reused", "batch_not_found"),
        body=BatchBody,
        other_bodies=MANIFEST_BODIES,
        announced="batch-event",
    )
    add_route(
        routes,
        "get",
        "/batches",
        list_batches,
        {200: json_answer(BatchPage, "A page of batches.", TAGGED), **unchanged()},
        problems=("invalid_request", *_STORES),
    )
    later = {"Retry-After": "Seconds to pause before the next look; only while it has not ended."}
    add_route(
        routes,
        "get",
        "/batches/<batch_id>",
        get_batch,
        {200: json_answer(BatchView, "The batch.", TAGGED | later), **unchanged()},
        problems=_LOOK_PROBLEMS,
    )
    add_route(
        routes,
        "delete",
        "/batches/<batch_id>",
        delete_batch,
        {204: other_answer("Deleted.")},
        problems=(*_LOOK_PROBLEMS, "batch_running"),
    )
    results = {_JSONL: {"schema": {"type": "string", "description": f"On each line: {reference(ResultLine)['$ref']}"}}}
    add_route(
        routes,
        "get",
        "/batches/<batch_id>/results",
        batch_results,
        {200: other_answer("How lines ended: a ResultLine on each line.", content=results)},
        problems=_LOOK_PROBLEMS,
    )
    _add_actions(routes)
    return routes


def _add_actions(routes: APIBlueprint) -> None:
    steered = {200: json_answer(BatchView, "The batch as it is now.")}
    add_route(
        routes,
        "patch",
        "/batches/<batch_id>",
        change_batch,
        steered,
        problems=(*BODY_PROBLEMS, "batch_not_found", "batch_over", *_STORES),
        body=BatchChange,
    )
    for action, view in (("pause", pause_batch), ("resume", resume_batch)):
        add_route(
            routes, "post", f"/batches/<batch_id>/{action}", view, steered, problems=(*_LOOK_PROBLEMS, "batch_over")
        )
    for action, view, body in (("cancel", cancel_batch, CancelRequest), ("retry-failed", retry_failed, RetryRequest)):
        add_route(
            routes,
            "post",
            f"/batches/<batch_id>/{action}",
            view,
            steered,
            problems=(*BODY_PROBLEMS, "batch_not_found", "batch_over", *_STORES),
            body=body,
            body_required=False,
        )
