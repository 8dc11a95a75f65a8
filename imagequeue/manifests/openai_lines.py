"""The lines of OpenAI's Batch API: `custom_id`, `method`, `url` and the request's `body`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from imagequeue.errors import InvalidRequest, Violation
from imagequeue.openai_bodies import ImageBody, ImageEdit, ImageGeneration, ImageReference
from imagequeue.requests import EditRequest, GenerateRequest, JobRequest, parse_as, shown

_MARKS: Final = ("url", "method", "body")
Url = Literal["/v1/images/generations", "/v1/images/edits"]


class _Line(BaseModel):
    """What a line has besides its custom_id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Annotated[Literal["POST"], Field(examples=["POST"])]
    url: Annotated[Url, Field(examples=["/v1/images/generations"])]
    body: Annotated[dict[str, object], Field(examples=['{"prompt": "A lighthouse at dawn"}'])]


def is_openai_line(fields: Mapping[str, object]) -> bool:
    """Whether a line is written as for OpenAI's Batch API: no request of ours has such fields."""
    return any(name in fields for name in _MARKS)


def openai_request(fields: Mapping[str, object], model: str) -> JobRequest:
    """The request of a line in OpenAI's form; `model` is the only one that is served.

    Raises:
        InvalidRequest: with one violation for each broken rule.
    """
    line = parse_as(_Line, {name: value for name, value in fields.items() if name != "custom_id"})
    given = {name: value for name, value in line.body.items() if value is not None}  # null is left out, at OpenAI
    try:
        if line.url == "/v1/images/generations":
            body = parse_as(ImageGeneration, given)
            _refuse_unserved(body, model)
            return GenerateRequest(**body.common(), moderation=body.moderation)
        body = parse_as(ImageEdit, given)
        _refuse_unserved(body, model)
        return _edit(body)
    except InvalidRequest as error:
        within = [Violation(f"body.{each.field}", each.rule, each.given, each.example) for each in error.violations]
        raise InvalidRequest(within) from error


def _refuse_unserved(body: ImageBody, model: str) -> None:
    if body.model not in (None, model):
        raise _refusal("model", "must be the model of this server", shown(body.model), model)
    if body.stream or body.partial_images:
        field = "stream" if body.stream else "partial_images"
        raise _refusal(field, "is not for lines of a batch", "true" if body.stream else "more than 0", "left out")


def _edit(body: ImageEdit) -> EditRequest:
    if body.moderation != "auto":
        raise _refusal("moderation", "must be 'auto' for edits", body.moderation, "auto")
    images = tuple(_source(image, f"images[{index}]") for index, image in enumerate(body.images))
    mask = None if body.mask is None else _source(body.mask, "mask")
    return EditRequest(**body.common(), type="edit", images=images, mask=mask)


def _source(reference: ImageReference, field: str) -> str:
    if reference.image_url is None or reference.file_id is not None:
        given = "nothing" if reference.file_id is None else "file_id"
        raise _refusal(field, "must name the image by image_url: there is no Files API here", given, _SOURCE)
    return reference.image_url


_SOURCE: Final = '{"image_url": "upload:<sha256 from POST /v1/uploads>"}'


def _refusal(field: str, rule: str, given: str, example: str) -> InvalidRequest:
    return InvalidRequest([Violation(field, rule, given, example)])
