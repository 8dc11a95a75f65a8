"""The bodies of OpenAI's image requests: the same fields as everywhere in the queue, under OpenAI's names."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from imagequeue.request_fields import (
    MAX_INPUTS,
    MAX_SOURCE,
    Background,
    ImageCount,
    Moderation,
    OutputCompression,
    OutputFormat,
    PartialImages,
    Prompt,
    Quality,
    Size,
    User,
)


class ImageBody(BaseModel):
    """What both requests have. What is null counts as left out, as at OpenAI."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[str, Field(description="The model that the server is configured for; its only one.")] | None = None
    prompt: Prompt
    n: ImageCount = 1
    size: Size = "auto"
    quality: Quality = "auto"
    background: Background = "auto"
    output_format: OutputFormat = "png"
    output_compression: OutputCompression | None = None
    moderation: Moderation = "auto"
    user: User | None = None
    safety_identifier: User | None = None
    stream: Annotated[bool, Field(strict=True, description="Answer with server-sent events.")] = False
    partial_images: PartialImages = 0

    def common(self) -> dict[str, Any]:
        """What goes into the job as it is."""
        names = (
            "prompt",
            "n",
            "size",
            "quality",
            "background",
            "output_format",
            "output_compression",
            "partial_images",
        )
        given = self.model_dump(include=set(names))
        return {**given, "user": self.safety_identifier or self.user}


class ImageGeneration(ImageBody):
    """A request for text to image."""


class ImageReference(BaseModel):
    """An input image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_url: (
        Annotated[
            str,
            Field(
                min_length=1,
                max_length=MAX_SOURCE,
                description="An http(s) URL, a base64 data: URL, upload:<sha256> or job:<id>/<index>.",
            ),
        ]
        | None
    ) = None
    file_id: Annotated[str, Field(description="Not served: there is no Files API here.")] | None = None


class ImageEdit(ImageBody):
    """A request for images and text to image."""

    images: Annotated[
        tuple[ImageReference, ...],
        Field(min_length=1, max_length=MAX_INPUTS, description="1–8 input images; the mask applies to the first."),
    ]
    mask: ImageReference | None = None
