"""One line of a batch: the same request, rules, faults and pictures as a call of its own, at half the price."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic

from sandbox.api_errors import ApiError
from sandbox.app_state import Sandbox
from sandbox.batch_input import Line
from sandbox.edit_rules import edit_from_json
from sandbox.endpoints.edits import EDITS
from sandbox.endpoints.generations import GENERATIONS
from sandbox.faults import Fault
from sandbox.file_store import FileStore
from sandbox.journal import Call
from sandbox.paid_calls import Document, Order, PaidEndpoint, hang
from sandbox.values import Fields

PRICE_SHARE: Final = 0.5
TIMED_OUT: Final = {"code": "request_timeout", "message": "The underlying call to the model timed out."}

_BROKEN: Final = ApiError("The sandbox failed: its log says why.", kind="server_error", code="sandbox_broken")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LineAnswer:
    """What becomes of a line: an HTTP answer, or why there is none."""

    custom_id: str
    request_id: str
    status: int | None = None
    body: object = None
    error: dict[str, str] | None = None

    @property
    def good(self) -> bool:
        """Whether it belongs in the output file."""
        return self.status == 200

    def document(self) -> dict[str, object]:
        """The line of the output or the error file."""
        answer = {"status_code": self.status, "request_id": self.request_id, "body": self.body}
        return {
            "id": f"batch_req_{uuid.uuid4().hex}",
            "custom_id": self.custom_id,
            "response": None if self.status is None else answer,
            "error": self.error,
        }


@dataclass(frozen=True, slots=True)
class LineEndpoint(Generic[Document, Order]):
    """An endpoint whose requests may come as lines; `read` makes a line's body into the endpoint's document."""

    endpoint: PaidEndpoint[Document, Order]
    read: Callable[[Fields, FileStore], Document]

    async def answer(self, sandbox: Sandbox, line: Line, batch_id: str) -> LineAnswer:
        """Paint one line, or say why not. Cancelling it is noted in the journal."""
        request_id, document = f"req_{uuid.uuid4().hex}", self.read(line.body, sandbox.files)
        call = self.endpoint.recorded(sandbox, document, request_id, batch=batch_id, custom_id=line.custom_id)
        try:
            return await self._painted(sandbox, call, document)
        except ApiError as refusal:
            sandbox.journal.settle(call, "refused", refusal.status)
            return LineAnswer(line.custom_id, request_id, refusal.status, refusal.body)
        except asyncio.CancelledError:
            if call.outcome is None:
                sandbox.journal.settle(call, "batch_ended")
            raise
        except Exception:
            sandbox.journal.settle(call, "broken", 500)
            _log.exception("batch line %s", line.custom_id)
            return LineAnswer(line.custom_id, request_id, 500, _BROKEN.body)

    async def _painted(self, sandbox: Sandbox, call: Call, document: Document) -> LineAnswer:
        who, latency = (call.custom_id or "", call.request_id), sandbox.settings.latency_seconds
        if sandbox.settings.account_error is not None:
            raise sandbox.settings.account_error.error()
        self.endpoint.admit(sandbox.settings, document)
        order = await asyncio.to_thread(self.endpoint.check, document)
        if order.streamed:
            raise ApiError("Streaming is not supported in a batch.", code="invalid_value", param="stream")
        fault = sandbox.faults.take(order.prompt, f"BATCH {self.endpoint.path}")
        if fault is not None:
            await asyncio.sleep(fault.delay)
            if fault.hang:
                await hang(sandbox, call, fault)
            if fault.drop is not None:
                sandbox.journal.settle(call, f"fault:{fault.kind}")
                return LineAnswer(*who, error=TIMED_OUT)
            if fault.status is not None:
                sandbox.journal.settle(call, f"fault:{fault.kind}", fault.status)
                return LineAnswer(*who, fault.status, fault.error().body)
        painting = self.endpoint.painted(sandbox, call, order, fault, PRICE_SHARE)
        answer, _ = await asyncio.gather(painting, asyncio.sleep(latency))
        sandbox.journal.settle(call, _outcome(fault), 200, answer.images)
        return LineAnswer(*who, 200, answer.body)


def _outcome(fault: Fault | None) -> str:
    return "answered" if fault is None or fault.kind == "delay" else f"fault:{fault.kind}"


def _as_it_is(body: Fields, files: FileStore) -> Fields:
    return body


LINE_ENDPOINTS: Final[dict[str, LineEndpoint[Any, Any]]] = {
    GENERATIONS.path: LineEndpoint(GENERATIONS, _as_it_is),
    EDITS.path: LineEndpoint(EDITS, edit_from_json),
}
"""By the path that is also the batch's `endpoint`."""
