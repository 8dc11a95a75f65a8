"""What comes from OpenAI: output and error files of batches, read line by line while they arrive.

A line is the answer to one request, with its images in base64: tens of megabytes perhaps, so no whole line is ever in
memory. Its images become files while it is read.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from imagequeue.errors import BadOutput, ModerationBlocked, OutcomeUnknown, ProviderError
from worker.answer_fields import Fields, applied_of, object_of, text_of, usage_of
from worker.answers import Answer, AnswerSplitter
from worker.policy import Told, meaning_inside, meaning_of_told
from worker.spool import Painted

NOT_RUN: Final = frozenset({"batch_expired", "batch_cancelled"})
"""Codes of lines that OpenAI has not executed: nothing was spent on them."""
_CUSTOM_ID: Final = re.compile(rb'"custom_id"\s*:\s*("(?:[^"\\]|\\.)*")')
_BEGINNING_BYTES: Final = 4096
"""Of a line, in which its custom_id is looked for when the line cannot be read: OpenAI names it first."""


@dataclass(frozen=True, slots=True)
class OutputLine:
    """One line. `folder` holds its images' files, and is whoever's took the line; `broken`: it cannot be read."""

    custom_id: str
    folder: Path
    answer: Answer | None
    broken: BadOutput | None = None


@dataclass(frozen=True, slots=True)
class NotRun:
    """A line that OpenAI has not executed, and says so: it may be sent again and costs nothing."""

    code: str


class OutputReader:
    """Feed it a file's chunks, then `finish`. Lines without a custom_id of their own are left out."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._number = 0
        self._line: _Line | None = None

    def feed(self, chunk: bytes) -> Iterator[OutputLine]:
        """Take the next bytes; gives the lines that are whole now."""
        *ends, rest = chunk.split(b"\n")  # within JSON a line break is escaped
        for end in ends:
            self._feed(end)
            yield from self._end()
        self._feed(rest)

    def finish(self) -> Iterator[OutputLine]:
        """The last line, if no line break ends it."""
        yield from self._end()

    def close(self) -> None:
        """Forget a line that was not whole, with its files."""
        if self._line:
            self._line.drop()
            self._line = None

    def _feed(self, piece: bytes) -> None:
        if not piece:
            return
        if self._line is None:
            self._line = _Line(self._root / f"line-{self._number}")
            self._number += 1
        self._line.feed(piece)

    def _end(self) -> Iterator[OutputLine]:
        line, self._line = self._line, None
        if line is not None and (read := line.read()) is not None:
            yield read


@dataclass(slots=True)
class _Line:
    """A line on its way."""

    folder: Path
    splitter: AnswerSplitter = field(init=False)
    beginning: bytes = b""
    broken: BadOutput | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self.splitter = AnswerSplitter(self.folder)

    def feed(self, piece: bytes) -> None:
        if len(self.beginning) < _BEGINNING_BYTES:
            self.beginning += piece[:_BEGINNING_BYTES]
        if self.broken is None:
            self._try(lambda: self.splitter.feed(piece))

    def read(self) -> OutputLine | None:
        """The whole line; None when nobody can tell whose it is."""
        answer: Answer | None = None

        def finish() -> None:
            nonlocal answer
            answer = self.splitter.finish()

        if self.broken is None:
            self._try(finish)
        self.splitter.close()
        custom_id = text_of(answer.body.get("custom_id")) if answer else _custom_id_in(self.beginning)
        if custom_id is None:
            self.drop()
            return None
        return OutputLine(custom_id, self.folder, answer, self.broken)

    def drop(self) -> None:
        self.splitter.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BadOutput as error:
            self.broken = error


def meaning_of_line(line: OutputLine, notes: tuple[str, ...] = ()) -> Painted | NotRun | ProviderError:
    """What a line says of its request: the images, or why there are none."""
    if line.answer is None:
        return line.broken or BadOutput("The line of OpenAI's output file cannot be read.")
    response = object_of(line.answer.body.get("response"))
    error = object_of(line.answer.body.get("error"))
    if not response:
        return _meaning_without_answer(error)
    status, request_id = response.get("status_code"), text_of(response.get("request_id"))
    body = object_of(response.get("body"))
    if status == 200:
        return Painted(line.answer.files, usage_of(body.get("usage")), applied_of(body), request_id, notes)
    told = object_of(body.get("error"))
    return _meaning_of_refusal(status if isinstance(status, int) else 500, told, request_id)


def _meaning_without_answer(error: Fields) -> NotRun | ProviderError:
    code = text_of(error.get("code")) or ""
    if code in NOT_RUN:
        return NotRun(code)
    if code == "request_timeout" or not error:
        # Not in the output, so probably not billed; but OpenAI does not say so.
        text = text_of(error.get("message")) or "no reason given"
        return OutcomeUnknown(f"OpenAI's batch gave no answer to the request ({code or 'no code'}): {text}")
    return meaning_inside(error)


def _meaning_of_refusal(status: int, error: Fields, request_id: str | None) -> ProviderError:
    code, kind = text_of(error.get("code")) or "", text_of(error.get("type")) or ""
    text = text_of(error.get("message")) or "no reason given"
    message = f"OpenAI answered {status}{f' {code or kind}' if code or kind else ''}: {text}"
    if object_of(error.get("moderation_details")):
        return ModerationBlocked(message, request_id=request_id)
    return meaning_of_told(Told(status, code, kind, text, openais=bool(error)), message, request_id)


def _custom_id_in(beginning: bytes) -> str | None:
    found = _CUSTOM_ID.search(beginning)
    if found is None:
        return None
    with suppress(ValueError):
        return text_of(json.loads(found[1]))
    return None
