"""A further look at the requests of lines, by whoever knows more than their form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final

from imagequeue.errors import InvalidInput, InvalidRequest, Violation
from imagequeue.manifests.lines import BadLine, ManifestLine
from imagequeue.requests import JobRequest

_EXAMPLE: Final = "upload:<sha256 from POST /v1/uploads>"


def with_requests(
    lines: Iterable[ManifestLine | BadLine], change: Callable[[JobRequest], JobRequest]
) -> Iterator[ManifestLine | BadLine]:
    """The lines with what `change` makes of their requests; bad ones where it raises InvalidRequest or InvalidInput."""
    for line in lines:
        yield line if isinstance(line, BadLine) else _changed(line, change)


def _changed(line: ManifestLine, change: Callable[[JobRequest], JobRequest]) -> ManifestLine | BadLine:
    try:
        return replace(line, request=change(line.request))
    except InvalidRequest as error:
        found = error.violations
    except InvalidInput as error:
        found = (Violation(error.field, str(error).removeprefix(f"{error.field}: "), "what was named", _EXAMPLE),)
    return BadLine(line.number, line.line, found, line.custom_id)
