"""The sandbox with one difference: no two answers hold the same bytes, as with the real model.

The sandbox paints equal requests equally. A stale worker that overwrote a repeated call's image would then do no
visible harm, so here every JPEG carries a comment of its own.
"""

from __future__ import annotations

import argparse
import uuid
from pathlib import Path
from typing import Final

from PIL import Image

from sandbox import edit_painter, painter
from sandbox.server import main as serve
from sandbox.stack.ports import HOST

_START: Final = b"\xff\xd8"
_COMMENT: Final = b"\xff\xfe"
_encoded: Final = painter.encoded


def distinct(picture: Image.Image, output_format: str, compression: int) -> bytes:
    """The picture as a file; a JPEG differs from all others."""
    file, comment = _encoded(picture, output_format, compression), uuid.uuid4().bytes
    if not file.startswith(_START):
        return file
    return _START + _COMMENT + (len(comment) + 2).to_bytes(2, "big") + comment + file[len(_START) :]


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--journal", type=Path, required=True)
    options = parser.parse_args()
    painter.encoded = edit_painter.encoded = distinct
    serve(host=HOST, port=options.port, journal=options.journal)


if __name__ == "__main__":
    main()
