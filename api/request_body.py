"""Reading a JSON body strictly: what is ambiguous or abusive is refused, never guessed at."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from flask import Flask, Response, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest, ClientDisconnected

from api.context import the_settings
from imagequeue.errors import ImageQueueError
from imagequeue.strict_json import bytes_besides_data_urls, parse_object

MAX_DRAINED_BYTES: Final = 16 * 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024
_UPLOAD_HINT: Final = " Bring large images with POST /v1/uploads, and name them by upload:<sha256>."


class UnsupportedMediaType(ImageQueueError):
    """The body is declared as something else than plain JSON."""

    code = "unsupported_media_type"


class BodyTooLarge(ImageQueueError):
    """The body is larger than the setting allows."""

    code = "body_too_large"


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
    return parse_object(_read_body(with_images=with_images), example='{"prompt": "A lighthouse at dawn"}')


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
    if len(body) > plain_limit and (plain := bytes_besides_data_urls(body)) > plain_limit:
        raise BodyTooLarge(f"The body may have {plain_limit:,} bytes besides data: URLs; given {plain:,}.{hint}")
    return body


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
