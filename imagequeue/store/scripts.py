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
        with translated():
            return self._script(name)(_ordered(name, keys), args)

    def run_many(self, calls: Sequence[tuple[str, Mapping[str, str], Sequence[str | int]]]) -> list[object]:
        """Call scripts (name, keys, arguments) in one round trip, one after the other; others may come in between.

        Raises:
            StoreUnavailable: Redis does not answer; some may have run.
        """
        pipeline = self._client.pipeline(transaction=False)
        for name, keys, args in calls:
            self._script(name)(_ordered(name, keys), args, pipeline)
        with translated():
            return pipeline.execute()

    def _script(self, name: str) -> RegisteredScript:
        script = self._registered.get(name)
        if script is None:
            script = self._registered[name] = self._client.register_script(source(name).text)
        return script


def _ordered(name: str, keys: Mapping[str, str]) -> list[str]:
    return [keys[key_name] for key_name in source(name).key_names]
