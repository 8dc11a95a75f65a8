"""`/v1/files`: upload, list, read and delete files, which edits and responses then refer to by id."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox.api_errors import ApiError
from sandbox.app_state import sandbox_of
from sandbox.cut_answers import FileAnswer
from sandbox.file_store import StoredFile
from sandbox.free_calls import free_route
from sandbox.request_bodies import Form, Upload, duplicate, read_form
from sandbox.values import Fields, choice, missing, number_in, refuse_unknown, string, wrong_type

_BATCH: Final = "batch"
_MOST_BATCH_BYTES: Final = 200_000_000
_PURPOSES: Final = ("assistants", _BATCH, "fine-tune", "vision", "user_data", "evals")
_EXPIRY: Final = ("expires_after[anchor]", "expires_after[seconds]")
_LEAST_LIFETIME: Final = 3600  # seconds
_MOST_LIFETIME: Final = 2_592_000  # seconds: 30 days
_MOST_LISTED: Final = 10_000


async def create_file(request: Request) -> Response:
    """Keep the file of a multipart form."""
    form = await read_form(request)
    if isinstance(form, ApiError):
        raise form
    fields = form.fields()
    upload = _only_file(form, fields)
    refuse_unknown(fields, ("purpose", *_EXPIRY))
    if "purpose" not in fields:
        raise missing("purpose")
    purpose, lifetime = choice(fields, "purpose", _PURPOSES), _lifetime_seconds(fields)
    if purpose == _BATCH:
        _check_batch_input(upload)
        lifetime = lifetime or _MOST_LIFETIME
    stored = sandbox_of(request).files.add(upload.content, upload.filename, purpose, lifetime)
    return JSONResponse(stored.described())


async def list_files(request: Request) -> Response:
    """The files, newest first unless `order` is `asc`; of one `purpose`, `after` an id, at most `limit`."""
    query: Fields = dict(request.query_params)
    refuse_unknown(query, ("purpose", "limit", "order", "after"))
    files, limit = sandbox_of(request).files.files(), _limit(request)
    if choice(query, "order", ("desc", "asc")) == "desc":
        files.reverse()
    purpose, after = query.get("purpose"), query.get("after")
    found = [file for file in files if purpose in (None, file.purpose)]
    if after is not None:
        ids = [file.id for file in found]
        if after not in ids:
            raise ApiError(f"No such File object: {after}", status=404, param="after")
        found = found[ids.index(str(after)) + 1 :]
    page = [file.described() for file in found[:limit]]
    ends = (page[0]["id"], page[-1]["id"]) if page else ("", "")
    body = {"object": "list", "data": page, "first_id": ends[0], "last_id": ends[1], "has_more": len(found) > limit}
    return JSONResponse(body)


async def get_file(request: Request) -> Response:
    """What is known of a file, or 404."""
    return JSONResponse(_found(request).described())


async def get_content(request: Request) -> Response:
    """The bytes of a file, or 404."""
    file = _found(request)
    disposition = f"attachment; filename*=UTF-8''{quote(file.filename, safe='')}"
    return FileAnswer(file, {"content-disposition": disposition})


async def delete_file(request: Request) -> Response:
    """Forget a file, or 404."""
    file = _found(request)
    sandbox_of(request).files.delete(file.id)
    return JSONResponse({"id": file.id, "object": "file", "deleted": True})


def _found(request: Request) -> StoredFile:
    file_id = str(request.path_params["file_id"])
    file = sandbox_of(request).files.get(file_id)
    if file is None:
        raise ApiError(f"No such File object: {file_id}", status=404, param="id")
    return file


def _only_file(form: Form, fields: Fields) -> Upload:
    if "file" in fields:
        raise wrong_type("file", "a file", fields["file"])
    for name, _ in form.files:
        if name != "file":
            raise ApiError(f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name)
    uploads = [upload for _, upload in form.files]
    if not uploads:
        raise missing("file")
    if len(uploads) > 1:
        raise duplicate("file")
    return uploads[0]


def _check_batch_input(upload: Upload) -> None:
    if not upload.filename.endswith(".jsonl"):
        raise ApiError("Invalid file format for Batch API. Must be .jsonl")
    if len(upload.content) > _MOST_BATCH_BYTES:
        raise ApiError("The Batch API only supports .jsonl files up to 200 MB in size.", param="file")


def _lifetime_seconds(fields: Fields) -> int | None:
    """Seconds until the file expires, None for never."""
    if not any(name in fields for name in _EXPIRY):
        return None
    for name in _EXPIRY:
        if name not in fields:
            raise missing(name)
    choice(fields, _EXPIRY[0], ("created_at",))
    return number_in(string(fields[_EXPIRY[1]], _EXPIRY[1]), _EXPIRY[1], _LEAST_LIFETIME, _MOST_LIFETIME)


def _limit(request: Request) -> int:
    return number_in(request.query_params.get("limit", str(_MOST_LISTED)), "limit", 1, _MOST_LISTED)


ROUTES: Final = (
    free_route("POST", "/v1/files", create_file),
    free_route("GET", "/v1/files", list_files),
    free_route("GET", "/v1/files/{file_id}", get_file),
    free_route("DELETE", "/v1/files/{file_id}", delete_file),
    free_route("GET", "/v1/files/{file_id}/content", get_content),
)
