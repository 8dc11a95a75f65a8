"""The published tools are those of the documents that the bridge was built to: names, parameters, defaults, fields."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, cast

import pytest

from imagequeue import pricing
from mcp_bridge.schemas import input_schema
from mcp_bridge.server import TOOLS
from mcp_bridge.tool import AnyTool

QUALITIES = ["auto", "low", "medium", "high"]
RESULT = {"model", "prompt", "requested", "applied", "images", "usage", "cost_usd_estimated"}
TURN = RESULT | {"session_id", "turn"}
SIZE_TEXT = (
    'Output dimensions. "auto" (default), one of the presets "1024x1024", "1536x1024", "1024x1536", or a custom "WxH" '
    "where both edges are multiples of 16, max edge ≤ 3840px, aspect ratio within 1:3–3:1, and total pixels "
    "655,360–8,294,400. Outputs above 2K are beta."
)
PROMPT_TEXT = (
    "Image description. gpt-image-2 handles very detailed prompts; use ALL CAPS or quote literal text you want "
    "rendered verbatim."
)


@dataclass(frozen=True)
class Parameter:
    """A parameter as the documents have it."""

    type: str
    required: bool = False
    default: object = None
    enum: list[str] | None = None


PROMPT = Parameter("string", required=True)
IMAGES = Parameter("array", required=True)
SESSION = Parameter("string", required=True)
TEXT, NUMBER = Parameter("string"), Parameter("integer")
COMMON = {
    "size": Parameter("string", default="auto"),
    "quality": Parameter("string", default="auto", enum=QUALITIES),
    "background": Parameter("string", default="auto", enum=["auto", "opaque"]),
    "output_format": Parameter("string", enum=["png", "jpeg", "webp"]),
    "output_compression": NUMBER,
    "filename_prefix": TEXT,
    "user": TEXT,
}
NONE: dict[str, Parameter] = {}
TABLE = {
    "generate_image": (
        "Generate Image",
        {
            "prompt": PROMPT,
            **COMMON,
            "n": NUMBER,
            "moderation": Parameter("string", default="auto", enum=["auto", "low"]),
            "output_dir": TEXT,
        },
        RESULT,
    ),
    "edit_image": (
        "Edit Image",
        {"prompt": PROMPT, "images": IMAGES, "mask": TEXT, **COMMON, "n": NUMBER, "output_dir": TEXT},
        RESULT,
    ),
    "start_edit_session": (
        "Start Iterative Edit Session",
        {"prompt": PROMPT, "images": IMAGES, "mask": TEXT, **COMMON, "output_dir": TEXT},
        TURN,
    ),
    "continue_edit_session": ("Continue Edit Session", {"session_id": SESSION, "prompt": PROMPT, **COMMON}, TURN),
    "end_edit_session": ("End Edit Session", {"session_id": SESSION}, {"ended", "session_id"}),
    "list_edit_sessions": ("List Edit Sessions", NONE, {"sessions"}),
}
BY_NAME = {tool.name: tool for tool in TOOLS}
ADDED = {"get_edit_session", "fork_edit_session", "wait_for_jobs", "cancel_job", "estimate_cost"}


def properties_of(tool: AnyTool) -> dict[str, dict[str, Any]]:
    """The parameters that a tool publishes."""
    return cast("dict[str, dict[str, Any]]", input_schema(tool.inputs).get("properties", {}))


def test_there_are_these_tools_and_no_others() -> None:
    assert set(BY_NAME) == set(TABLE) | ADDED


@pytest.mark.parametrize("name", TABLE)
def test_parameters_are_those_of_the_documents(name: str) -> None:
    title, parameters, _ = TABLE[name]
    tool = BY_NAME[name]
    schema = input_schema(tool.inputs)
    published = {
        key: Parameter(
            type=value["type"],
            required=key in schema.get("required", []),
            default=value.get("default"),
            enum=value.get("enum"),
        )
        for key, value in properties_of(tool).items()
    }
    assert (tool.title, published) == (title, parameters)
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("name", TABLE)
def test_required_fields_of_results_are_those_of_the_documents(name: str) -> None:
    schema = BY_NAME[name].output.model_json_schema(mode="serialization")
    assert TABLE[name][2] <= set(schema["required"])
    if name in ("edit_image", "start_edit_session", "continue_edit_session"):
        assert {"route", "notes"} <= set(schema["properties"])
    if "job_id" in schema["properties"]:
        assert {"job_id", "status"} <= set(schema["required"])


def test_limits_are_those_of_the_documents() -> None:
    edit = properties_of(BY_NAME["edit_image"])
    assert (edit["images"]["minItems"], edit["images"]["maxItems"]) == (1, 8)
    assert (edit["n"]["minimum"], edit["n"]["maximum"]) == (1, 10)
    assert (edit["output_compression"]["minimum"], edit["output_compression"]["maximum"]) == (0, 100)
    assert (edit["size"]["description"], edit["prompt"]["description"]) == (SIZE_TEXT, PROMPT_TEXT)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_parameter_and_tool_says_what_it_is_for(tool: AnyTool) -> None:
    assert all(value.get("description") for value in properties_of(tool).values())
    siblings = [name for name in BY_NAME if name != tool.name and name in tool.description]
    assert siblings, "says which other tool to use instead"
    assert re.search(r"Costs money|[Ff]ree|costs nothing|billed", tool.description), "says what it costs"
    assert len(tool.description) < 2200
    hints = tool.annotations
    assert None not in (hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint, hints.open_world_hint)


@pytest.mark.parametrize("name", ["start_edit_session", "continue_edit_session", "end_edit_session"])
def test_sessions_say_when_they_expire(name: str) -> None:
    assert re.search(r"24 idle hours|idle for 24 hours", BY_NAME[name].description)


def test_the_prices_in_the_descriptions_are_those_of_the_table() -> None:
    figures: dict[pricing.FixedQuality, float] = {"low": 0.006, "medium": 0.05, "high": 0.21}
    for quality, told in figures.items():
        price = pricing.output_tokens(1024, 1024, quality) * pricing.IMAGE_OUTPUT_USD_PER_TOKEN
        assert price == pytest.approx(told, rel=0.06)  # pyright: ignore[reportUnknownMemberType]
        assert all(f"${told} ({quality}" in BY_NAME[name].description for name in ("generate_image", "edit_image"))
