"""The Lua scripts: loaded from the package, their headers being the contract for keys."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from imagequeue.store.connection import RedisClient, RegisteredScript, translated

_LIBRARY: Final = "_lib"
_USES_LINE: Final = re.compile(r"^-- USES: (.+)$", re.MULTILINE)
_KEYS_LINE: Final = re.compile(r"^-- KEYS: (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ScriptSource:
    """A script's text, library included, and the names of its keys in order."""

    text: str
    key_names: tuple[str, ...]


@cache
def source(name: str) -> ScriptSource:
    """Read scripts/`name`.lua."""
    folder = resources.files("imagequeue.store").joinpath("scripts")
    body = folder.joinpath(f"{name}.lua").read_text(encoding="utf-8")
    uses = _USES_LINE.search(body)
    names = [_LIBRARY, *(uses[1].split(", ") if uses else ())]
    library = "\n".join(folder.joinpath(f"{name}.lua").read_text(encoding="utf-8") for name in names)
    match = _KEYS_LINE.search(body)
    if match is None:
        raise LookupError(f"scripts/{name}.lua has no KEYS line in its header")
    return ScriptSource(text=f"{library}\n{body}", key_names=tuple(match[1].split(", ")))


class Scripts:
    """Runs scripts by name on one Redis; each is sent once and called by its hash."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._registered: dict[str, RegisteredScript] = {}

    def run(self, name: str, keys: Mapping[str, str], args: Sequence[str | int]) -> object:
        """Call a script; `keys` maps the names of its header to keys (others are left out).

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        ordered = [keys[key_name] for key_name in source(name).key_names]
        script = self._registered.get(name)
        if script is None:
            script = self._registered[name] = self._client.register_script(source(name).text)
        with translated():
            return script(ordered, args)
