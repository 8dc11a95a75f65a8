"""What a client may ask for: models, limits and size rules, with the texts that every surface shows.

Limits are gpt-image-2's: sizes in multiples of 16 pixels, edges up to 3840, ratio up to 3:1, 655,360 to 8,294,400
pixels; 1 to 10 images; prompts of 1 to 32,000 characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Final, Literal, LiteralString, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from imagequeue.errors import InvalidRequest, Violation

EDGE_STEP: Final = 16
MAX_EDGE: Final = 3840
MAX_RATIO: Final = 3
MIN_PIXELS: Final = 655_360
MAX_PIXELS: Final = 8_294_400
MAX_PROMPT: Final = 32_000
MAX_IMAGES: Final = 10
MAX_FILENAME_PREFIX: Final = 60
MAX_USER: Final = 256
PRESET_SIZES: Final = ("1024x1024", "1536x1024", "1024x1536")
_GIVEN_SHOWN: Final = 80
_VIOLATIONS_SHOWN: Final = 20
"""A body of 100,000 unknown fields must not cost 100,000 explanations."""

_SIZE_PATTERN: Final = re.compile(r"(\d{1,9})\s*[xX×]\s*(\d{1,9})")


def parse_size(size: str) -> tuple[int, int] | None:
    """Width and height in pixels of a canonical size, None for `auto`."""
    if size == "auto":
        return None
    width, _, height = size.partition("x")
    return int(width), int(height)


def _canonical_size(value: str) -> str:
    text = value.strip()
    if text.lower() == "auto":
        return "auto"
    match = _SIZE_PATTERN.fullmatch(text)
    if match is None:
        raise _broken("size_form", "must be 'auto' or WIDTHxHEIGHT in pixels", "1536x1024")
    width, height = int(match[1]), int(match[2])
    nearest = _nearest_allowed(width, height)
    if width % EDGE_STEP or height % EDGE_STEP:
        raise _broken("size_step", f"both edges must be multiples of {EDGE_STEP}", nearest)
    if max(width, height) > MAX_EDGE:
        raise _broken("size_edge", f"no edge may be longer than {MAX_EDGE} pixels", nearest)
    if max(width, height) > MAX_RATIO * min(width, height):
        raise _broken("size_ratio", f"the aspect ratio must lie within 1:{MAX_RATIO} and {MAX_RATIO}:1", nearest)
    if not MIN_PIXELS <= width * height <= MAX_PIXELS:
        rule = f"width × height must lie within {MIN_PIXELS:,} and {MAX_PIXELS:,} pixels"
        raise _broken("size_pixels", rule, nearest)
    return f"{width}x{height}"


def _nearest_allowed(width: int, height: int) -> str:
    """An allowed size of about the same shape and area, as the example in a refusal."""
    ratio = min(max((width or 1) / (height or 1), 1 / MAX_RATIO), MAX_RATIO)
    pixels = min(max(width * height, MIN_PIXELS), MAX_PIXELS)
    exact_height = (pixels / ratio) ** 0.5
    for candidate_height in _steps_around(exact_height):
        for candidate_width in _steps_around(candidate_height * ratio):
            shape_ok = max(candidate_width, candidate_height) <= MAX_RATIO * min(candidate_width, candidate_height)
            if shape_ok and MIN_PIXELS <= candidate_width * candidate_height <= MAX_PIXELS:
                return f"{candidate_width}x{candidate_height}"
    return PRESET_SIZES[0]


def _steps_around(length: float) -> list[int]:
    nearest = round(length / EDGE_STEP) * EDGE_STEP
    candidates = [nearest + offset * EDGE_STEP for offset in (0, 1, -1, 2, -2)]
    return [candidate for candidate in candidates if EDGE_STEP <= candidate <= MAX_EDGE]


def _lower_trimmed(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _not_transparent(value: object) -> object:
    if value == "transparent":
        rule = "gpt-image-2 does not support transparent backgrounds: use 'auto' or 'opaque', or another model"
        raise _broken("background_transparent", rule, "opaque")
    return value


def _filename_prefix(value: str) -> str | None:
    """Letters, digits and hyphens of the given label, at most 60; None when nothing is left."""
    plain = unicodedata.normalize("NFKD", value).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-")[:MAX_FILENAME_PREFIX].strip("-")
    return slug or None


def _sendable(value: str) -> str:
    if not value.strip():
        raise _broken("prompt_blank", "must say what to paint", "A lighthouse at dawn")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _broken("not_unicode", "must be valid Unicode (a lone surrogate was found)", "plain text") from None
    if "\x00" in value:
        raise _broken("nul_character", "must not contain the NUL character", "plain text")
    return value


def _broken(code: LiteralString, rule: str, example: str) -> PydanticCustomError:
    return PydanticCustomError(code, "{rule}", {"rule": rule, "example": example})


Prompt = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_PROMPT,
        description="Image description. gpt-image-2 handles very detailed prompts; use ALL CAPS or quote literal "
        "text you want rendered verbatim.",
        examples=["A lighthouse at dawn, oil on canvas"],
    ),
    AfterValidator(_sendable),
]
Size = Annotated[
    str,
    Field(
        max_length=40,
        description='Output dimensions. "auto" (default), one of the presets "1024x1024", "1536x1024", "1024x1536", '
        'or a custom "WxH" where both edges are multiples of 16, max edge ≤ 3840px, aspect ratio within 1:3–3:1, '
        "and total pixels 655,360–8,294,400. Outputs above 2K are beta.",
        examples=["1536x1024"],
    ),
    AfterValidator(_canonical_size),
]
Quality = Annotated[
    Literal["auto", "low", "medium", "high"],
    BeforeValidator(_lower_trimmed),
    Field(
        description='Render quality. "low" is fastest and cheapest, "high" the most detailed; "auto" (default) lets '
        "the model pick.",
        examples=["medium"],
    ),
]
ImageCount = Annotated[
    int,
    Field(
        ge=1,
        le=MAX_IMAGES,
        strict=True,
        description="How many images to generate (1–10). Each counts toward rate limits and cost.",
        examples=[1],
    ),
]
Background = Annotated[
    Literal["auto", "opaque"],
    BeforeValidator(_not_transparent),
    BeforeValidator(_lower_trimmed),
    Field(
        description='Background behavior. "opaque" forces a filled background; "auto" lets the model pick. '
        "gpt-image-2 does NOT support transparent backgrounds — use a different model for that.",
        examples=["opaque"],
    ),
]
OutputFormat = Annotated[
    Literal["png", "jpeg", "webp"],
    BeforeValidator(_lower_trimmed),
    Field(
        description='File format. "png" (default, lossless), "jpeg" (smaller, lossy), "webp" (best compression). '
        "When omitted on continue_edit_session, the session's current format is kept.",
        examples=["webp"],
    ),
]
OutputCompression = Annotated[
    int,
    Field(
        ge=0,
        le=100,
        strict=True,
        description="Compression level 0–100 for jpeg/webp outputs. Ignored for png. Defaults to 100 (minimal "
        "compression).",
        examples=[85],
    ),
]
Moderation = Annotated[
    Literal["auto", "low"],
    BeforeValidator(_lower_trimmed),
    Field(description='Content filtering. "auto" (default) or "low" (less restrictive).', examples=["auto"]),
]
FilenamePrefix = Annotated[
    str,
    Field(
        max_length=1000,
        description='Short label appended to the generated filename so you can find it later (e.g. "hero-banner"). '
        "Letters/digits/hyphens only; auto-sanitized.",
        examples=["hero-banner"],
    ),
    AfterValidator(_filename_prefix),
]
User = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_USER,
        description="Optional end-user identifier forwarded to OpenAI for abuse monitoring. Pass a stable hashed user "
        "ID, not PII.",
        examples=["u-5f3a9c"],
    ),
    AfterValidator(_sendable),
]


class GenerateRequest(BaseModel):
    """Text to image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Annotated[Literal["generate"], Field(description="Kind of job.", examples=["generate"])] = "generate"
    prompt: Prompt
    size: Size = "auto"
    quality: Quality = "auto"
    n: ImageCount = 1
    background: Background = "auto"
    output_format: OutputFormat = "png"
    output_compression: OutputCompression | None = None
    moderation: Moderation = "auto"
    filename_prefix: FilenamePrefix | None = None
    user: User | None = None

    def notes(self) -> list[str]:
        """What will not be done as asked."""
        if self.output_format == "png" and self.output_compression is not None:
            return ["output_compression is ignored for png."]
        return []


