"""Names of files in an archive that every system can unpack, made of texts that anybody chose."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

LONGEST: Final = 100
"""Bytes in UTF-8: with a folder, a suffix and a place to unpack to, still less than the 255 of most file systems."""
_FORBIDDEN: Final = frozenset('<>:"/\\|?*')
_DEVICES: Final = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
"""Windows has them in every folder, with whatever ending."""


def safe_name(text: str, longest: int = LONGEST) -> str:
    """The text as a file's name: no path, nothing hidden, no option of a command, no name of a device; never empty."""
    plain = unicodedata.normalize("NFC", text)
    kept = "".join("-" if letter in _FORBIDDEN or not letter.isprintable() else letter for letter in plain)
    name = _cut(re.sub(r"\s+", " ", kept).lstrip(" .-~"), longest).rstrip(" .")
    if _DEVICES.fullmatch(name):
        name = f"_{name}"
    return name or "_"


class UniqueNames:
    """Gives names that differ also where upper and lower case, or ways to compose a letter, do not."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = {_folded(name) for name in taken}

    def take(self, stem: str, suffix: str = "") -> str:
        """`stem` and `suffix`, with a number in between where that is taken."""
        name, number = f"{stem}{suffix}", 1
        while _folded(name) in self._taken:
            number += 1
            name = f"{stem}~{number}{suffix}"
        self._taken.add(_folded(name))
        return name


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name.casefold())


def _cut(text: str, longest: int) -> str:
    return text.encode(errors="replace")[:longest].decode(errors="ignore")
