"""What a client may ask for: the models of requests, and refusals that say how to do better."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Final, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from imagequeue.errors import InvalidRequest, Violation
from imagequeue.request_fields import (
    Background,
    FilenamePrefix,
    ForkedTurn,
    ImageCount,
    InputImages,
    Mask,
    Moderation,
    OnUnknownOutcome,
    OutputCompression,
    OutputFormat,
    PartialImages,
    Prompt,
    Quality,
    Reuse,
    Size,
    User,
    WebhookUrl,
)

_GIVEN_SHOWN: Final = 80
REUSE_NOTE: Final = "reuse: "
"""What notes about `reuse` begin with."""
_URLS: Final = ("http://", "https://")
_VIOLATIONS_SHOWN: Final = 20
"""A body of 100,000 unknown fields must not cost 100,000 explanations."""


class _Request(BaseModel):
    """What all requests share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: Prompt
    size: Size = "auto"
    quality: Quality = "auto"
    background: Background = "auto"
    output_compression: OutputCompression | None = None
    filename_prefix: FilenamePrefix | None = None
    user: User | None = None
    on_unknown_outcome: OnUnknownOutcome | None = None
    partial_images: PartialImages = 0
    # A job keeps it beside its request, which does not show it then.
    webhook: WebhookUrl | None = Field(default=None, exclude_if=lambda url: url is None)


class GenerateRequest(_Request):
    """Text to image."""

    type: Annotated[Literal["generate"], Field(description="Kind of job.", examples=["generate"])] = "generate"
    n: ImageCount = 1
    output_format: OutputFormat = "png"
    moderation: Moderation = "auto"
    reuse: Reuse = Field(default=False, exclude_if=lambda reuse: not reuse)


class EditRequest(_Request):
    """Images and text to image."""

    type: Annotated[Literal["edit"], Field(description="Kind of job.", examples=["edit"])]
    images: InputImages
    mask: Mask | None = None
    n: ImageCount = 1
    output_format: OutputFormat = "png"
    reuse: Reuse = Field(default=False, exclude_if=lambda reuse: not reuse)

    @property
    def has_urls(self) -> bool:
        """Whether an image is given by a URL: what is behind it is not known before it is fetched."""
        return any(source.lower().startswith(_URLS) for source in (*self.images, self.mask or ""))


class ContinueSessionRequest(_Request):
    """The next turn of an edit session; its input is the image of the last turn that succeeded."""

    output_format: OutputFormat | None = None


class StartSessionRequest(ContinueSessionRequest):
    """The first turn of a new edit session."""

    images: InputImages
    mask: Mask | None = None


class ForkSessionRequest(BaseModel):
    """Which image a fork goes on from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    turn: ForkedTurn | None = None


class TurnRequest(ContinueSessionRequest):
    """A session's turn as a job keeps it: `images` are there in the first turn only."""

    type: Literal["turn"] = "turn"
    images: tuple[str, ...] = ()
    mask: str | None = None

    @property
    def n(self) -> int:
        """A turn makes one image: the next turn needs to know which."""
        return 1


JobRequest = GenerateRequest | EditRequest
"""What may be submitted as a job of its own."""
AnyRequest = Annotated[GenerateRequest | EditRequest | TurnRequest, Field(discriminator="type")]
"""What a job may hold."""
ANY_REQUEST: Final = TypeAdapter[GenerateRequest | EditRequest | TurnRequest](AnyRequest)

_JOB_REQUESTS: Final[dict[str, type[JobRequest]]] = {"generate": GenerateRequest, "edit": EditRequest}
_RULES: Final = {
    "string_unicode": "must be valid Unicode (a lone surrogate was found)",
    "tuple_type": "must be a list",
    "too_long": "may have at most {max_length} entries, not {actual_length}",
    "too_short": "must have at least {min_length} entry",
}
"""Where pydantic's own words are about Python."""
Request = TypeVar("Request", bound=BaseModel)


