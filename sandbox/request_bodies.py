"""Bodies of requests: JSON objects and multipart forms, or the refusal of a body that is neither."""

from __future__ import annotations

import asyncio
import io
import json
from dataclasses import dataclass
from typing import IO, Final, NoReturn, cast

from starlette.requests import Request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

from sandbox.api_errors import ApiError
from sandbox.values import Fields, json_type

FORM: Final = "multipart/form-data"
_JSON: Final = "application/json"
_MOST_PARTS: Final = 1000


@dataclass(frozen=True, slots=True)
class Upload:
    """A file in a form; `media_type` is what its part claims, in lower case, empty when it claims nothing."""

    content: bytes
    media_type: str
    filename: str


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart form: texts and files by name, in the order they were sent."""

    texts: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, Upload], ...]

    def fields(self) -> dict[str, object]:
        """The texts by name.

        Raises:
            ApiError: 400 `duplicate_parameter`, a name comes twice.
        """
        fields: dict[str, object] = {}
        for name, text in self.texts:
            if name in fields:
                raise duplicate(name)
            fields[name] = text
        return fields


def duplicate(name: str) -> ApiError:
    """The refusal of a parameter that was sent twice."""
    message = (
        f"Duplicate parameter: '{name}'. You provided multiple values for this parameter, whereas only one is allowed. "
        f"If you are trying to provide a list of values, use the array syntax instead e.g. '{name}[]=<value>'."
    )
    return ApiError(message, code="duplicate_parameter", param=name)


def media_type_of(request: Request) -> str:
    """The request's content type without parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_json(request: Request) -> Fields | ApiError:
    """The request's parameters, or the refusal of a body that has none."""
    body = await request.body()
    if media_type_of(request) != _JSON:
        return unsupported(request, _JSON)
    try:
        document: object = json.loads(body, parse_constant=_refuse_constant)
        json.dumps(document, ensure_ascii=False).encode()  # finds lone surrogates, which are not Unicode text
    except (ValueError, RecursionError):
        return ApiError("We could not parse the JSON body of your request: it is not valid JSON.")
    if not isinstance(document, dict):
        message = f"Invalid type for the request body: expected an object, but got {json_type(document)} instead."
        return ApiError(message, code="invalid_type")
    return cast(Fields, document)


async def read_form(request: Request) -> Form | ApiError:
    """The request's form, or the refusal of a body that is none; parsed in a thread, because files are large."""
    body = await request.body()
    if media_type_of(request) != FORM:
        return unsupported(request, FORM)
    try:
        return await asyncio.to_thread(_parse_form, body, request.headers["content-type"])
    except (ValueError, RequestEntityTooLarge):
        return ApiError("We could not parse the body of your request: it is not a valid multipart form.")


def unsupported(request: Request, *accepted: str) -> ApiError:
    """The refusal of the request's content type."""
    types = " and ".join(f"'{media_type}'" for media_type in accepted)
    message = f"Unsupported content type: '{request.headers.get('content-type', '')}'. This endpoint accepts {types}."
    return ApiError(message, code="unsupported_content_type")


def _parse_form(body: bytes, content_type: str) -> Form:
    media_type, options = parse_options_header(content_type)
    parser = FormDataParser(stream_factory=_memory_file, max_form_parts=_MOST_PARTS, silent=False)
    _, texts, files = parser.parse(io.BytesIO(body), media_type, len(body), options)
    uploads = [
        (name, Upload(file.stream.read(), (file.mimetype or "").lower(), file.filename or ""))
        for name, file in files.items(multi=True)
    ]
    return Form(tuple(texts.items(multi=True)), tuple(uploads))


def _memory_file(
    total_content_length: int | None, content_type: str | None, filename: str | None, content_length: int | None = None
) -> IO[bytes]:
    return io.BytesIO()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
