"""Templates: one request with `{placeholders}`, and a table of values that makes many of it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self, cast

from imagequeue.errors import InvalidRequest, Violation
from imagequeue.manifests.entries import Entry
from imagequeue.requests import EditRequest, GenerateRequest, shown

_MARK: Final = re.compile(r"\{\{|\}\}|\{([^{}]{1,64})\}|[{}]")
_FIELDS: Final = frozenset({"custom_id", *GenerateRequest.model_fields, *EditRequest.model_fields})
_EXAMPLE: Final = "A {animal} in the style of {style}"


@dataclass(frozen=True, slots=True)
class Template:
    """Fields that every line has; texts in them have placeholders, which a line's values fill."""

    fields: Mapping[str, object]
    placeholders: frozenset[str]

    @classmethod
    def parse(cls, given: object) -> Self:
        """A template from a prompt, or from the fields of a request.

        Raises:
            InvalidRequest: it is neither, has an unknown field or a brace that belongs to no placeholder.
        """
        fields = {"prompt": given} if isinstance(given, str) else given
        if not isinstance(fields, dict):
            raise _refusal("template", "must be a prompt, or an object with fields of a request", shown(given))
        fields = cast("dict[str, object]", fields)
        if unknown := next((name for name in fields if name not in _FIELDS), None):
            rule = "is not a field of a request"
            raise _refusal(f"template.{shown(unknown)}", rule, shown(unknown), ", ".join(sorted(_FIELDS)))
        found = [_placeholders(f"template.{name}", text) for name, value in fields.items() for text in _texts(value)]
        return cls(fields, frozenset[str]().union(*found))

    def expand(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """A request for each entry of values.

        A value whose name is a placeholder fills it; one whose name is a field takes the place of the template's.
        """
        return (entry if entry.fields is None else self._filled(entry, entry.fields) for entry in entries)

    def _filled(self, entry: Entry, values: Mapping[str, object]) -> Entry:
        wrong = [_unfit(name, values.get(name)) for name in sorted(self.placeholders) if not _fits(values.get(name))]
        wrong += [_stranger(name) for name in values if name not in self.placeholders and name not in _FIELDS]
        if wrong:
            return replace(entry, fields=None, violations=tuple(wrong))
        own = {name: value for name, value in values.items() if name not in self.placeholders}
        return replace(entry, fields={name: _fill(value, values) for name, value in self.fields.items()} | own)


def combinations(lists: Mapping[str, Sequence[object]]) -> Iterator[dict[str, object]]:
    """Every combination of values, those of the last name changing first.

    >>> list(combinations({"animal": ["cat", "dog"], "style": ["oil"]}))
    [{'animal': 'cat', 'style': 'oil'}, {'animal': 'dog', 'style': 'oil'}]
    """
    return (dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values()))


def _placeholders(field: str, text: str) -> set[str]:
    names: set[str] = set()
    for mark in _MARK.finditer(text):
        if mark[0] in ("{", "}"):
            raise _refusal(field, "has a brace that belongs to no {placeholder}: write {{ and }} for braces", text)
        if mark[1] is not None:
            names.add(mark[1].strip())
    return names


def _texts(value: object) -> list[str]:
    values = cast("list[object]", value) if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]


def _fill(value: object, values: Mapping[str, object]) -> object:
    if isinstance(value, list):
        return [_fill(each, values) for each in cast("list[object]", value)]
    if not isinstance(value, str):
        return value
    return _MARK.sub(lambda mark: mark[0][0] if mark[1] is None else str(values[mark[1].strip()]), value)


def _fits(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _unfit(name: str, value: object) -> Violation:
    given = "nothing" if value is None else shown(value)
    return Violation(
        shown(name), "must be given as a text or a number: the template has this placeholder", given, "cat"
    )


def _stranger(name: str) -> Violation:
    rule = "is neither a placeholder of the template nor a field of a request"
    return Violation(shown(name), rule, shown(name), "a template with {" + shown(name) + "}")


def _refusal(field: str, rule: str, given: str, example: str = _EXAMPLE) -> InvalidRequest:
    return InvalidRequest([Violation(field, rule, shown(given), example)])
