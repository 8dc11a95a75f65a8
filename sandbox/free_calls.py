"""Calls that paint nothing: of files and batches. They need a key, and suffer the faults that name their endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.app_state import Sandbox, sandbox_of
from sandbox.credentials import check_key
from sandbox.cut_answers import DroppedAnswer, FileAnswer, HalfAnswer
from sandbox.event_streams import until_gone
from sandbox.faults import Fault

Handler = Callable[[Request], Awaitable[Response]]


def free_route(method: str, path: str, handler: Handler) -> Route:
    """The route of a call that paints nothing; faults know it as `METHOD path`."""

    async def serve(request: Request) -> Response:
        check_key(request)
        sandbox = sandbox_of(request)
        fault = sandbox.faults.take(None, f"{method} {path}")
        return await (handler(request) if fault is None else _suffer(fault, request, sandbox, handler))

    return Route(path, serve, methods=[method], name=handler.__name__)


async def _suffer(fault: Fault, request: Request, sandbox: Sandbox, handler: Handler) -> Response:
    """The answer after the fault; with `drop: "middle"` the call takes effect and half of its answer is sent."""
    await asyncio.sleep(fault.delay)
    if fault.hang:
        await _until_over(request, sandbox)
    if fault.hang or fault.drop == "before":
        return DroppedAnswer()
    if fault.status is not None:
        return fault.error().response(fault.headers)
    response = await handler(request)
    if fault.drop != "middle":
        return response
    if isinstance(response, FileAnswer):
        response.cut = True
        return response
    return HalfAnswer(response.body, response.status_code, dict(response.headers))


async def _until_over(request: Request, sandbox: Sandbox) -> None:
    """Wait until the client has left or the server stops."""
    await request.body()
    leaving = asyncio.ensure_future(until_gone(request.receive))
    stopping = asyncio.ensure_future(sandbox.stopping.wait())
    try:
        await asyncio.wait((leaving, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        stopping.cancel()