def parse_request(data: Mapping[str, object]) -> GenerateRequest:
    """Check what a client sent.

    Raises:
        InvalidRequest: with one violation for each broken rule.
    """
    try:
        return GenerateRequest.model_validate(data)
    except ValidationError as error:
        raise InvalidRequest(violations(error, GenerateRequest)) from error


def violations(error: ValidationError, model: type[BaseModel]) -> list[Violation]:
    """Pydantic's complaints as rules with a value that would pass, taken from the model's own examples."""
    return [_violation(problem, model) for problem in error.errors(include_url=False)[:_VIOLATIONS_SHOWN]]


def _violation(problem: ErrorDetails, model: type[BaseModel]) -> Violation:
    location = [str(part) for part in problem["loc"]]
    field = location[0] if location else "body"
    context = problem.get("ctx", {})
    example = context.get("example", _example(model, field))
    given = "nothing" if problem["type"] == "missing" else shown(problem["input"])
    rule = problem["msg"]
    if problem["type"] == "extra_forbidden":
        rule, example = "is not a field of this request", ", ".join(model.model_fields)
    return Violation(field=shown(field), rule=rule, given=given, example=str(example))


def _example(model: type[BaseModel], field: str) -> object:
    properties = cast("dict[str, dict[str, object]]", model.model_json_schema().get("properties", {}))
    schema = properties.get(field, {})
    options = cast("list[dict[str, object]]", schema.get("anyOf", [schema]))
    examples = cast("list[object]", schema.get("examples") or options[0].get("examples") or ["see /docs"])
    return examples[0]


def shown(value: object) -> str:
    """A value as an error may quote it: printable, and short whatever its size."""
    text = (value or "an empty text") if isinstance(value, str) else repr(value)
    text = text.encode("ascii", "backslashreplace").decode() if not text.isprintable() else text
    return text if len(text) <= _GIVEN_SHOWN else f"{text[:_GIVEN_SHOWN]}… ({len(text):,} characters)"
