"""OpenAI's published OpenAPI document as a judge of requests and answers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol, cast

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

DOCUMENT: Final = Path(__file__).resolve().parents[3] / "shared" / "openai-images.yaml"


class _Judge(Protocol):
    """The part of a jsonschema validator used here; its own types leave the instance half unknown."""

    def iter_errors(self, instance: object) -> Iterable[ValidationError]: ...


class PublishedApi:
    """The document's schemas, by name."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._components = cast("dict[str, Any]", _with_null_allowed(document["components"]))

    def problems(self, schema: str, instance: object, *, sizes_as_published: bool = True) -> list[str]:
        """What is wrong with `instance`, by the schema of this name; empty when nothing is.

        `sizes_as_published=False` leaves the `size` of an image answer unchecked: the published answer lists
        three sizes only, while the request of the same document lets gpt-image-2 paint any WIDTHxHEIGHT, so a
        truthful answer cannot keep to it.
        """
        components = self._components
        if not sizes_as_published:
            schemas = dict(components["schemas"])
            answer = schemas["ImagesResponse"]
            properties = {name: rule for name, rule in answer["properties"].items() if name != "size"}
            schemas["ImagesResponse"] = {**answer, "properties": properties}
            components = {**components, "schemas": schemas}
        validator = Draft202012Validator({"$ref": f"#/components/schemas/{schema}", "components": components})
        return [f"{error.json_path}: {error.message}" for error in cast(_Judge, validator).iter_errors(instance)]


def _with_null_allowed(node: object) -> object:
    """The schema with OpenAPI 3.0's `nullable`, which the document still uses, in the words of JSON Schema."""
    if isinstance(node, list):
        return [_with_null_allowed(item) for item in cast("list[object]", node)]
    if not isinstance(node, dict):
        return node
    members = {key: _with_null_allowed(value) for key, value in cast("dict[str, object]", node).items()}
    return {"anyOf": [members, {"type": "null"}]} if members.pop("nullable", False) is True else members


def load_published_api() -> PublishedApi:
    """Read the document beside the checkout; without it, CI fails and other machines skip."""
    if not DOCUMENT.exists():
        reason = f"OpenAI's published OpenAPI is not at {DOCUMENT}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return PublishedApi(cast("dict[str, Any]", yaml.load(DOCUMENT.read_text(), Loader=yaml.CSafeLoader)))
