"""`/v1/batches`: make, list, look at and cancel batches of image requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox.api_errors import ApiError
from sandbox.app_state import sandbox_of
from sandbox.batch_lines import LINE_ENDPOINTS
from sandbox.batch_runs import start_batch
from sandbox.batch_store import WINDOW, Batch
from sandbox.file_store import StoredFile
from sandbox.free_calls import free_route
from sandbox.request_bodies import read_json
from sandbox.values import Fields, choice, given, integer, missing, number_in, refuse_unknown, string, wrong_type

_PARAMETERS: Final = ("input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after")
_REQUIRED: Final = _PARAMETERS[:3]
_ENDPOINTS: Final = tuple(LINE_ENDPOINTS)
_LIFETIME: Final = (3600, 2_592_000)  # seconds: from an hour to 30 days
_MOST_PAIRS, _MOST_KEY, _MOST_VALUE = 16, 64, 512
_LISTED, _MOST_LISTED = 20, 100


async def create_batch(request: Request) -> Response:
    """Begin a batch of the requests in an uploaded file."""
    sandbox, document = sandbox_of(request), await read_json(request)
    if isinstance(document, ApiError):
        raise document
    if sandbox.settings.account_error is not None:
        raise sandbox.settings.account_error.error()
    refuse_unknown(document, _PARAMETERS)
    for name in _REQUIRED:
        if given(document, name, None) is None:
            raise missing(name)
    endpoint = choice(document, "endpoint", _ENDPOINTS)
    choice(document, "completion_window", (WINDOW,))
    metadata, lifetime = _metadata(document), _lifetime(document)
    file = _input(request, string(document["input_file_id"], "input_file_id"))
    batch = sandbox.batches.add(endpoint, file.id, metadata, lifetime, sandbox.settings.batch_window_seconds)
    start_batch(sandbox, batch, file)
    return JSONResponse(batch.described())


async def list_batches(request: Request) -> Response:
    """The batches, newest first; `after` an id, at most `limit`."""
    query: Fields = dict(request.query_params)
    refuse_unknown(query, ("limit", "after"))
    limit = number_in(str(query.get("limit", _LISTED)), "limit", 1, _MOST_LISTED)
    found, after = sandbox_of(request).batches.newest_first(), query.get("after")
    if after is not None:
        ids = [batch.id for batch in found]
        if after not in ids:
            raise ApiError(f"No batch found with id '{after}'.", status=404, param="after")
        found = found[ids.index(str(after)) + 1 :]
    page = [batch.described() for batch in found[:limit]]
    ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {}
    return JSONResponse({"object": "list", "data": page, **ends, "has_more": len(found) > limit})


async def get_batch(request: Request) -> Response:
    """What is known of a batch, or 404."""
    return JSONResponse(_found(request).described())


async def cancel_batch(request: Request) -> Response:
    """Begin to cancel a batch, or 404, or 409 when it is over."""
    batch = _found(request)
    batch.cancel()
    return JSONResponse(batch.described())


def _found(request: Request) -> Batch:
    batch_id = str(request.path_params["batch_id"])
    batch = sandbox_of(request).batches.get(batch_id)
    if batch is None:
        raise ApiError(f"No batch found with id '{batch_id}'.", status=404)
    return batch


def _input(request: Request, file_id: str) -> StoredFile:
    file = sandbox_of(request).files.get(file_id)
    if file is None:
        message = f"Cannot find file {file_id}, or the project does not have access to it."
        raise ApiError(message, param="file_id")
    if file.purpose != "batch":
        message = f"Invalid file {file_id}: its purpose is '{file.purpose}', but it must be 'batch'."
        raise ApiError(message, param="file_id")
    return file


def _metadata(document: Fields) -> Mapping[str, object] | None:
    value = given(document, "metadata", None)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wrong_type("metadata", "an object", value)
    pairs = cast("dict[str, object]", value)
    if len(pairs) > _MOST_PAIRS:
        message = f"Invalid 'metadata': too many properties. Expected at most {_MOST_PAIRS}, but got {len(pairs)}."
        raise ApiError(message, code="object_above_max_properties", param="metadata")
    for key, text in pairs.items():
        if len(key) > _MOST_KEY or len(string(text, f"metadata.{key}")) > _MOST_VALUE:
            message = f"Invalid 'metadata.{key}': keys have at most {_MOST_KEY} characters, values {_MOST_VALUE}."
            raise ApiError(message, code="string_above_max_length", param=f"metadata.{key}")
    return pairs


def _lifetime(document: Fields) -> int | None:
    name = "output_expires_after"
    value = given(document, name, None)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wrong_type(name, "an object", value)
    members = {f"{name}.{key}": each for key, each in cast("dict[str, object]", value).items()}
    anchor, seconds = f"{name}.anchor", f"{name}.seconds"
    refuse_unknown(members, (anchor, seconds))
    for member in (anchor, seconds):
        if members.get(member) is None:
            raise missing(member)
    choice(members, anchor, ("created_at",))
    return integer(members, seconds, *_LIFETIME, default=0)


ROUTES: Final = (
    free_route("POST", "/v1/batches", create_batch),
    free_route("GET", "/v1/batches", list_batches),
    free_route("GET", "/v1/batches/{batch_id}", get_batch),
    free_route("POST", "/v1/batches/{batch_id}/cancel", cancel_batch),
)
