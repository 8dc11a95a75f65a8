"""Taking images out of an answer while it arrives, so that no whole answer is ever held in memory.

OpenAI's answer is one JSON object whose bulk are base64 strings: under `b64_json` at the image endpoints, under
`result` in the Responses API. The splitter decodes those strings into files piece by piece and keeps the little JSON
that is left.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

import pybase64

from imagequeue.errors import BadOutput
from worker.spool import OutputFile

ImageKey = Literal["b64_json", "result"]
_OPENINGS: Final[dict[ImageKey, re.Pattern[bytes]]] = {
    "b64_json": re.compile(rb'"b64_json"\s*:\s*"'),
    # `result` is a common word: only a string that begins as a PNG, JPEG or WebP does in base64 is an image.
    "result": re.compile(rb'"result"\s*:\s*"(?=iVBORw0KGg|\\?/9j\\?/|UklGR)'),
}
_LONGEST_OPENING: Final = 64
"""Bytes held back at the end of a chunk, because an opening may go on in the next one."""
_MAX_TEXT_BYTES: Final = 1_000_000
"""What may be left of an answer without its images; real ones have about 1 kB."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer without its images, and the files that hold them in order."""

    body: Mapping[str, object]
    files: tuple[Path, ...]


class AnswerSplitter:
    """Feed it an answer's chunks, then `finish`. Files are named 0, 1, … in `folder`, after `prefix`.

    The images are the strings under `key`. Under `result`, strings that do not begin as an image file stay in the text.
    """

    def __init__(self, folder: Path, key: ImageKey = "b64_json", prefix: str = "") -> None:
        self._folder = folder
        self._prefix = prefix
        self._opening = _OPENINGS[key]
        self._text = bytearray()
        self._held = b""
        self._files: list[OutputFile] = []
        self._file: OutputFile | None = None

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the answer.

        Raises:
            BadOutput: an image is not base64, or the answer is not one of images.
        """
        self._held += chunk
        while self._step():
            pass

    def finish(self) -> Answer:
        """The whole answer.

        Raises:
            BadOutput: it is not whole JSON.
        """
        if self._file:
            raise BadOutput("OpenAI's answer ends inside an image.")
        self._keep_text(self._held)
        try:
            body: object = json.loads(bytes(self._text))
        except (ValueError, RecursionError) as error:
            raise BadOutput(f"OpenAI's answer is not JSON: {error}") from error
        if not isinstance(body, dict):
            raise BadOutput("OpenAI's answer is not a JSON object.")
        return Answer(body=cast("dict[str, object]", body), files=tuple(file.path for file in self._files))

    def close(self) -> None:
        """Close what an interrupted answer left open."""
        if self._file:
            self._file.close()
            self._file = None

    def _step(self) -> bool:
        """Use up held bytes; whether there may be more to do with what is left."""
        return self._step_in_image(self._file) if self._file else self._step_in_text()

    def _step_in_text(self) -> bool:
        opening = self._opening.search(self._held)
        if opening is None:
            self._keep_text(self._held[:-_LONGEST_OPENING])
            self._held = self._held[-_LONGEST_OPENING:]
            return False
        self._file = OutputFile(self._folder / f"{self._prefix}{len(self._files)}")
        self._keep_text(self._held[: opening.end()])
        self._held = self._held[opening.end() :]
        self._files.append(self._file)
        return True

    def _step_in_image(self, file: OutputFile) -> bool:
        end = self._held.find(b'"')
        encoded = self._held if end < 0 else self._held[:end]
        if b"\\" in encoded:
            encoded = encoded.replace(b"\\/", b"/")  # some servers escape the slash, as JSON allows
        usable = len(encoded) if end >= 0 else max(0, len(encoded) - 5) // 4 * 4  # a backslash may end the chunk
        try:
            file.write(_decoded(encoded[:usable], last=end >= 0))
        except binascii.Error as error:
            raise BadOutput(f"Image {len(self._files) - 1} in OpenAI's answer is not base64: {error}") from error
        if end < 0:
            self._held = encoded[usable:]
            return False
        file.close()
        self._file = None
        self._held = self._held[end:]
        return True

    def _keep_text(self, text: bytes) -> None:
        self._text += text
        if len(self._text) > _MAX_TEXT_BYTES:
            raise BadOutput("OpenAI's answer is not one of images: too much text.")


def _decoded(piece: bytes, *, last: bool) -> bytes:
    if not last and b"=" in piece:  # what padding ends must not go on, wherever the answer was cut
        raise binascii.Error("Excess data after padding")
    return pybase64.b64decode(piece, validate=True) if piece else b""
