"""From the bodies of OpenAI's image requests to jobs; what breaks a rule is refused in OpenAI's words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from api.openai_wire.errors import OpenAIError
from imagequeue.openai_bodies import ImageBody, ImageEdit, ImageGeneration, ImageReference
from imagequeue.requests import EditRequest, GenerateRequest, JobRequest, violations

_CODES: Final[Mapping[str, str]] = {
    "missing": "missing_required_parameter",
    "extra_forbidden": "unknown_parameter",
    "greater_than_equal": "integer_below_min_value",
    "less_than_equal": "integer_above_max_value",
    "string_too_long": "string_above_max_length",
    "string_too_short": "empty_string",
    "blank": "empty_string",
    "too_long": "array_above_max_length",
    "too_short": "missing_required_parameter",
}
"""OpenAI's codes for what is wrong with a value, by pydantic's."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a client wants: a job, and its answer as one object or as events whose names begin with `event`."""

    request: JobRequest
    streamed: bool
    event: Literal["image_generation", "image_edit"]


Body = TypeVar("Body", bound=ImageBody)


def generation_order(fields: Mapping[str, object], model: str) -> Order:
    """Check a request for text to image.

    Raises:
        OpenAIError: a rule is broken.
    """
    body = _checked(ImageGeneration, fields, model)
    request = GenerateRequest(**body.common(), moderation=body.moderation)
    return Order(request, body.stream, "image_generation")


def edit_order(fields: Mapping[str, object], model: str, *, images_name: str = "images") -> Order:
    """Check a request for images and text to image, in its JSON form; errors call the images `images_name`.

    Raises:
        OpenAIError: a rule is broken.
    """
    body = _checked(ImageEdit, fields, model, images_name)
    if body.moderation != "auto":
        raise OpenAIError("Edits take 'auto' only here.", code="unsupported_value", param="moderation")
    sources = [_source(reference, f"{images_name}[{index}]") for index, reference in enumerate(body.images)]
    mask = None if body.mask is None else _source(body.mask, "mask")
    request = EditRequest(**body.common(), type="edit", images=tuple(sources), mask=mask)
    return Order(request, body.stream, "image_edit")


def _checked(form: type[Body], fields: Mapping[str, object], model: str, images_name: str = "images") -> Body:
    given = {name: value for name, value in fields.items() if value is not None}
    asked = given.get("model", model)
    if isinstance(asked, str) and asked != model:
        message = f"The model '{asked}' does not exist here: this server makes images with '{model}'."
        raise OpenAIError(message, 404, "model_not_found", "model")
    if given.get("stream") is True and given.get("n", 1) != 1:
        raise OpenAIError("Streaming is only supported with n=1.", param="n")
    try:
        body = form.model_validate(given)
    except ValidationError as error:
        raise _refusal(error, form, images_name) from error
    if body.partial_images and not body.stream:
        message = "'partial_images' is only supported when 'stream' is true."
        raise OpenAIError(message, code="invalid_value", param="partial_images")
    if body.output_format == "png" and body.output_compression not in (None, 100):
        message = "Compression less than 100 is not supported for PNG output format."
        raise OpenAIError(message, code="invalid_png_output_compression", param="output_compression")
    return body


def _refusal(error: ValidationError, form: type[BaseModel], images_name: str) -> OpenAIError:
    problem, violation = error.errors(include_url=False)[0], violations(error, form)[0]
    param = re.sub(r"^images\b", images_name, _param(problem))
    code = _CODES.get(problem["type"]) or ("invalid_type" if problem["type"].endswith("_type") else "invalid_value")
    match code:
        case "missing_required_parameter":
            message = f"Missing required parameter: '{param}'."
        case "unknown_parameter":
            message = f"Unknown parameter: '{param}'."
        case _:
            given = f"given '{violation.given}', for example '{violation.example}'"
            message = f"Invalid '{param}': {violation.rule}; {given}."
    return OpenAIError(message, code=code, param=param)


def _param(problem: ErrorDetails) -> str:
    """`images[0].image_url`."""
    name = ""
    for part in problem["loc"]:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return name


def _source(reference: ImageReference, param: str) -> str:
    if reference.file_id is not None:
        message = (
            f"Invalid '{param}.file_id': there is no Files API here. Send the file as a multipart form, or name it by "
            "'image_url': an http(s) URL, a data: URL, or upload:<sha256> from POST /v1/uploads."
        )
        raise OpenAIError(message, code="unsupported_value", param=f"{param}.file_id")
    if reference.image_url is None:
        message = f"Invalid '{param}': give 'image_url'."
        raise OpenAIError(message, code="missing_required_parameter", param=f"{param}.image_url")
    return reference.image_url
