"""The published tools are those of the documents that the bridge was built to: names, parameters, defaults, fields."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
from fleet_kit import settings_of

from imagequeue import pricing
from mcp_bridge.facts import Facts
from mcp_bridge.schemas import input_schema
from mcp_bridge.server import TOOLS
from mcp_bridge.tool import AnyTool

QUALITIES = ["auto", "low", "medium", "high"]
RESULT = {"model", "prompt", "requested", "applied", "images", "usage", "cost_usd_estimated"}
TURN = RESULT | {"session_id", "turn"}
PAID = {"generate_image", "edit_image", "start_edit_session", "continue_edit_session"}
SESSION_ENDS = {"start_edit_session", "continue_edit_session", "end_edit_session"}
"""The tools that say when a session expires."""
OPTIONAL = {
    "route": 'Which API route served the request (edit tools only): "direct" = /v1/images/edits, "responses" = '
    "Responses-API fallback (one image per call, undercounted cost).",
    "notes": "Caveats about how the request was served.",
}
TEXTS = {
    "images": "Input images. Each entry can be: an absolute file path, a relative path (resolved from CWD), a file:// "
    "URL, an http(s):// URL, or a data:image/...;base64,... URL. PNG/WEBP/JPG, up to 50MB each.",
    "mask": "Optional PNG mask — fully transparent pixels mark the editable region. Must match the first input image's "
    "dimensions and be <4MB. Accepts the same source types as `images`.",
    "output_dir": "Absolute or relative directory where generated images should be written. Defaults to "
    "$GPT_IMAGE_2_OUTPUT_DIR or a per-project subfolder under the OS config dir. The directory is created if missing.",
    "session_id": "The session id returned by start_edit_session",
}
"""What the documents say of the parameters that only the tools have; they may say more."""


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
LOCAL = Facts(local=True, wait_seconds=45, idle="24 hours", waiting_turns="100", data_mb=50)
OVER_HTTP = replace(LOCAL, local=False)
BRIDGES = pytest.mark.parametrize("facts", [LOCAL, OVER_HTTP], ids=["stdio", "http"])
ADDED = {"get_edit_session", "fork_edit_session", "wait_for_jobs", "cancel_job", "estimate_cost"}


def properties_of(tool: AnyTool, facts: Facts = LOCAL) -> dict[str, dict[str, Any]]:
    """The parameters that a tool publishes."""
    return cast("dict[str, dict[str, Any]]", input_schema(tool.inputs, facts).get("properties", {}))


def test_there_are_these_tools_and_no_others() -> None:
    assert set(BY_NAME) == set(TABLE) | ADDED


@BRIDGES
@pytest.mark.parametrize("name", TABLE)
def test_parameters_are_those_of_the_documents(name: str, facts: Facts) -> None:
    title, parameters, _ = TABLE[name]
    tool = BY_NAME[name]
    schema = input_schema(tool.inputs, facts)
    published = {
        key: Parameter(
            type=value["type"],
            required=key in schema.get("required", []),
            default=value.get("default"),
            enum=value.get("enum"),
        )
        for key, value in properties_of(tool, facts).items()
    }
    assert (tool.title, published) == (title, parameters)
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("name", TABLE)
def test_required_fields_of_results_are_those_of_the_documents(name: str) -> None:
    schema = BY_NAME[name].output.model_json_schema(mode="serialization")
    assert TABLE[name][2] <= set(schema["required"])
    if TABLE[name][2] >= RESULT:
        optional = {key: value for key, value in schema["properties"].items() if key not in schema["required"]}
        assert {key: optional[key]["description"] for key in OPTIONAL} == OPTIONAL
    if "job_id" in schema["properties"]:
        assert {"job_id", "status"} <= set(schema["required"])


def test_limits_are_those_of_the_documents() -> None:
    edit = properties_of(BY_NAME["edit_image"])
    assert (edit["images"]["minItems"], edit["images"]["maxItems"]) == (1, 8)
    assert (edit["n"]["minimum"], edit["n"]["maximum"]) == (1, 10)
    assert (edit["output_compression"]["minimum"], edit["output_compression"]["maximum"]) == (0, 100)


def test_parameters_are_described_as_in_the_documents() -> None:
    published = {key: value["description"] for name in TABLE for key, value in properties_of(BY_NAME[name]).items()}
    assert {key for key, words in TEXTS.items() if words not in published[key]} == set()


def test_over_http_no_tool_speaks_of_files_of_the_callers_machine() -> None:
    for tool in TOOLS:
        told = f"{tool.description(OVER_HTTP)} {properties_of(tool, OVER_HTTP)}"
        assert not re.search(r"file path|relative path|file://|OUTPUT_DIR|saved|photos/", told), tool.name
    images = properties_of(BY_NAME["edit_image"], OVER_HTTP)["images"]["description"]
    assert "POST /v1/uploads" in images
    assert "50 MB a call" in images


def test_figures_follow_the_settings() -> None:
    given = {"IMAGEQUEUE_MCP_WAIT_SECONDS": "7", "IMAGEQUEUE_SESSION_IDLE_HOURS": "3.5"}
    settings = settings_of(given | {"IMAGEQUEUE_MAX_WAITING_TURNS": "9", "IMAGEQUEUE_MAX_EDIT_BODY_BYTES": "8000000"})
    own = Facts.of(settings, local=True, direct=True)
    assert own == Facts(local=True, wait_seconds=7, idle="3.5 hours", waiting_turns="9", data_mb=6)
    behind_an_api = Facts.of(settings, local=True, direct=False)
    assert behind_an_api.idle == "3.5 hours by default", "the server may have other settings"
    told = {name: tool.description(own) for name, tool in BY_NAME.items()}
    assert {name for name in told if "7 s" in told[name]} == {*PAID, "wait_for_jobs"}
    assert {name for name in told if "3.5 hours" in told[name]} == SESSION_ENDS
    assert "up to 9 may wait" in told["continue_edit_session"]


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
@BRIDGES
def test_every_parameter_and_tool_says_what_it_is_for(tool: AnyTool, facts: Facts) -> None:
    description = tool.description(facts)
    assert all(value.get("description") for value in properties_of(tool, facts).values())
    siblings = [name for name in BY_NAME if name != tool.name and name in description]
    assert siblings, "says which other tool to use instead"
    assert re.search(r"Costs money|[Ff]ree|costs nothing|billed", description), "says what it costs"
    assert len(description) < 2300
    hints = tool.annotations
    assert None not in (hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint, hints.open_world_hint)


def test_the_prices_in_the_descriptions_are_those_of_the_table() -> None:
    figures: dict[pricing.FixedQuality, float] = {"low": 0.006, "medium": 0.05, "high": 0.21}
    for quality, told in figures.items():
        price = pricing.output_tokens(1024, 1024, quality) * pricing.IMAGE_OUTPUT_USD_PER_TOKEN
        assert price == pytest.approx(told, rel=0.06)  # pyright: ignore[reportUnknownMemberType]
        assert all(
            f"${told} ({quality}" in BY_NAME[name].description(LOCAL) for name in ("generate_image", "edit_image")
        )
    largest = pricing.output_tokens(2880, 2880, "high") / pricing.output_tokens(1024, 1024, "high")
    assert largest == pytest.approx(3.4, rel=0.02)  # pyright: ignore[reportUnknownMemberType]
    assert all("up to 3.4 times that at the largest" in tool.description(LOCAL) for tool in TOOLS if tool.name in PAID)
