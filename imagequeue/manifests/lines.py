"""The lines of a manifest: those that may become jobs, and those that may not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Self, cast

from imagequeue.errors import ImageQueueError, Violation
from imagequeue.requests import JobRequest, parse_request

MAX_LINES: Final = 50_000
"""As OpenAI's Batch API has it."""
MAX_CUSTOM_ID: Final = 128
SHOWN_BAD_LINES: Final = 200
"""Of which an answer tells what is wrong; it gives the number of all."""


@dataclass(frozen=True, slots=True)
class ManifestLine:
    """One request of a batch, checked.

    `number` counts from 0, and is its place; `line` is what an editor shows (from 1), in an array the element.
    """

    number: int
    custom_id: str
    request: JobRequest
    line: int

    def encode(self) -> bytes:
        """As a line of the validated manifest, without its number."""
        kept = {
            "custom_id": self.custom_id,
            "line": self.line,
            "request": self.request.model_dump(mode="json", exclude_none=True),
        }
        return json.dumps(kept, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def decode(cls, number: int, text: bytes) -> Self:
        """The line of this number, as `encode` wrote it."""
        kept = cast("dict[str, object]", json.loads(text))
        request = parse_request(cast("dict[str, object]", kept["request"]))
        return cls(number, cast("str", kept["custom_id"]), request, cast("int", kept["line"]))


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot become a job, and why. Its number is its place among all lines.

    `fatal`: what is wrong concerns the whole manifest, or what follows cannot be read.
    """

    number: int
    line: int
    violations: tuple[Violation, ...]
    custom_id: str | None = None
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class BadLines:
    """How many lines are bad, and the first of them."""

    total: int = 0
    shown: tuple[BadLine, ...] = ()

    def plus(self, bad: BadLine) -> BadLines:
        """With one more."""
        shown = self.shown if len(self.shown) >= SHOWN_BAD_LINES else (*self.shown, bad)
        return BadLines(self.total + 1, shown)


class Sieve:
    """The good lines, one after the other; `bad` has the others so far.

    Iterating raises InvalidManifest at the end, when there are bad lines that may not be skipped, or no good ones.
    """

    def __init__(self, lines: Iterable[ManifestLine | BadLine], *, skip_invalid: bool) -> None:
        self._lines = lines
        self._skip_invalid = skip_invalid
        self.bad = BadLines()

    def __iter__(self) -> Iterator[ManifestLine]:
        """None more once it is clear that they are not wanted; the rest is read for what else is wrong."""
        refused, some = False, False
        for line in self._lines:
            if isinstance(line, BadLine):
                self.bad = self.bad.plus(line)
                refused = refused or line.fatal or not self._skip_invalid
            elif not refused:
                some = True
                yield line
        if refused or not some:
            raise InvalidManifest(self.bad)


class InvalidManifest(ImageQueueError):
    """Lines of a manifest break rules; nothing was stored or spent."""

    code = "invalid_manifest"

    def __init__(self, bad: BadLines) -> None:
        self.bad = bad
        first = bad.shown[0]
        lines = "1 line is" if bad.total == 1 else f"{bad.total:,} lines are"
        super().__init__(
            f"{lines} wrong, and nothing was accepted. The first: line {first.line}, {first.violations[0]}"
        )
