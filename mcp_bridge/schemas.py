"""What the tools take: the published parameters, on the same field types as every other surface of the queue."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Final, Literal, cast

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from imagequeue.request_fields import (
    MAX_INPUTS,
    MAX_SOURCE,
    Background,
    FilenamePrefix,
    ImageCount,
    Moderation,
    OutputCompression,
    OutputFormat,
    Prompt,
    Quality,
    Size,
    User,
)
from mcp_bridge.facts import Facts

MAX_AWAITED: Final = 20
"""Jobs that one call may wait for: what they hand over has to fit into one answer."""
_EXAMPLE_JOB: Final = "job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"

Source = Annotated[str, Field(min_length=1, max_length=MAX_SOURCE)]
Images = Annotated[
    tuple[Source, ...],
    Field(
        min_length=1,
        max_length=MAX_INPUTS,
        description="Input images. Each entry can be: an absolute file path, a relative path (resolved from CWD), a "
        "file:// URL, an http(s):// URL, or a data:image/...;base64,... URL. PNG/WEBP/JPG, up to 50MB each. Also "
        "job:<job_id>/<index> for an image made here, and upload:<sha256> of the REST API. 1–8 entries; the mask "
        "applies to the first.",
        examples=[["photos/room.jpg"]],
    ),
]
Mask = Annotated[
    Source,
    Field(
        description="Optional PNG mask — fully transparent pixels mark the editable region. Must match the first input "
        "image's dimensions and be <4MB. Accepts the same source types as `images`.",
        examples=["photos/room-mask.png"],
    ),
]
OutputDir = Annotated[
    str,
    Field(
        min_length=1,
        max_length=4096,
        description="Absolute or relative directory where generated images should be written. Defaults to "
        "$GPT_IMAGE_2_OUTPUT_DIR or a per-project subfolder under the OS config dir. The directory is created if "
        "missing. Existing files are never overwritten.",
        examples=["assets/generated"],
    ),
]
SessionId = Annotated[
    str,
    Field(
        max_length=200,
        description="The session id returned by start_edit_session or fork_edit_session.",
        examples=["ses_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"],
    ),
]
JobId = Annotated[str, Field(max_length=200, description="The job_id of an earlier result.", examples=[_EXAMPLE_JOB])]
JobIds = Annotated[
    tuple[Annotated[str, Field(max_length=200)], ...],
    Field(
        min_length=1,
        max_length=MAX_AWAITED,
        description=f"The job_id of each job to wait for, 1–{MAX_AWAITED}.",
        examples=[[_EXAMPLE_JOB]],
    ),
]


class Input(BaseModel):
    """A tool's arguments. Parameters that may be left out may also be null."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class GenerateImage(Input):
    """Parameters of generate_image."""

    prompt: Prompt
    size: Size = "auto"
    quality: Quality = "auto"
    n: ImageCount | None = None
    background: Background = "auto"
    moderation: Moderation = "auto"
    output_format: OutputFormat | None = None
    output_compression: OutputCompression | None = None
    output_dir: OutputDir | None = None
    filename_prefix: FilenamePrefix | None = None
    user: User | None = None


class EditImage(Input):
    """Parameters of edit_image."""

    prompt: Prompt
    images: Images
    mask: Mask | None = None
    size: Size = "auto"
    quality: Quality = "auto"
    n: ImageCount | None = None
    background: Background = "auto"
    output_format: OutputFormat | None = None
    output_compression: OutputCompression | None = None
    output_dir: OutputDir | None = None
    filename_prefix: FilenamePrefix | None = None
    user: User | None = None


class StartEditSession(Input):
    """Parameters of start_edit_session."""

    prompt: Prompt
    images: Images
    mask: Mask | None = None
    size: Size = "auto"
    quality: Quality = "auto"
    background: Background = "auto"
    output_format: OutputFormat | None = None
    output_compression: OutputCompression | None = None
    output_dir: OutputDir | None = None
    filename_prefix: FilenamePrefix | None = None
    user: User | None = None


