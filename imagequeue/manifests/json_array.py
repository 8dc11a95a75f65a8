"""A manifest as one JSON array of objects, or as such an array within an object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from imagequeue.manifests.entries import TOO_LONG_EXAMPLE, Entry, broken_entry, json_entry
from imagequeue.manifests.json_cutting import JsonCutter, Uncuttable


def json_array(stream: BinaryIO, plain_limit: int, limit: int, *, alone: bool = True) -> Iterator[Entry]:
    """The elements of the array that follows in the stream; their numbers are their lines, from 1.

    `alone`: nothing else may follow.
    """
    cutter, number = JsonCutter(stream), 0
    try:
        for text in cutter.elements(limit):
            number += 1
            if text is None:
                yield broken_entry(number, "line", f"may have {limit:,} bytes", "more", TOO_LONG_EXAMPLE)
            else:
                yield json_entry(number, text, plain_limit)
        if alone and cutter.peek():
            raise Uncuttable("something follows the array")
    except Uncuttable as error:
        rule = "must be a JSON array of objects"
        yield broken_entry(number + 1, "manifest", rule, str(error), '[{"prompt": "A lighthouse at dawn"}]', fatal=True)
