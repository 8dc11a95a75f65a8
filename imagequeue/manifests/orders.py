"""A manifest with options, as clients send it: an array, or an object that has or names the lines; from a file.

The file is read twice: once for the options, passing over a long array of lines, and once for the lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from imagequeue.errors import InvalidRequest, Violation
from imagequeue.manifests.entries import Entry
from imagequeue.manifests.json_array import json_array
from imagequeue.manifests.json_cutting import JsonCutter, Uncuttable
from imagequeue.manifests.lines import MAX_LINES, BadLine, ManifestLine
from imagequeue.manifests.reading import LineLimits, checked
from imagequeue.manifests.templates import Template, combinations
from imagequeue.requests import shown
from imagequeue.strict_json import MalformedJson, bytes_besides_data_urls, parse_json

OWN_FIELDS: Final = ("lines", "template", "variables", "manifest")
"""What says which lines there are; all else are options."""
_LONG: Final = ("lines", "variables")
_LINES: Final = '{"lines": [{"prompt": "A lighthouse at dawn"}]}'

FetchManifest = Callable[[str], Iterator[Entry]]
"""The entries of the manifest that an s3:// URL names."""


@dataclass(frozen=True, slots=True)
class ManifestOrder:
    """Lines that are wanted, unread, and options, unchecked."""

    options: Mapping[str, object]
    entries: Iterable[Entry]
    template: Template | None = None

    def lines(self, model: str) -> Iterator[ManifestLine | BadLine]:
        """The lines, checked one by one; to be read once. `model` is the only one that they may name."""
        return checked(self.entries, template=self.template, model=model)


@dataclass(frozen=True, slots=True)
class JsonBody:
    """A JSON object of which long arrays were passed over: `positions` tells where in the stream they begin."""

    fields: Mapping[str, object]
    positions: Mapping[str, int]

    @property
    def names_lines(self) -> bool:
        """Whether it is about many requests, and not a request itself."""
        return any(name in self.fields or name in self.positions for name in OWN_FIELDS)


def scan_body(stream: BinaryIO, limits: LineLimits) -> JsonBody:
    """Read a JSON object; without its long arrays it may have as many bytes as a line.

    Raises:
        MalformedJson: it is no JSON object.
        InvalidRequest: a name is given twice, or it is too long.
    """
    scan = _Scan(JsonCutter(stream), limits)
    try:
        return scan.body()
    except Uncuttable as error:
        raise MalformedJson(f"The body is not JSON: {error}.") from error


def json_order(body: JsonBody, stream: BinaryIO, limits: LineLimits, fetch: FetchManifest) -> ManifestOrder:
    """The lines that the body of a request names.

    Args:
        body: as `scan_body` gave it.
        stream: that it was read from.
        limits: of a line.
        fetch: opens a manifest in S3.

    Raises:
        InvalidRequest: it names no lines, or in two ways.
    """
    given = [name for name in OWN_FIELDS if name in body.fields or name in body.positions]
    ways = [name for name in given if name != "template"]
    if len(ways) != 1:
        rule = "must name the lines in one way: by lines, by template and variables, or by manifest"
        raise _refusal("body", rule, ", ".join(given) or "none of them", _LINES)
    if ways == ["variables"] and "template" not in given:
        raise _refusal("template", "is needed with variables", "nothing", "A {animal} in the style of {style}")
    template = Template.parse(body.fields["template"]) if "template" in given else None
    options = {name: value for name, value in body.fields.items() if name not in OWN_FIELDS}
    return ManifestOrder(options, _entries(ways[0], body, stream, limits, fetch), template)


def _entries(name: str, body: JsonBody, stream: BinaryIO, limits: LineLimits, fetch: FetchManifest) -> Iterable[Entry]:
    if name in body.positions:
        stream.seek(body.positions[name])
        return json_array(stream, limits.plain, limits.with_images, alone=False)
    value = body.fields[name]
    if name == "manifest":
        if not isinstance(value, str):
            raise _refusal(name, "must be an s3:// URL", shown(value), "s3://images/manifests/local/spring.jsonl")
        return fetch(value)
    if name == "variables" and isinstance(value, dict):
        return _combined(cast("dict[str, object]", value))
    raise _refusal(name, "must be an array of objects", shown(value), _LINES)


def _combined(values: Mapping[str, object]) -> Iterator[Entry]:
    for name, each in values.items():
        if not (isinstance(each, list) and each):
            given = shown(cast("object", each))
            raise _refusal(f"variables.{shown(name)}", "must be a list of values", given, '["cat", "dog"]')
    rows = combinations(cast("Mapping[str, list[object]]", values))
    return (Entry(number, row) for number, row in enumerate(rows, start=1))


class _Scan:
    """Reads the members of an object, one by one."""

    def __init__(self, cutter: JsonCutter, limits: LineLimits) -> None:
        self._cutter = cutter
        self._limits = limits
        self._fields: dict[str, object] = {}
        self._positions: dict[str, int] = {}
        self._bytes = self._plain_bytes = 0

    def body(self) -> JsonBody:
        cutter = self._cutter
        cutter.expect(b"{")
        if cutter.peek() == b"}":
            cutter.expect(b"}")
        else:
            self._member()
            while cutter.expect(b",", b"}") == b",":
                self._member()
        if cutter.peek():
            raise Uncuttable("something follows the object")
        return JsonBody(self._fields, self._positions)

    def _member(self) -> None:
        if self._cutter.peek() != b'"':
            raise Uncuttable("a name in quotes is missing")
        name = cast("str", parse_json(self._text()))
        if name in self._fields or name in self._positions:
            raise _refusal(shown(name), "may be given once", "two values for one name", "one value")
        self._cutter.expect(b":")
        if name in _LONG and self._cutter.peek() == b"[":
            self._positions[name] = self._cutter.position()
            for count, _ in enumerate(self._cutter.elements(0), start=1):
                if count > MAX_LINES:
                    raise _refusal(name, f"may have at most {MAX_LINES:,} elements", "more", "two manifests")
        else:
            self._fields[name] = parse_json(self._text())

    def _text(self) -> bytes:
        """The next value, if all that was read is not too long with it."""
        text = self._cutter.value(self._limits.with_images)
        self._bytes += len(text or b"")
        if text is None or self._bytes > self._limits.with_images:
            raise self._too_long(f"{self._limits.with_images:,} bytes besides its lines")
        self._plain_bytes += bytes_besides_data_urls(text)
        if self._plain_bytes > self._limits.plain:
            raise self._too_long(f"{self._limits.plain:,} bytes besides its lines and data: URLs")
        return text

    def _too_long(self, rule: str) -> InvalidRequest:
        return _refusal("body", f"may have {rule}", "more", "many requests as lines")


def _refusal(field: str, rule: str, given: str, example: str) -> InvalidRequest:
    return InvalidRequest([Violation(field, rule, given, example)])
