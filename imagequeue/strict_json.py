"""Reading JSON strictly: what is ambiguous or abusive is refused, never guessed at."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Final, NoReturn, cast

from imagequeue.errors import ImageQueueError, InvalidRequest, Violation
from imagequeue.requests import shown

MAX_DEPTH: Final = 32
"""Arrays and objects within one another. Requests need 2; without a limit, showing the value overflows the stack."""
_DATA_URL: Final = re.compile(rb'"data:(?:[^"\\]++|\\/)*+"', re.IGNORECASE)
"""A data: URL as a JSON string. No match and no attempt runs past a quote, so that finding all takes linear time."""
_SMALL_BYTES: Final = 1024
"""A text shorter than this counts as text even if it is a data: URL: millions of them would fill the memory."""


class MalformedJson(ImageQueueError):
    """A text is not JSON."""

    code = "malformed_json"


def parse_object(text: bytes, *, what: str = "body", example: str) -> dict[str, object]:
    """Read a JSON object; errors call it `The {what}`.

    Raises:
        MalformedJson: it is not JSON in UTF-8, or nested absurdly.
        InvalidRequest: it is JSON but no object, or an object has a key twice.
    """
    value = parse_json(text, what=what)
    if not isinstance(value, dict):
        raise _invalid(what, "must be a JSON object", _kind(value), example)
    return cast("dict[str, object]", value)


def parse_json(text: bytes, *, what: str = "body") -> object:
    """Read any JSON value; errors call it `The {what}`.

    Raises:
        MalformedJson: it is not JSON in UTF-8, or nested absurdly.
        InvalidRequest: an object has a key twice.
    """
    try:
        value = cast("object", _DECODER.decode(_decoded(text, what)))
    except json.JSONDecodeError as error:
        message = f"The {what} is not JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        raise MalformedJson(message) from error
    except RecursionError as error:
        raise _too_deep(what) from error
    except _Constant as error:
        raise MalformedJson(f"The {what} is not JSON: {error} is no JSON number.") from error
    except ValueError as error:  # Python reads no integers of more than some thousand digits
        raise MalformedJson(f"The {what} has a number with too many digits.") from error
    if _deeper_than(value, MAX_DEPTH):
        raise _too_deep(what)
    return value


def bytes_besides_data_urls(text: bytes) -> int:
    """How long a JSON text is without its data: URLs.

    Text is parsed into what takes many times its room, a data: URL is not.
    """
    lengths = (found.end() - found.start() for found in _DATA_URL.finditer(text))
    return len(text) - sum(length for length in lengths if length >= _SMALL_BYTES)


def _decoded(text: bytes, what: str) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise MalformedJson(f"The {what} is not UTF-8: byte {error.start} is wrong.") from error


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise _invalid(shown(twice), "may be given once", "two values for one name", "one value")
    return found


class _Constant(ValueError):
    """`NaN` or `Infinity`, which Python writes and reads as numbers."""


def _no_constant(name: str) -> NoReturn:
    raise _Constant(name)


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def _too_deep(what: str) -> MalformedJson:
    return MalformedJson(f"The {what} is nested deeper than {MAX_DEPTH} levels.")


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
