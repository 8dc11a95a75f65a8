"""What goes to and comes from `POST /v1/uploads`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imagequeue.errors import InvalidRequest
from imagequeue.input_images import MAX_INPUT_BYTES, InputImage
from imagequeue.inputs import PresignedUpload
from imagequeue.requests import violations
from imagequeue.views import Timestamp, utc

_EXAMPLE_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

Reference = Annotated[
    str,
    Field(description="What a job names the image by.", examples=[f"upload:{_EXAMPLE_SHA256}"]),
]


class UploadRequest(BaseModel):
    """Announces a file that the client will PUT into storage itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str = Field(
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of the file, in lower-case hexadecimal. The file is compared with it at its first use.",
        examples=[_EXAMPLE_SHA256],
    )
    size_bytes: int = Field(
        ge=1, lt=MAX_INPUT_BYTES, strict=True, description="Size of the file in bytes.", examples=[2_411_724]
    )


class UploadedImage(BaseModel):
    """An image that was checked and is kept."""

    model_config = ConfigDict(frozen=True)

    image: Reference
    mime_type: str = Field(description="By its bytes.", examples=["image/png"])
    size_bytes: int = Field(description="Size of the file in bytes.", examples=[2_411_724])
    width: int = Field(description="In pixels, as stored.", examples=[1536])
    height: int = Field(description="In pixels, as stored.", examples=[1024])
    expires_at: Timestamp = Field(
        description="When it is deleted at the earliest; each job that names it puts that off."
    )

    @classmethod
    def of(cls, image: InputImage, expires_at: int) -> Self:
        """The answer for an image that is kept until `expires_at` (ms)."""
        return cls(
            image=f"upload:{image.sha256}",
            mime_type=image.mime_type,
            size_bytes=image.size_bytes,
            width=image.width,
            height=image.height,
            expires_at=utc(expires_at),
        )


class UploadTarget(BaseModel):
    """Where to PUT the announced file; it is checked when a job first names it."""

    model_config = ConfigDict(frozen=True)

    image: Reference
    upload_url: str = Field(description="Presigned URL.")
    method: Literal["PUT"] = Field(default="PUT", description="The HTTP method to use.")
    headers: dict[str, str] = Field(description="Headers to send with the file, and no others.")
    expires_in_seconds: int = Field(description="How long the URL works.", examples=[900])

    @classmethod
    def of(cls, sha256: str, upload: PresignedUpload) -> Self:
        """The answer for an announced file."""
        return cls(
            image=f"upload:{sha256}",
            upload_url=upload.url,
            headers=upload.headers,
            expires_in_seconds=upload.expires_in_seconds,
        )


def parse_upload_request(data: Mapping[str, object]) -> UploadRequest:
    """Check what a client announces.

    Raises:
        InvalidRequest: with one violation for each broken rule.
    """
    try:
        return UploadRequest.model_validate(data)
    except ValidationError as error:
        raise InvalidRequest(violations(error, UploadRequest)) from error
