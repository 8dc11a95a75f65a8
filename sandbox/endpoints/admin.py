"""What rehearsals and tests turn and read while the sandbox runs; without a key, as it listens on loopback.

GET /healthz                      it runs
GET, POST /sandbox/settings       latency, refusal of edits, rate limits, blocked account, batches (app_state.Settings)
GET, POST, DELETE /sandbox/faults faults that wait for calls
GET, DELETE /sandbox/calls        the journal; `?since=N` for the calls numbered above N
GET, DELETE /sandbox/files        the uploaded files
DELETE /sandbox/batches           forgets the batches
"""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.api_errors import ApiError
from sandbox.app_state import Settings, sandbox_of
from sandbox.faults import WaitingFault, read_spec


async def health(request: Request) -> JSONResponse:
    """Say that the sandbox answers, and that it is the sandbox."""
    return JSONResponse({"status": "ok", "service": "imagequeue-sandbox"})


async def get_settings(request: Request) -> JSONResponse:
    """The settings in force."""
    return JSONResponse(sandbox_of(request).settings.model_dump())


async def change_settings(request: Request) -> JSONResponse:
    """Change the settings that are named; calls in flight keep theirs."""
    sandbox_of(request).change(read_spec(Settings, await request.body()))
    return await get_settings(request)


async def list_faults(request: Request) -> JSONResponse:
    """The faults that still wait for calls."""
    return JSONResponse({"faults": sandbox_of(request).faults.listed()})


async def add_fault(request: Request) -> JSONResponse:
    """Let the next matching calls suffer a fault."""
    waiting = read_spec(WaitingFault, await request.body())
    number = sandbox_of(request).faults.add(waiting)
    return JSONResponse({"number": number, **waiting.model_dump(exclude_none=True)}, 201)


async def clear_faults(request: Request) -> Response:
    """Forget the faults that still wait."""
    sandbox_of(request).faults.clear()
    return Response(status_code=204)


async def list_calls(request: Request) -> JSONResponse:
    """The calls that the journal remembers, oldest first."""
    since = request.query_params.get("since", "0")
    if not (since.isascii() and since.isdecimal()):
        message = f"since: expected a call's number, but got '{since}'."
        raise ApiError(message, code="invalid_value", param="since")
    return JSONResponse({"calls": sandbox_of(request).journal.calls(int(since))})


async def clear_calls(request: Request) -> Response:
    """Forget the calls in memory; a journal file keeps them."""
    sandbox_of(request).journal.clear()
    return Response(status_code=204)


async def list_files(request: Request) -> JSONResponse:
    """The files that were uploaded and not deleted, oldest first."""
    return JSONResponse({"files": [file.described() for file in sandbox_of(request).files.files()]})


async def clear_files(request: Request) -> Response:
    """Forget the uploaded files."""
    sandbox_of(request).files.clear()
    return Response(status_code=204)


async def clear_batches(request: Request) -> Response:
    """Stop and forget the batches."""
    await sandbox_of(request).batches.clear()
    return Response(status_code=204)


ROUTES: Final = (
    Route("/healthz", health, methods=["GET"]),
    Route("/sandbox/settings", get_settings, methods=["GET"]),
    Route("/sandbox/settings", change_settings, methods=["POST"]),
    Route("/sandbox/faults", list_faults, methods=["GET"]),
    Route("/sandbox/faults", add_fault, methods=["POST"]),
    Route("/sandbox/faults", clear_faults, methods=["DELETE"]),
    Route("/sandbox/calls", list_calls, methods=["GET"]),
    Route("/sandbox/calls", clear_calls, methods=["DELETE"]),
    Route("/sandbox/files", list_files, methods=["GET"]),
    Route("/sandbox/files", clear_files, methods=["DELETE"]),
    Route("/sandbox/batches", clear_batches, methods=["DELETE"]),
)
