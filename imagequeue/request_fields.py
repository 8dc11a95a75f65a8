"""The fields of a request: one annotated type each, with its limits, rules and the text that every surface shows."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from imagequeue.sizes import broken, canonical_size

MAX_PROMPT: Final = 32_000
MAX_IMAGES: Final = 10
MAX_INPUTS: Final = 8
MAX_SOURCE: Final = 70_000_000
"""Characters of one image source: a data: URL of a 50 MB image in base64."""
MAX_FILENAME_PREFIX: Final = 60
MAX_USER: Final = 256
MAX_PARTIAL_IMAGES: Final = 3
MAX_WEBHOOK: Final = 2048


def _lower_trimmed(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _not_transparent(value: object) -> object:
    if value == "transparent":
        rule = "gpt-image-2 does not support transparent backgrounds: use 'auto' or 'opaque', or another model"
        raise broken("background_transparent", rule, "opaque")
    return value


def no_boolean(value: object) -> object:
    """For numbers that may come as text, from a query: true is not 1."""
    if isinstance(value, bool):
        raise broken("number", "must be a number", "20")
    return value


def _filename_prefix(value: str) -> str | None:
    """Letters, digits and hyphens of the given label, at most 60; None when nothing is left."""
    plain = unicodedata.normalize("NFKD", value).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-")[:MAX_FILENAME_PREFIX].strip("-")
    return slug or None


def _not_blank(value: str) -> str:
    if not value.strip():
        raise broken("blank", "must not be blank", "A lighthouse at dawn")
    return value


def _sendable(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise broken("not_unicode", "must be valid Unicode (a lone surrogate was found)", "plain text") from None
    if "\x00" in value:
        raise broken("nul_character", "must not contain the NUL character", "plain text")
    return value


def _one_if_partial(value: int, info: ValidationInfo) -> int:
    """The count of a request whose fields before it are valid: OpenAI streams no more than one image."""
    if value > 1 and info.data.get("partial_images"):
        raise broken("n_with_partial_images", "must be 1 with partial_images: OpenAI streams one image only", "1")
    return value


Prompt = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_PROMPT,
        description="Image description. gpt-image-2 handles very detailed prompts; use ALL CAPS or quote literal "
        "text you want rendered verbatim.",
        examples=["A lighthouse at dawn, oil on canvas"],
    ),
    AfterValidator(_not_blank),
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
    AfterValidator(canonical_size),
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
    AfterValidator(_one_if_partial),
]
PartialImages = Annotated[
    int,
    Field(
        ge=0,
        le=MAX_PARTIAL_IMAGES,
        strict=True,
        description="How many previews of the unfinished image to show while it is made (0–3). Each comes as an event "
        "`partial_image`, is listed in the job's `partial_images`, and costs 100 output tokens. OpenAI may give fewer. "
        "Only with n = 1.",
        examples=[2],
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
OnUnknownOutcome = Annotated[
    Literal["retry", "fail"],
    BeforeValidator(_lower_trimmed),
    Field(
        description="What to do after a call to OpenAI whose fate is not known (no answer came): `retry` calls once "
        "more and may pay twice, `fail` ends the job. Either way the attempt is shown. Default: the server's setting.",
        examples=["fail"],
    ),
]
Reuse = Annotated[
    bool,
    Field(
        strict=True,
        description="Whether the images of an identical earlier request of yours will do: then the job succeeds at "
        "once with copies of them, costs nothing, and names the earlier job in `reused_from` and `notes`. Otherwise, "
        "also while the earlier one still runs, it is a job as any other. Not looked for where an image is given by an "
        "http(s) URL.",
        examples=[True],
    ),
]
WebhookUrl = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_WEBHOOK,
        description="https:// URL that is told when the job has ended, by a signed POST (Standard Webhooks). With the "
        "first turn of a session: for all of its turns.",
        examples=["https://example.com/imagequeue"],
    ),
]
ImageSource = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_SOURCE,
        description="An image: upload:<sha256> from POST /v1/uploads, job:<id>/<index> for an image made here, an "
        "http(s):// URL, or a data:image/...;base64,... URL. PNG/WEBP/JPG, up to 50MB each.",
        examples=["upload:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    ),
]
InputImages = Annotated[
    tuple[ImageSource, ...],
    Field(
        min_length=1,
        max_length=MAX_INPUTS,
        description="1–8 input images; the mask, if any, applies to the first.",
        examples=[["job:job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z/0"]],
    ),
]
Mask = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_SOURCE,
        description="Optional PNG mask — fully transparent pixels mark the editable region. Must match the first input "
        "image's dimensions and be <4MB. Accepts the same source types as `images`.",
        examples=["upload:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    ),
]
ForkedTurn = Annotated[
    int,
    Field(
        ge=0,
        strict=True,
        description="Number of the turn whose image the new session goes on from; by default the last that succeeded. "
        "0 is the image that a forked session began with.",
        examples=[1],
    ),
]
