"""What OpenAI's API answers, in its own shapes."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, Field

_CREATED: Final = 1_776_729_600  # 2026-04-21, the day in the name of gpt-image-2's snapshot


class EncodedImage(BaseModel):
    """One image."""

    b64_json: str = Field(description="The image's file in base64.")


class InputTokens(BaseModel):
    """Of what the input tokens are."""

    text_tokens: int
    image_tokens: int


class ImagesUsage(BaseModel):
    """Tokens as OpenAI counted them."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: InputTokens | None = None


class ImagesAnswer(BaseModel):
    """Images in OpenAI's form. What OpenAI did not say is left out."""

    created: int = Field(description="Seconds since 1970.")
    data: tuple[EncodedImage, ...]
    background: str | None = None
    output_format: str | None = None
    size: str | None = None
    quality: str | None = None
    usage: ImagesUsage | None = None


class Model(BaseModel):
    """A model."""

    id: str = Field(examples=["gpt-image-2"])
    object: str = "model"
    created: int = Field(default=_CREATED, description="Seconds since 1970.")
    owned_by: str = "openai"


class ModelList(BaseModel):
    """All models."""

    object: str = "list"
    data: tuple[Model, ...]
