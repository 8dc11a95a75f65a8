"""The way of a call to a paid endpoint: journal, key, account, rules, limits, fault, latency and painting, answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, Literal, NoReturn, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox.api_errors import ApiError
from sandbox.app_state import Sandbox, Settings, request_id_of, sandbox_of
from sandbox.credentials import check_key
from sandbox.cut_answers import DroppedAnswer, HalfAnswer
from sandbox.event_streams import Event, EventStream, until_gone
from sandbox.faults import MAX_DELAY_SECONDS, BodyFault, Fault, read_spec
from sandbox.input_images import Input, Source
from sandbox.journal import Call
from sandbox.rate_limits import Use
from sandbox.values import Fields

LATENCY_HEADER: Final = "x-sandbox-latency"
"""Seconds that the answer to this call takes at least, instead of the setting."""

FAULT_HEADER: Final = "x-sandbox-fault"
"""What this call is to suffer: a `Fault` as JSON."""


class Prompted(Protocol):
    """A checked request."""

    @property
    def prompt(self) -> str:
        """What to paint."""
        ...

    @property
    def streamed(self) -> bool:
        """Whether the answer is to come as events."""
        ...


Document = TypeVar("Document")
Order = TypeVar("Order", bound=Prompted)


@dataclass(frozen=True, slots=True)
class Noted:
    """What the journal notes of a request before it is checked; None for what was not sent or is not usable.

    `inputs` and `mask` are SHA-256 in hex.
    """

    prompt: str | None
    n: int | None
    size: str | None
    quality: str | None
    inputs: tuple[str, ...] = ()
    mask: str | None = None


def noted(fields: Fields, inputs: Sequence[Source] = (), mask: Source | None = None) -> Noted:
    """What the journal notes of an image request with these parameters and images."""
    n = fields.get("n", 1)
    return Noted(
        prompt=_text(fields.get("prompt")),
        n=n if isinstance(n, int) else None,
        size=_text(fields.get("size", "auto")),
        quality=_text(fields.get("quality", "auto")),
        inputs=tuple(source.digest for source in inputs if isinstance(source, Input)),
        mask=mask.digest if isinstance(mask, Input) else None,
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def admit_all(settings: Settings, document: object) -> None:
    """Admit every request."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a good call is answered: the JSON body, and the SHA-256 in hex of every image file in it.

    Of a streamed answer, `body` is the last event and `partials` are those before it.
    """

    body: Event
    images: tuple[str, ...]
    partials: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class PaidEndpoint(Generic[Document, Order]):
    """What makes one paid endpoint: its path, how its requests are read, noted, checked and answered.

    `admit` and `check` raise ApiError: `admit` while a setting closes the endpoint, `check` by the rules. `use` is what
    a call takes of the rate limits, `price` what it costs in dollars.
    """

    path: str
    read: Callable[[Request], Awaitable[Document | ApiError]]
    note: Callable[[Document], Noted]
    check: Callable[[Document], Order]
    use: Callable[[Order], Use]
    price: Callable[[Order], float]
    answer: Callable[[Sandbox, Order, BodyFault | None], Awaitable[Answer]]
    admit: Callable[[Settings, Document], None] = admit_all

    async def serve(self, request: Request) -> Response:
        """Serve one call and record it: when it is received, and what became of it."""
        sandbox = sandbox_of(request)
        document = await self.read(request)
        client_request_id = request.headers.get("x-client-request-id")
        call = self.recorded(sandbox, document, request_id_of(request), client_request_id)
        try:
            served = await _unless_interrupted(request, sandbox, self._serve(request, sandbox, call, document))
        except ApiError as refusal:
            sandbox.journal.settle(call, "refused", refusal.status)
            return refusal.response()
        except _Interrupted as interruption:
            # A call that was left hanging is answered after all when the server stops.
            if call.outcome is None or interruption.outcome == "stopped":
                sandbox.journal.settle(call, interruption.outcome)
            return _farewell(interruption)
        except Exception:
            sandbox.journal.settle(call, "broken", 500)
            raise
        if served.outcome is not None:
            sandbox.journal.settle(call, served.outcome, served.status, served.images)
        return served.response

    def recorded(
        self,
        sandbox: Sandbox,
        document: Document | ApiError,
        request_id: str,
        client_request_id: str | None = None,
        *,
        batch: str | None = None,
        custom_id: str | None = None,
    ) -> Call:
        """The call in the journal, from its receipt."""
        what = noted({}) if isinstance(document, ApiError) else self.note(document)
        return sandbox.journal.receive(
            self.path,
            request_id,
            client_request_id,
            prompt=what.prompt,
            n=what.n,
            size=what.size,
            quality=what.quality,
            inputs=what.inputs,
            mask=what.mask,
            batch=batch,
            custom_id=custom_id,
        )

    async def _serve(self, request: Request, sandbox: Sandbox, call: Call, document: Document | ApiError) -> _Served:
        check_key(request)
        if sandbox.settings.account_error is not None:
            raise sandbox.settings.account_error.error()
        latency, fault = _latency(request, sandbox), asked_fault(request)
        if isinstance(document, ApiError):
            raise document
        self.admit(sandbox.settings, document)
        order = await asyncio.to_thread(self.check, document)  # it may have to decode images
        standing = sandbox.window.admit(self.use(order), sandbox.settings.limits(), time.monotonic())
        if fault and fault.stream and not order.streamed:
            raise ApiError(f"{FAULT_HEADER}: the call is not streamed.", code="invalid_value", param=FAULT_HEADER)
        fault = fault or sandbox.faults.take(order.prompt, f"POST {self.path}", streamed=order.streamed)
        if fault is not None:
            await asyncio.sleep(fault.delay)
            if fault.hang:
                await hang(sandbox, call, fault)
            if fault.drop == "before":
                return _Served(DroppedAnswer(), f"fault:{fault.kind}", None)
            if fault.status is not None:
                return _Served(fault.error().response(fault.headers), f"fault:{fault.kind}", fault.status)
        painting = self.painted(sandbox, call, order, fault)
        if order.streamed:
            answer, settle = await painting, partial(sandbox.journal.settle, call)
            stream = EventStream(answer.partials, answer.body, answer.images, fault, latency, settle, sandbox.stopping)
            stream.headers.update(standing)
            return _Served(stream, None, None)
        answer, _ = await asyncio.gather(painting, asyncio.sleep(latency))
        return _painted(answer, fault, standing)

    async def painted(
        self, sandbox: Sandbox, call: Call, order: Order, fault: Fault | None, share_of_price: float = 1.0
    ) -> Answer:
        """Paint, and charge the account."""
        answer = await self.answer(sandbox, order, fault.body if fault else None)
        call.cost_usd = round(self.price(order) * share_of_price, 6)
        return answer


@dataclass(frozen=True, slots=True)
class _Served:
    response: Response
    outcome: str | None  # None: the response itself tells the journal
    status: int | None
    images: tuple[str, ...] = ()


class _Interrupted(Exception):
    """The call ended before its answer."""

    def __init__(self, outcome: Literal["client_gone", "stopped"]) -> None:
        super().__init__(outcome)
        self.outcome = outcome


def _painted(answer: Answer, fault: Fault | None, headers: Mapping[str, str]) -> _Served:
    response = JSONResponse(answer.body, headers=headers)
    if fault is None or fault.kind == "delay":
        return _Served(response, "answered", 200, answer.images)
    if fault.drop == "middle":
        response = HalfAnswer(response.body, headers=dict(response.headers))
    return _Served(response, f"fault:{fault.kind}", 200, answer.images)


async def hang(sandbox: Sandbox, call: Call, fault: Fault) -> NoReturn:
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


def asked_fault(request: Request) -> Fault | None:
    """What the request's header says it is to suffer.

    Raises:
        ApiError: 400, the header is no fault.
    """
    given = request.headers.get(FAULT_HEADER)
    return None if given is None else read_spec(Fault, given, FAULT_HEADER)
