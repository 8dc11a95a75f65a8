"""Cutting a JSON text into the texts of its values without parsing them, as it comes.

Each piece is parsed by the strict rules of strict_json afterwards. A streaming parser such as ijson would build objects
itself, and could neither tell a key given twice nor go on behind a broken element.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, Final

from imagequeue.manifests.entries import BOM
from imagequeue.strict_json import MAX_DEPTH

_CHUNK_BYTES: Final = 256 * 1024
_SCALAR_BYTES: Final = 8192
"""More than Python's longest integers have."""
_MARKS: Final = 10_000
"""Brackets and quotes of one value: a request needs some dozens, and each takes its time."""
_STRUCTURE: Final = re.compile(rb'["{}\[\]]')
_IN_STRING: Final = re.compile(rb'(?:[^"\\]++|\\[\s\S])*+')
_SCALAR_END: Final = re.compile(rb"[\s,\]}]")
_SPACE: Final = re.compile(rb"[ \t\r\n]*")


class Uncuttable(Exception):
    """The text is not JSON from here on; the message says what is wrong, for people."""


class JsonCutter:
    """A JSON text that is read piece by piece. All positions are bytes; memory holds one value at most."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._buffer = bytearray(stream.read(_CHUNK_BYTES).removeprefix(BOM))
        self._at = 0

    def expect(self, *wanted: bytes) -> bytes:
        """Pass over white space and one of these characters; gives back which.

        Raises:
            Uncuttable: something else follows.
        """
        found = self.peek()
        if found not in wanted:
            raise Uncuttable(f"{_named(found)} stands where {' or '.join(map(_named, wanted))} should")
        self._at += 1
        return found

    def peek(self) -> bytes:
        """The next character that is no white space; none at the end."""
        while True:
            space = _SPACE.match(self._buffer, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._buffer):
                return bytes(self._buffer[self._at : self._at + 1])
            if not self._fill():
                return b""

    def value(self, limit: int) -> bytes | None:
        """The next value's text; None when it has more than `limit` bytes, and is passed over.

        Raises:
            Uncuttable: there is none, or it does not end.
        """
        if self.peek() in (b"", b",", b"]", b"}", b":"):
            raise Uncuttable(f"{_named(self.peek())} stands where a value should")
        del self._buffer[: self._at]
        self._at = 0
        nested = self.peek() in (b"{", b"[", b'"')
        end, too_long = self._nested_end(limit) if nested else self._scalar_end()
        text = None if too_long else bytes(self._buffer[:end])
        self._at = end
        return text

    def elements(self, limit: int) -> Iterator[bytes | None]:
        """The texts of the elements of the array that follows; None for one that has more than `limit` bytes.

        Raises:
            Uncuttable: none follows, or it does not end.
        """
        self.expect(b"[")
        if self.peek() == b"]":
            self.expect(b"]")
            return
        while True:
            yield self.value(limit)
            if self.expect(b",", b"]") == b"]":
                return

    def position(self) -> int:
        """Where the next character is in the stream."""
        return self._stream.tell() - len(self._buffer) + self._at

    def _nested_end(self, limit: int) -> tuple[int, bool]:
        at, depth, marks, in_string, too_long = 0, 0, 0, False, False
        while True:
            at, mark = self._next_mark(at, in_string=in_string)
            if not mark:
                if at > limit:
                    del self._buffer[:at]
                    at, too_long = 0, True
                if not self._fill():
                    raise Uncuttable("the text ends in the middle of a value")
                continue
            marks += 1
            if mark == b'"':
                in_string = not in_string
            else:
                depth += 1 if mark in b"{[" else -1
            if depth > MAX_DEPTH or marks > _MARKS:
                raise Uncuttable(f"a value has more than {MAX_DEPTH} levels or {_MARKS:,} brackets and quotes")
            if depth == 0 and not in_string:
                return at, too_long or at > limit

    def _next_mark(self, at: int, *, in_string: bool) -> tuple[int, bytes]:
        """The next bracket or quote that counts, and the place behind it; none, and where to go on with more text."""
        if not in_string:
            found = _STRUCTURE.search(self._buffer, at)
            return (found.end(), found[0]) if found else (len(self._buffer), b"")
        inside = _IN_STRING.match(self._buffer, at)
        end = inside.end() if inside else at
        # Behind it is a quote, or a backslash whose character has not come yet, or nothing.
        mark = bytes(self._buffer[end : end + 1])
        return (end + 1, mark) if mark == b'"' else (end, b"")

    def _scalar_end(self) -> tuple[int, bool]:
        while (found := _SCALAR_END.search(self._buffer)) is None:
            if len(self._buffer) > _SCALAR_BYTES:
                raise Uncuttable("a number or word does not end")
            if not self._fill():
                return len(self._buffer), False
        return found.start(), False

    def _fill(self) -> bool:
        chunk = self._stream.read(_CHUNK_BYTES)
        self._buffer += chunk
        return bool(chunk)


def _named(character: bytes) -> str:
    return repr(character.decode("ascii", "backslashreplace")) if character else "the end of the text"
