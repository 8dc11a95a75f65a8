"""Reading a JSON body strictly: what is ambiguous or abusive is refused, never guessed at."""

from __future__ import annotations

import json
import re
from collections import Counter
from contextlib import suppress
from typing import Final, NoReturn, cast

from flask import Flask, Response, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest, ClientDisconnected

from api.context import the_settings
from imagequeue.errors import ImageQueueError, InvalidRequest, Violation
from imagequeue.requests import shown

MAX_DEPTH: Final = 32
"""Arrays and objects within one another. Requests need 2; without a limit, showing the value overflows the stack."""

MAX_DRAINED_BYTES: Final = 16 * 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024
_UPLOAD_HINT: Final = " Bring large images with POST /v1/uploads, and name them by upload:<sha256>."
_DATA_URL: Final = re.compile(rb'"data:(?:[^"\\]++|\\/)*+"', re.IGNORECASE)
"""A data: URL as a JSON string. No match and no attempt runs past a quote, so that finding all takes linear time."""
_SMALL_BYTES: Final = 1024
"""A text shorter than this counts as text even if it is a data: URL: millions of them would fill the memory."""


class UnsupportedMediaType(ImageQueueError):
    """The body is declared as something else than plain JSON."""

    code = "unsupported_media_type"


class BodyTooLarge(ImageQueueError):
    """The body is larger than the setting allows."""

    code = "body_too_large"


class MalformedJson(ImageQueueError):
    """The body is not JSON."""

    code = "malformed_json"


def has_body() -> bool:
    """Whether the current request brings anything."""
    return bool(request.content_length) or "Transfer-Encoding" in request.headers


def read_json_object(*, with_images: bool = False) -> dict[str, object]:
    """The current request's body.

    Args:
        with_images: data: URLs may come on top of `max_body_bytes`, up to `max_edit_body_bytes` in all.

    Raises:
        UnsupportedMediaType: it is not declared as application/json, or is compressed.
        BodyTooLarge: it is longer than the setting allows.
        MalformedJson: it is not JSON in UTF-8, or nested absurdly.
        InvalidRequest: it is JSON but no object, or an object has a key twice.
        BadRequest: it was cut off, or its chunks are malformed.
    """
    if request.mimetype != "application/json":
        given = request.mimetype or "no Content-Type"
        raise UnsupportedMediaType(f"The body must be sent with Content-Type: application/json; given {given}.")
    if encoding := request.headers.get("Content-Encoding"):
        raise UnsupportedMediaType(f"The body must not be encoded; given Content-Encoding: {encoding}.")
    value = _parsed(_read_body(with_images=with_images))
    if not isinstance(value, dict):
        raise _invalid("body", "must be a JSON object", _kind(value), '{"prompt": "A lighthouse at dawn"}')
    return cast("dict[str, object]", value)


def _read_body(*, with_images: bool) -> bytes:
    plain_limit = the_settings().max_body_bytes
    limit = max(plain_limit, the_settings().max_edit_body_bytes) if with_images else plain_limit
    hint = _UPLOAD_HINT if with_images else ""
    length = request.content_length or 0
    if length > limit:
        if length <= limit + MAX_DRAINED_BYTES:  # a client that still sends would lose the answer
            _discard(limit)
        raise BodyTooLarge(f"The body may have {limit:,} bytes; given {length:,} bytes.{hint}")
    # A chunked body has no length to go by, and a stream with a limit of its own would cut it off in silence.
    body = read_some(limit + 1)
    if len(body) > limit:
        raise BodyTooLarge(f"The body may have {limit:,} bytes; given more.{hint}")
    if len(body) < length:  # a whole text may be left of it, and it is not known what is missing
        raise BadRequest(f"The body was cut off: Content-Length says {length:,} bytes, {len(body):,} came.")
    # Text is parsed into what takes many times its room, a data: URL is not.
    if len(body) > plain_limit and (plain := _bytes_besides_data_urls(body)) > plain_limit:
        raise BodyTooLarge(f"The body may have {plain_limit:,} bytes besides data: URLs; given {plain:,}.{hint}")
    return body


def _bytes_besides_data_urls(body: bytes) -> int:
    lengths = (found.end() - found.start() for found in _DATA_URL.finditer(body))
    return len(body) - sum(length for length in lengths if length >= _SMALL_BYTES)


def read_some(count: int) -> bytes:
    """The next bytes of the current request's body, `count` at most; none at its end.

    Raises:
        BadRequest: it was cut off, or its chunks are malformed.
    """
    try:
        return request.stream.read(count)
    except (OSError, ParseException, ClientDisconnected) as error:
        raise BadRequest("The body was cut off, or its chunks are malformed.") from error


def drain_unread_bodies(app: Flask) -> None:
    """Read what the views of `app` leave of a body, up to 16 MiB.

    The server closes a connection with an unread body, and a client that still sends would lose its answer.
    """
    app.after_request(_drained)


def _drained(response: Response) -> Response:
    with suppress(BadRequest):
        _discard(MAX_DRAINED_BYTES)
    return response


def _discard(count: int) -> None:
    while count > 0 and (chunk := read_some(min(count, _CHUNK_BYTES))):
        count -= len(chunk)


def _parsed(body: bytes) -> object:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise MalformedJson(f"The body is not UTF-8: byte {error.start} is wrong.") from error
    try:
        value = cast("object", json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant))
    except json.JSONDecodeError as error:
        message = f"The body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        raise MalformedJson(message) from error
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:  # Python reads no integers of more than some thousand digits
        raise MalformedJson("The body has a number with too many digits.") from error
    if _deeper_than(value, MAX_DEPTH):
        raise _too_deep()
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise _invalid(shown(twice), "may be given once", "two values for one name", "one value")
    return found


def _no_constant(name: str) -> NoReturn:
    raise MalformedJson(f"The body is not JSON: {name} is no JSON number.")


def _too_deep() -> MalformedJson:
    return MalformedJson(f"The body is nested deeper than {MAX_DEPTH} levels.")


def _deeper_than(value: object, levels: int) -> bool:
    layer = [value]
    for _ in range(levels):
        layer = [child for parent in layer for child in _children(parent)]
        if not layer:
            return False
    return True


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(cast("dict[str, object]", value).values())
    return cast("list[object]", value) if isinstance(value, list) else []


def _kind(value: object) -> str:
    kinds = {"list": "an array", "str": "a string", "bool": "a boolean", "NoneType": "null"}
    return kinds.get(type(value).__name__, "a number")


def _invalid(field: str, rule: str, given: str, example: str) -> InvalidRequest:
    return InvalidRequest([Violation(field=field, rule=rule, given=given, example=example)])