def parse_request(data: Mapping[str, object]) -> JobRequest:
    """Check what a client sent as a job; `type` says which kind, generate by default.

    Raises:
        InvalidRequest: with one violation for each broken rule.
    """
    kind = data.get("type", "generate")
    model = _JOB_REQUESTS.get(kind) if isinstance(kind, str) else None
    if model is None:
        rule = f"must be one of {', '.join(_JOB_REQUESTS)}; a session's turns go to /v1/sessions"
        raise InvalidRequest([Violation(field="type", rule=rule, given=shown(kind), example="generate")])
    return parse_as(model, data)


def parse_as(model: type[Request], data: Mapping[str, object]) -> Request:
    """Check what a client sent against one model.

    Raises:
        InvalidRequest: with one violation for each broken rule.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise InvalidRequest(violations(error, model)) from error


def ignored_settings(request: GenerateRequest | EditRequest | TurnRequest) -> list[str]:
    """Notes on what will not be done as asked."""
    notes: list[str] = []
    if request.output_format == "png" and request.output_compression is not None:
        notes.append("output_compression is ignored for png.")
    if isinstance(request, EditRequest) and request.reuse and request.has_urls:
        notes.append(
            f"{REUSE_NOTE}not looked for, because what is behind an http(s) URL is not known before the worker fetches "
            "it. Upload the image (POST /v1/uploads) to have equal edits found."
        )
    return notes


def violations(error: ValidationError, model: type[BaseModel]) -> list[Violation]:
    """Pydantic's complaints as rules with a value that would pass, taken from the model's own examples."""
    return [_violation(problem, model) for problem in error.errors(include_url=False)[:_VIOLATIONS_SHOWN]]


def _violation(problem: ErrorDetails, model: type[BaseModel]) -> Violation:
    path, field, model = _place([str(part) for part in problem["loc"]], model)
    context = problem.get("ctx", {})
    example = context.get("example", _example(model, field))
    given = "nothing" if problem["type"] == "missing" else shown(problem["input"])
    rule = _rule(problem)
    if problem["type"] == "extra_forbidden":
        rule, example = "is not a field of this request", ", ".join(model.model_fields)
    return Violation(field=shown(path), rule=rule, given=given, example=str(example))


def _place(location: list[str], model: type[BaseModel]) -> tuple[str, str, type[BaseModel]]:
    """The field's path for people, its name, and the model that it is a field of: `model`, or one within it."""
    name = location[0] if location else "body"
    within = model.model_fields[name].annotation if name in model.model_fields else None
    if len(location) > 1 and isinstance(within, type) and issubclass(within, BaseModel):
        path, field, owner = _place(location[1:], within)
        return f"{name}.{path}", field, owner
    return name, name, model


def _rule(problem: ErrorDetails) -> str:
    ours = _RULES.get(problem["type"])
    return ours.format(**problem.get("ctx", {})) if ours else problem["msg"]


def _example(model: type[BaseModel], field: str) -> object:
    schema = _properties(model).get(field, {})
    options = cast("list[dict[str, object]]", schema.get("anyOf", [schema]))
    examples = cast("list[object]", schema.get("examples") or options[0].get("examples") or ["see /docs"])
    return examples[0]


@cache  # making it takes a millisecond, and a manifest may have thousands of bad lines
def _properties(model: type[BaseModel]) -> Mapping[str, Mapping[str, object]]:
    return cast("Mapping[str, Mapping[str, object]]", model.model_json_schema().get("properties", {}))


def shown(value: object) -> str:
    """A value as an error may quote it: printable, and short whatever its size."""
    text = (value or "an empty text") if isinstance(value, str) else repr(value)
    text = text if text.isprintable() else text.encode("unicode_escape", "backslashreplace").decode()
    return text if len(text) <= _GIVEN_SHOWN else f"{text[:_GIVEN_SHOWN]}… ({len(text):,} characters)"
