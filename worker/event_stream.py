"""Taking server-sent events apart while they arrive, so that no image in them is ever held in memory.

The SDK's own decoder keeps a whole event as bytes, as text and as objects, several times the image. Here each event's
data goes through an AnswerSplitter, line by line as it comes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imagequeue.errors import BadOutput
from worker.answers import Answer, AnswerSplitter

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_DATA: Final = b"data:"
_NAME: Final = b"event:"
_PREVIEW: Final = ".partial_image"
_MAX_LINE_BYTES: Final = 65_536
"""Of a line without data: a comment or an event's name; real ones have under 100."""


@dataclass(slots=True)
class _Event:
    """An event while it arrives. `data` is None of one without a JSON object, and of a spoiled preview."""

    name: str = ""
    data: AnswerSplitter | None = None
    spoiled: bool = False


class EventSplitter:
    """Feed it a stream's chunks; every whole event comes out, its images as files in `folder`.

    Data that is no JSON object is passed over, as is a preview that cannot be read: the image itself may still come.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._event = _Event()
        self._count = 0
        self._line = b""
        self._in_data = False
        self._after_cr = False

    def feed(self, chunk: bytes) -> Iterator[Answer]:
        """Take the next bytes; gives the events that end in them.

        Raises:
            BadOutput: an event cannot be read.
        """
        if self._after_cr and chunk.startswith(b"\n"):  # a line end that was cut in two
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r")
        *lines, rest = _LINE_END.split(chunk)
        for line in lines:
            self._take(line)
            if event := self._end_line():
                yield event
        self._take(rest)

    def finish(self) -> Iterator[Answer]:
        """The event that the stream's end left without the blank line after it, if it is whole: it is paid for.

        Raises:
            BadOutput: it is cut off.
        """
        if event := self._ended_event():
            yield event

    def close(self) -> None:
        """Close what an interrupted stream left open."""
        if self._event.data:
            self._event.data.close()

    def _take(self, part: bytes) -> None:
        """The next part of a line."""
        if self._in_data:
            self._take_data(part)
            return
        self._line += part
        if self._line.startswith(_DATA) and (start := self._line[len(_DATA) :].lstrip(b" ")):
            if start.startswith(b"{") and self._event.data is None and not self._event.spoiled:
                self._event.data = AnswerSplitter(self._folder, prefix=f"event-{self._count}-")
            self._in_data = True
            self._take_data(start)
        elif len(self._line) > _MAX_LINE_BYTES:
            raise BadOutput("OpenAI's answer is not a stream of events: too long a line.")

    def _take_data(self, part: bytes) -> None:
        if self._event.data is None:
            return
        try:
            self._event.data.feed(part)
        except BadOutput as error:
            self._spoil(error)

    def _end_line(self) -> Answer | None:
        line, self._line = self._line, b""
        if self._in_data:
            self._in_data = False
            self._take_data(b"\n")
        elif line.startswith(_NAME):
            self._event.name = line[len(_NAME) :].decode(errors="replace").strip()
        elif not line:
            return self._ended_event()
        return None

    def _ended_event(self) -> Answer | None:
        event = self._event
        try:
            return event.data.finish() if event.data else None
        except BadOutput as error:
            self._spoil(error)
            return None
        finally:
            self._event = _Event()
            self._count += 1

    def _spoil(self, error: BadOutput) -> None:
        """Pass over the event, if that loses a preview only."""
        self.close()
        if not self._event.name.endswith(_PREVIEW):
            raise error
        self._event.data, self._event.spoiled = None, True
