"""What a manifest holds before anything is checked: an object for each line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from imagequeue.errors import ImageQueueError, InvalidRequest, Violation
from imagequeue.strict_json import bytes_besides_data_urls, parse_object

BOM: Final = b"\xef\xbb\xbf"
"""Editors on Windows begin files with it."""
MAX_BLANK: Final = 100_000
"""Blank lines in a file: each takes its time."""
TOO_LONG_EXAMPLE: Final = "images by upload:<sha256> from POST /v1/uploads"
_EXAMPLE: Final = '{"custom_id": "dawn", "prompt": "A lighthouse at dawn"}'


@dataclass(frozen=True, slots=True)
class Entry:
    """A line's fields; None when it cannot be read, for the reasons in `violations`."""

    line: int
    fields: Mapping[str, object] | None
    violations: tuple[Violation, ...] = ()
    fatal: bool = False


def broken_entry(
    line: int, field: str, rule: str, given: str, example: str = _EXAMPLE, *, fatal: bool = False
) -> Entry:
    """A line that cannot be read."""
    return Entry(line, None, (Violation(field, rule, given, example),), fatal)


def too_many_blank(line: int) -> Entry:
    """The end of a manifest that goes on with nothing but blank lines."""
    return broken_entry(line, "manifest", f"may have {MAX_BLANK:,} blank lines", "more", "no blank lines", fatal=True)


def json_entry(line: int, text: bytes, plain_limit: int) -> Entry:
    """The fields in the JSON object `text`, which may have `plain_limit` bytes besides data: URLs."""
    if len(text) > plain_limit and (plain := bytes_besides_data_urls(text)) > plain_limit:
        rule = f"may have {plain_limit:,} bytes besides data: URLs"
        return broken_entry(line, "line", rule, f"{plain:,}")
    try:
        return Entry(line, parse_object(text, what="line", example=_EXAMPLE))
    except InvalidRequest as error:
        return Entry(line, None, error.violations)
    except ImageQueueError as error:
        return broken_entry(line, "line", "must be a JSON object", str(error))
