"""The query of addresses that take a manifest as their body: what a JSON body or a form would have as fields."""

from __future__ import annotations

from pydantic import BaseModel, Field

from api.parameters import Query
from imagequeue.batch_requests import SkipInvalid


class ManifestQuery(Query):
    """What goes with a manifest in JSONL or CSV."""

    template: str | None = Field(
        default=None,
        description="A prompt with {placeholders}, or a request with them as JSON; the lines have their values.",
        examples=["A {animal} in the style of {style}"],
    )
    skip_invalid: SkipInvalid = False


class ManifestPath(BaseModel):
    """Which manifest."""

    name: str = Field(
        description="Letters, digits, `.`, `_`, `-`; ends with .jsonl, .json or .csv, which says what it is.",
        examples=["spring.jsonl"],
    )
