"""The way of a call to a paid endpoint: journal, key, rules, fault, latency and painting, answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, NoReturn, Protocol, TypeVar, cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive

from sandbox.api_errors import ApiError
from sandbox.app_state import Sandbox, request_id_of, sandbox_of
from sandbox.credentials import check_key
from sandbox.cut_answers import DroppedAnswer, HalfAnswer
from sandbox.faults import MAX_DELAY_SECONDS, BodyFault, Fault, read_spec
from sandbox.image_rules import json_type
from sandbox.journal import Call

LATENCY_HEADER: Final = "x-sandbox-latency"
"""Seconds that the answer to this call takes at least, instead of the setting."""

FAULT_HEADER: Final = "x-sandbox-fault"
"""What this call is to suffer: a `Fault` as JSON."""

Fields = Mapping[str, object]


class Prompted(Protocol):
    """A checked request."""

    @property
    def prompt(self) -> str:
        """What to paint."""
        ...


Order = TypeVar("Order", bound=Prompted)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a good call is answered: the JSON body, and the SHA-256 in hex of every image file in it."""

    body: Mapping[str, object]
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PaidEndpoint(Generic[Order]):
    """What makes one paid endpoint: its path, its rules (`check` raises ApiError) and how it answers."""

    path: str
    check: Callable[[Fields], Order]
    answer: Callable[[Sandbox, Order, BodyFault | None], Awaitable[Answer]]

    async def serve(self, request: Request) -> Response:
        """Serve one call and record it: when it is received, and what became of it."""
        sandbox = sandbox_of(request)
        document = await read_json(request)
        call = _recorded(sandbox, self.path, request, document)
        try:
            served = await _unless_interrupted(request, sandbox, self._serve(request, sandbox, call, document))
        except ApiError as refusal:
            sandbox.journal.settle(call, "refused", refusal.status)
            return refusal.response()
        except _Interrupted as interruption:
            if call.outcome is None:
                sandbox.journal.settle(call, interruption.outcome)
            return _farewell(interruption)
        except Exception:
            sandbox.journal.settle(call, "broken", 500)
            raise
        sandbox.journal.settle(call, served.outcome, served.status, served.images)
        return served.response

    async def _serve(self, request: Request, sandbox: Sandbox, call: Call, document: Fields | ApiError) -> _Served:
        check_key(request)
        latency, fault = _latency(request, sandbox), _asked_fault(request)
        if isinstance(document, ApiError):
            raise document
        order = self.check(document)
        fault = fault or sandbox.faults.take(order.prompt)
        if fault is not None:
            await asyncio.sleep(fault.delay)
            if fault.hang:
                await _hang(sandbox, call, fault)
            if fault.drop == "before":
                return _Served(DroppedAnswer(), f"fault:{fault.kind}", None)
            if fault.status is not None:
                return _Served(fault.error().response(fault.headers), f"fault:{fault.kind}", fault.status)
        answer, _ = await asyncio.gather(
            self.answer(sandbox, order, fault.body if fault else None), asyncio.sleep(latency)
        )
        return _painted(answer, fault)


@dataclass(frozen=True, slots=True)
class _Served:
    response: Response
    outcome: str
    status: int | None
    images: tuple[str, ...] = ()


class _Interrupted(Exception):
    """The call ended before its answer."""

    def __init__(self, outcome: Literal["client_gone", "stopped"]) -> None:
        super().__init__(outcome)
        self.outcome = outcome


def _painted(answer: Answer, fault: Fault | None) -> _Served:
    response = JSONResponse(answer.body)
    if fault is None or fault.kind == "delay":
        return _Served(response, "answered", 200, answer.images)
    if fault.drop == "middle":
        response = HalfAnswer(response.body, headers=dict(response.headers))
    return _Served(response, f"fault:{fault.kind}", 200, answer.images)


async def _hang(sandbox: Sandbox, call: Call, fault: Fault) -> NoReturn:
    """Never return; recorded at once, because only the client or the server's stop ends it."""
    sandbox.journal.settle(call, f"fault:{fault.kind}")
    while True:
        await asyncio.sleep(MAX_DELAY_SECONDS)


def _farewell(interruption: _Interrupted) -> Response:
    if interruption.outcome == "client_gone":
        return DroppedAnswer()
    return ApiError("The sandbox is stopping.", status=503, code="server_stopping", kind="server_error").response()


Result = TypeVar("Result")


async def _unless_interrupted(request: Request, sandbox: Sandbox, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, abandoned when the client leaves or the server stops.

    Raises:
        _Interrupted: one of the two came first.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(until_gone(request.receive))
    stopping = asyncio.ensure_future(sandbox.stopping.wait())
    try:
        await asyncio.wait((working, leaving, stopping), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise _Interrupted("client_gone" if leaving.done() else "stopped")
    finally:
        for task in (working, leaving, stopping):
            task.cancel()


async def until_gone(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _recorded(sandbox: Sandbox, path: str, request: Request, document: Fields | ApiError) -> Call:
    fields: Fields = {} if isinstance(document, ApiError) else document
    n = fields.get("n", 1)
    return sandbox.journal.receive(
        path,
        request_id_of(request),
        request.headers.get("x-client-request-id"),
        prompt=_text(fields.get("prompt")),
        n=n if isinstance(n, int) else None,
        size=_text(fields.get("size", "auto")),
        quality=_text(fields.get("quality", "auto")),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _latency(request: Request, sandbox: Sandbox) -> float:
    given = request.headers.get(LATENCY_HEADER)
    if given is None:
        return sandbox.settings.latency_seconds
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= MAX_DELAY_SECONDS:
        message = f"{LATENCY_HEADER}: expected seconds from 0 to {MAX_DELAY_SECONDS}, but got '{given}'."
        raise ApiError(message, code="invalid_value", param=LATENCY_HEADER)
    return seconds


def _asked_fault(request: Request) -> Fault | None:
    given = request.headers.get(FAULT_HEADER)
    return None if given is None else read_spec(Fault, given, FAULT_HEADER)


async def read_json(request: Request) -> Fields | ApiError:
    """The request's parameters, or the refusal of a body that has none."""
    body = await request.body()
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        message = f"Unsupported content type: '{content_type}'. This endpoint accepts 'application/json'."
        return ApiError(message, code="unsupported_content_type")
    try:
        document: object = json.loads(body, parse_constant=_refuse_constant)
        json.dumps(document, ensure_ascii=False).encode()  # finds lone surrogates, which are not Unicode text
    except (ValueError, RecursionError):
        return ApiError("We could not parse the JSON body of your request: it is not valid JSON.")
    if not isinstance(document, dict):
        message = f"Invalid type for the request body: expected an object, but got {json_type(document)} instead."
        return ApiError(message, code="invalid_type")
    return cast(Fields, document)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