class ContinueEditSession(Input):
    """Parameters of continue_edit_session."""

    session_id: SessionId
    prompt: Prompt
    size: Size = "auto"
    quality: Quality = "auto"
    background: Background = "auto"
    output_format: OutputFormat | None = None
    output_compression: OutputCompression | None = None
    filename_prefix: FilenamePrefix | None = None
    user: User | None = None


class ListEditSessions(Input):
    """list_edit_sessions takes nothing."""


class OneSession(Input):
    """Parameters of the tools that are about one session."""

    session_id: SessionId


class ForkEditSession(OneSession):
    """Parameters of fork_edit_session."""

    turn: (
        Annotated[
            int,
            Field(
                ge=0,
                strict=True,
                description="Number of the turn whose image the copy goes on from; by default the last that "
                "succeeded. 0 is the image that a forked session began with.",
                examples=[1],
            ),
        ]
        | None
    ) = None


class WaitForJobs(Input):
    """Parameters of wait_for_jobs."""

    job_ids: JobIds
    wait_for: Annotated[
        Literal["all", "any"],
        Field(
            description='"all" (default) answers when every job has ended, "any" as soon as one has.', examples=["all"]
        ),
    ] = "all"


class CancelJob(Input):
    """Parameters of cancel_job."""

    job_id: JobId


class EstimateCost(Input):
    """Parameters of estimate_cost."""

    prompt: Prompt
    size: Size = "auto"
    quality: Quality = "auto"
    n: ImageCount | None = None
    input_images: Annotated[
        int,
        Field(
            ge=0,
            le=MAX_INPUTS,
            strict=True,
            description="How many images the call would be given: 0 (default) for generate_image, 1 for a session's "
            "further turns.",
            examples=[1],
        ),
    ] = 0


class InputSchema(GenerateJsonSchema):
    """A model's schema as its reader needs it: no titles, and what may be left out shows its own type only."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Pass over the null, which only says that nothing was given."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Pass over a default of null, for the same reason."""
        if schema.get("default", ...) is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def field_title_should_be_set(self, schema: Any) -> bool:
        """A title that repeats the name says nothing."""
        return False


def input_schema(model: type[Input], facts: Facts) -> dict[str, Any]:
    """The JSON schema that the tool publishes, in words that hold for this bridge."""
    schema = _schema(model)
    for name, words in ({} if facts.local else _over_http(facts)).items():
        if name in schema.get("properties", {}):
            schema["properties"][name] |= words
    return schema


@cache
def types_of(model: type[Input]) -> Mapping[str, str | None]:
    """The JSON type of each parameter."""
    properties = cast("dict[str, dict[str, Any]]", _schema(model).get("properties", {}))
    return {name: value.get("type") for name, value in properties.items()}


def _schema(model: type[Input]) -> dict[str, Any]:
    schema = model.model_json_schema(schema_generator=InputSchema)
    for noise in ("title", "description"):
        schema.pop(noise, None)
    return schema


def _over_http(facts: Facts) -> dict[str, dict[str, Any]]:
    """What is different where the client's files are out of reach."""
    return {
        "images": {
            "description": "Input images, 1–8. Each entry can be: an http(s):// URL, upload:<sha256> as POST "
            "/v1/uploads of the REST API answers when it is sent a file, job:<job_id>/<index> for an image made here, "
            f"or a data:image/...;base64,... URL (at most {facts.data_mb} MB a call). Paths are refused: this "
            "server does not see your files. PNG/WEBP/JPG, up to 50MB each. The mask applies to the first.",
            "examples": [["https://example.com/room.jpg"]],
        },
        "mask": {"examples": ["https://example.com/room-mask.png"]},
        "output_dir": {
            "description": "Not available here: this server is reached over HTTP and writes no files, so any value is "
            "refused. Take the images from the links in the answer.",
            "examples": [],
        },
    }
