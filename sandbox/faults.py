"""Faults on demand: what a call is to suffer, and the queue of faults that wait for calls."""

from __future__ import annotations

import re
from itertools import count
from typing import Annotated, Final, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from sandbox.api_errors import ApiError
from sandbox.image_rules import MAX_PARTIAL_IMAGES

MAX_DELAY_SECONDS: Final = 3600

BodyFault = Literal["broken_base64", "empty_list", "not_an_image", "wrong_format", "no_usage"]
StreamFault = Literal["cut", "hang", "no_completed", "error"]
_KINDS: Final = ("status", "drop", "hang", "body", "stream")


def _header_names_and_values(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) or not re.fullmatch(r"[\x20-\x7e]*", value):
            raise ValueError(f"{name!r}: {value!r} is not an HTTP header in ASCII")
        if name.lower() in ("content-length", "content-type", "transfer-encoding"):
            raise ValueError(f"{name!r} is set by the answer itself")
    return headers


class Fault(BaseModel):
    """What goes wrong with one call: exactly one of `status`, `drop`, `hang`, `body` and `stream`, or a `delay` alone.

    `delay` (seconds) passes before the fault; with `drop: "middle"` and `body` it is added to the latency, because
    these come with a painted answer. `code`, `type`, `message`, `param` and `headers` shape the answer of a `status`.

    `stream` is for streamed calls alone, others do not take it. After `after` partial images the connection is closed,
    nothing more comes, the stream ends, or it ends with an error event, which all but `headers` shape.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    status: Annotated[int, Field(ge=400, le=599)] | None = None
    code: str | None = None
    type: str | None = None
    message: str | None = None
    param: str | None = None
    headers: Annotated[dict[str, str], AfterValidator(_header_names_and_values)] | None = None
    drop: Literal["before", "middle"] | None = None
    hang: Literal[True] | None = None
    body: BodyFault | None = None
    stream: StreamFault | None = None
    after: Annotated[int, Field(ge=0, le=MAX_PARTIAL_IMAGES)] = 1
    delay: Annotated[float, Field(ge=0, le=MAX_DELAY_SECONDS)] = 0.0

    @model_validator(mode="after")
    def _is_one_fault(self) -> Self:
        kinds = [name for name in _KINDS if getattr(self, name) is not None]
        if len(kinds) > 1:
            raise ValueError(f"give one of {', '.join(_KINDS)}, not {' and '.join(kinds)}")
        if not kinds and not self.delay:
            raise ValueError(f"give one of {', '.join(_KINDS)}, or a delay")
        shaping = [name for name in ("code", "type", "message", "param", "headers") if getattr(self, name) is not None]
        if shaping and self.status is None and (self.stream != "error" or self.headers):
            raise ValueError(f"{', '.join(shaping)}: only together with status")
        if "after" in self.model_fields_set and self.stream is None:
            raise ValueError("after: only together with stream")
        return self

    @property
    def kind(self) -> str:
        """`error`, `drop_before`, `drop_middle`, `hang`, `delay`, `stream_…` or the name of the body fault."""
        if self.stream is not None:
            return f"stream_{self.stream}"
        if self.status is not None:
            return "error"
        if self.drop is not None:
            return f"drop_{self.drop}"
        return "hang" if self.hang else self.body or "delay"

    def error(self) -> ApiError:
        """The answer of a `status` fault, or what the event of a `stream` error says."""
        return ApiError(
            self.message or f"The sandbox was told to answer {self.status or 'an error event'}.",
            status=self.status or 500,
            code=self.code,
            param=self.param,
            kind=self.type or "sandbox_fault",
        )


class Match(BaseModel):
    """Which calls a waiting fault is for: those with this text in the prompt, or all.

    `endpoint` is method and path as in OpenAI's reference, `POST /v1/images/edits` or `GET /v1/batches/{batch_id}`, and
    `BATCH /v1/images/edits` for the lines of batches. Without it, a fault is for image calls and lines of batches.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    prompt_contains: str | None = None
    endpoint: str | None = None

    def fits(self, prompt: str | None, endpoint: str) -> bool:
        """Whether a call to this endpoint is meant; `prompt` is None for calls that paint nothing."""
        if self.endpoint not in (None, endpoint) or (prompt is None and self.endpoint is None):
            return False
        return self.prompt_contains is None or self.prompt_contains in (prompt or "")


class WaitingFault(BaseModel):
    """A fault for the next `times` calls that match."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    fault: Fault
    times: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    match: Match = Match()


class FaultQueue:
    """Faults that wait for calls, oldest first."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._waiting: dict[int, WaitingFault] = {}

    def add(self, waiting: WaitingFault) -> int:
        """Queue a fault; returns its number."""
        number = next(self._numbers)
        self._waiting[number] = waiting
        return number

    def take(self, prompt: str | None, endpoint: str, *, streamed: bool = False) -> Fault | None:
        """The oldest fault that this call matches, one time used up; `prompt` is None for calls that paint nothing."""
        for number, waiting in self._waiting.items():
            fits = waiting.match.fits(prompt, endpoint) and (prompt is not None or waiting.fault.body is None)
            if fits and (streamed or waiting.fault.stream is None):
                if waiting.times == 1:
                    del self._waiting[number]
                else:
                    self._waiting[number] = waiting.model_copy(update={"times": waiting.times - 1})
                return waiting.fault
        return None

    def listed(self) -> list[dict[str, object]]:
        """What still waits, with `times` left."""
        return [
            {"number": number, **waiting.model_dump(exclude_none=True)} for number, waiting in self._waiting.items()
        ]

    def clear(self) -> None:
        """Forget all."""
        self._waiting.clear()


Spec = TypeVar("Spec", bound=BaseModel)


def read_spec(model: type[Spec], document: str | bytes, where: str = "") -> Spec:
    """Read a JSON document; `where` goes before the field's name in the refusal.

    Raises:
        ApiError: 400 that names the field, when the document breaks a rule of `model`.
    """
    try:
        return model.model_validate_json(document)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in (where, *problem["loc"]) if part != "") or "body"
        raise ApiError(f"{field}: {problem['msg']}", code="invalid_value", param=field) from error
