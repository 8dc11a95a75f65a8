"""From a manifest's bytes to checked lines, one at a time: memory does not grow with the manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Literal

from imagequeue.errors import InvalidRequest, Violation
from imagequeue.manifests.csv_rows import csv_rows
from imagequeue.manifests.entries import Entry
from imagequeue.manifests.json_array import json_array
from imagequeue.manifests.json_lines import json_lines
from imagequeue.manifests.lines import MAX_CUSTOM_ID, MAX_LINES, BadLine, ManifestLine
from imagequeue.manifests.openai_lines import is_openai_line, openai_request
from imagequeue.manifests.templates import Template
from imagequeue.requests import JobRequest, parse_request, shown
from imagequeue.settings import DEFAULT_MODEL

ManifestKind = Literal["jsonl", "json", "csv"]


@dataclass(frozen=True, slots=True)
class LineLimits:
    """How long one line may be, in bytes: without its data: URLs, and with them."""

    plain: int
    with_images: int


def read_manifest(
    stream: BinaryIO,
    kind: ManifestKind,
    limits: LineLimits,
    *,
    template: Template | None = None,
    model: str = DEFAULT_MODEL,
) -> Iterator[ManifestLine | BadLine]:
    """Check a manifest line by line.

    Args:
        stream: of bytes, at the manifest's beginning.
        kind: how it is written: JSONL, a JSON array or CSV. An object may be a request, or a line of OpenAI's Batch
            API.
        limits: of one line.
        template: makes a request of each line, which holds values then.
        model: the only one that lines of OpenAI's form may name.

    Yields:
        The lines in their order. After a fatal bad line nothing follows.
    """
    return checked(read_entries(stream, kind, limits), template=template, model=model)


def read_entries(stream: BinaryIO, kind: ManifestKind, limits: LineLimits) -> Iterator[Entry]:
    """The objects in a manifest, unchecked."""
    match kind:
        case "jsonl":
            return json_lines(stream, limits.plain, limits.with_images)
        case "json":
            return json_array(stream, limits.plain, limits.with_images)
        case "csv":
            return csv_rows(stream)


def checked(
    entries: Iterable[Entry], *, template: Template | None = None, model: str = DEFAULT_MODEL
) -> Iterator[ManifestLine | BadLine]:
    """Make requests of entries, as `read_manifest`. There may be so many of them, and no custom_id twice."""
    entries = template.expand(entries) if template else entries
    seen: dict[bytes, int] = {}
    number = -1
    for number, entry in enumerate(entries):
        if number == MAX_LINES:
            rule = f"may have at most {MAX_LINES:,} lines"
            yield BadLine(number, entry.line, (Violation("manifest", rule, "more", "two manifests"),), fatal=True)
            return
        line = _checked_line(number, entry, seen, model)
        yield line
        if isinstance(line, BadLine) and line.fatal:
            return
    if number < 0:
        rule = "must have at least one line"
        yield BadLine(0, 1, (Violation("manifest", rule, "none", '{"prompt": "A lighthouse at dawn"}'),), fatal=True)


def _checked_line(number: int, entry: Entry, seen: dict[bytes, int], model: str) -> ManifestLine | BadLine:
    if entry.fields is None:
        return BadLine(number, entry.line, entry.violations, fatal=entry.fatal)
    custom_id, violations = _custom_id(number, entry.line, entry.fields, seen)
    try:
        request = _request(entry.fields, model)
    except InvalidRequest as error:
        return BadLine(number, entry.line, (*violations, *error.violations), custom_id)
    if violations:
        return BadLine(number, entry.line, violations, custom_id)
    return ManifestLine(number, custom_id, request, entry.line)


def _request(fields: Mapping[str, object], model: str) -> JobRequest:
    if is_openai_line(fields):
        return openai_request(fields, model)
    return parse_request({name: value for name, value in fields.items() if name != "custom_id"})


def _custom_id(
    number: int, line: int, fields: Mapping[str, object], seen: dict[bytes, int]
) -> tuple[str, tuple[Violation, ...]]:
    """The line's name, and what is wrong with it."""
    given = fields.get("custom_id")
    name = f"line-{number + 1:05d}" if given is None else given
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_CUSTOM_ID or not name.isprintable():
        rule = f"must be a text of 1 to {MAX_CUSTOM_ID} printable characters"
        return shown(given), (Violation("custom_id", rule, shown(given), "hero-banner-01"),)
    # The names themselves could be long: 50,000 of them are not held.
    first = seen.setdefault(hashlib.blake2b(name.encode(), digest_size=16).digest(), line)
    if first == line:
        return name, ()
    rule = f"must be unique within the manifest: line {first} has the same"
    return name, (Violation("custom_id", rule, shown(name), f"{name[: MAX_CUSTOM_ID - 8]}-{number + 1}"),)
