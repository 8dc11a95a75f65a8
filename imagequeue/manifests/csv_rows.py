"""CSV: a header that names the fields, and a request in each row."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from typing import BinaryIO, Final

from imagequeue.manifests.entries import BOM, MAX_BLANK, Entry, broken_entry, too_many_blank
from imagequeue.requests import shown

_HEADER: Final = "custom_id,prompt,size,quality"
_NUMBERS: Final = ("n", "output_compression", "partial_images")
_BOOLEANS: Final = ("true", "false")
"""As spreadsheets write them, too: in capitals."""
_NUMBER: Final = re.compile(r"-?\d{1,9}")
_LINE_BYTES: Final = 1024 * 1024
"""Python's reader takes 131,072 characters in a cell; a line has several cells."""


class _Broken(Exception):
    """The text is no CSV from here on."""


def csv_rows(stream: BinaryIO) -> Iterator[Entry]:
    """The rows below the header; empty cells count as not given.

    The text is UTF-8, with or without a byte order mark. Cells are separated by commas; by semicolons or tabs if the
    header has no comma but those.
    """
    rows, blank = _Rows(stream), 0
    try:
        header = rows.header()
        for row in rows:
            if any(cell.strip() for cell in row):
                yield _entry(rows.first_line, header, row)
                continue
            blank += 1
            if blank > MAX_BLANK:
                yield too_many_blank(rows.first_line)
                return
    except (_Broken, csv.Error) as error:
        yield broken_entry(rows.first_line, "manifest", "must be CSV in UTF-8", str(error), _HEADER, fatal=True)


class _Rows:
    """A CSV text's rows, and the line on which the last one begins."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._first = stream.readline(_LINE_BYTES + 1).removeprefix(BOM)
        self._reader = csv.reader(self._lines(), delimiter=_delimiter(self._first), strict=True)
        self.first_line = 1

    def header(self) -> list[str]:
        names = [name.strip() for name in next(self._reader, list[str]())]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise _Broken(f"the header names {shown(twice)} twice")
        if not any(names):
            raise _Broken("there is no header")
        return names

    def __iter__(self) -> Iterator[list[str]]:
        while True:
            self.first_line = self._reader.line_num + 1
            row = next(self._reader, None)
            if row is None:
                return
            yield row

    def _lines(self) -> Iterator[str]:
        line = self._first
        while line:
            if len(line) > _LINE_BYTES:
                raise _Broken(
                    f"a line has more than {_LINE_BYTES:,} bytes: give images by upload:<sha256>, or as JSONL"
                )
            yield _text(line)
            line = self._stream.readline(_LINE_BYTES + 1)


def _entry(line: int, header: list[str], row: list[str]) -> Entry:
    if len(row) > len(header) and any(row[len(header) :]):
        given = f"{len(row)} cells"
        return broken_entry(line, "line", f"must have {len(header)} cells at most, as the header", given, _HEADER)
    cells = {name: cell for name, cell in zip(header, row, strict=False) if cell.strip()}
    if nameless := cells.get(""):
        return broken_entry(line, "line", "must have no cell below an empty name", shown(nameless), _HEADER)
    return Entry(line, _typed(cells))


def _typed(cells: Mapping[str, str]) -> dict[str, object]:
    fields: dict[str, object] = dict(cells)
    for name in _NUMBERS:
        if name in cells and _NUMBER.fullmatch(cells[name].strip()):
            fields[name] = int(cells[name])
    if cells.get("reuse", "").strip().lower() in _BOOLEANS:
        fields["reuse"] = cells["reuse"].strip().lower() == "true"
    if "images" in cells:
        fields["images"] = _sources(cells["images"].strip())
    return fields


def _sources(cell: str) -> object:
    """`["a", "b"]`, or sources with white space between them: none has any within."""
    if cell.startswith("["):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return cell.split()


def _delimiter(header: bytes) -> str:
    return next((mark for mark in ",;\t" if mark.encode() in header), ",")


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise _Broken(f"byte {error.start} of the line is not UTF-8: save the table as 'CSV UTF-8'") from error
