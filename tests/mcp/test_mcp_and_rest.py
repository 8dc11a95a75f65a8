"""The MCP tools take what the REST API takes: the same limits, choices and defaults, told by the same models."""

from __future__ import annotations

from typing import Any, Final, cast

import pytest
from pydantic import BaseModel

from imagequeue.requests import (
    ContinueSessionRequest,
    EditRequest,
    ForkSessionRequest,
    GenerateRequest,
    StartSessionRequest,
)
from mcp_bridge.schemas import (
    ContinueEditSession,
    EditImage,
    EstimateCost,
    ForkEditSession,
    GenerateImage,
    Input,
    InputSchema,
    StartEditSession,
)

PAIRS: Final[list[tuple[type[Input], type[BaseModel]]]] = [
    (GenerateImage, GenerateRequest),
    (EditImage, EditRequest),
    (StartEditSession, StartSessionRequest),
    (ContinueEditSession, ContinueSessionRequest),
    (ForkEditSession, ForkSessionRequest),
]
OF_REST: Final = {"type", "on_unknown_outcome", "partial_images", "reuse", "webhook"}
"""What an agent has no use for: a call made again re-attaches by itself."""
OF_THE_BRIDGE: Final = {"output_dir", "session_id"}
"""Where files go on the bridge's machine; and what stands in the path of the REST address."""
TEXTS: Final = {"title", "description", "examples", "default"}

Schema = dict[str, Any]
pairs = pytest.mark.parametrize(("tool", "model"), PAIRS, ids=lambda model: model.__name__)


def fields(model: type[BaseModel]) -> Schema:
    """The schema of each field, without the null that stands for what is left out."""
    return cast("Schema", model.model_json_schema(schema_generator=InputSchema).get("properties", {}))


def rules(schema: object) -> object:
    """A schema without the words."""
    if isinstance(schema, dict):
        found = cast("dict[str, object]", schema)
        return {name: rules(value) for name, value in found.items() if name not in TEXTS}
    return schema


@pairs
def test_a_tool_takes_the_fields_of_its_request_and_no_others(tool: type[Input], model: type[BaseModel]) -> None:
    assert set(fields(tool)) - OF_THE_BRIDGE == set(fields(model)) - OF_REST


@pairs
def test_limits_and_choices_are_the_same(tool: type[Input], model: type[BaseModel]) -> None:
    theirs = fields(model)
    for name, schema in fields(tool).items():
        if name in theirs:
            assert rules(schema) == rules(theirs[name]), name


@pairs
def test_a_default_that_a_tool_names_is_that_of_its_request(tool: type[Input], model: type[BaseModel]) -> None:
    for name, field in tool.model_fields.items():
        if name in OF_THE_BRIDGE:
            continue
        theirs = model.model_fields[name]
        assert field.is_required() == theirs.is_required(), name
        assert field.default is None or field.is_required() or field.default == theirs.default, name


def test_an_estimate_takes_what_a_request_takes() -> None:
    theirs = fields(GenerateRequest)
    for name, schema in fields(EstimateCost).items():
        if name != "input_images":
            assert rules(schema) == rules(theirs[name]), name
