"""JSONL: a JSON object on each line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

from imagequeue.manifests.entries import (
    BOM,
    MAX_BLANK,
    TOO_LONG_EXAMPLE,
    Entry,
    broken_entry,
    json_entry,
    too_many_blank,
)

_SKIPPED_BYTES: Final = 1024 * 1024


def json_lines(stream: BinaryIO, plain_limit: int, limit: int) -> Iterator[Entry]:
    """The lines that are not blank; a line may have `limit` bytes, and `plain_limit` besides data: URLs."""
    number = blank = 0
    while text := stream.readline(limit + 1):
        number += 1
        if len(text) > limit and not text.endswith(b"\n"):
            _skip_line(stream)
            rule = f"may have {limit:,} bytes"
            yield broken_entry(number, "line", rule, "more", TOO_LONG_EXAMPLE)
            continue
        text = (text.removeprefix(BOM) if number == 1 else text).strip()
        if text:
            yield json_entry(number, text, plain_limit)
            continue
        blank += 1
        if blank > MAX_BLANK:
            yield too_many_blank(number)
            return


def _skip_line(stream: BinaryIO) -> None:
    while (text := stream.readline(_SKIPPED_BYTES)) and not text.endswith(b"\n"):
        pass
