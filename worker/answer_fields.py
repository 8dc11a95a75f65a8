"""Reading answers of OpenAI that may hold anything: what is not as expected is not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from imagequeue.jobs import Applied, Usage

Fields = Mapping[str, object]


def usage_of(value: object) -> Usage | None:
    """The tokens in a `usage` object; None when there are none."""
    figures = object_of(value)
    if not figures:
        return None
    details = object_of(figures.get("input_tokens_details"))
    return Usage(
        input_tokens=count_of(figures.get("input_tokens")),
        output_tokens=count_of(figures.get("output_tokens")),
        total_tokens=count_of(figures.get("total_tokens")),
        input_text_tokens=count_of(details.get("text_tokens")),
        input_image_tokens=count_of(details.get("image_tokens")),
    )


def applied_of(fields: Fields) -> Applied:
    """The settings that an answer says were used."""
    return Applied(**{name: text_of(fields.get(name)) for name in Applied.model_fields})


def object_of(value: object) -> Fields:
    """A JSON object, or an empty one."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def objects_of(value: object) -> list[Fields]:
    """The objects in a JSON array."""
    items = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("dict[str, object]", item) for item in items if isinstance(item, dict)]


def count_of(value: object) -> int | None:
    """A count, 0 or more."""
    return value if isinstance(value, int) and value >= 0 else None


def text_of(value: object) -> str | None:
    """A text."""
    return value if isinstance(value, str) else None
