"""Edit sessions over both doors: start, continue, list, get, fork, end, and what goes wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from bridge_kit import RunningBridge
from fleet_kit import Fleet
from picture_kit import png


@pytest.fixture
def image(bridge: RunningBridge) -> str:
    """An image in the project's folder."""
    (bridge.project / "start.png").write_bytes(png(size=(1024, 1024)))
    return "start.png"


def test_a_session_goes_from_start_to_end(bridge: RunningBridge, image: str) -> None:
    first = bridge.call(
        "start_edit_session",
        prompt="Make it night",
        images=[image],
        quality="low",
        output_format="jpeg",
        output_dir="s",
    )
    session = first["session_id"]
    second = bridge.call("continue_edit_session", session_id=session, prompt="Add a moon", quality="low")
    assert (first["turn"], second["turn"], second["session_id"]) == (1, 2, session)
    assert second["images"][0]["mime_type"] == "image/jpeg", "the session keeps its format"
    path = Path(second["images"][0]["file_path"])
    assert path.parent == bridge.project / "s", "and the folder of its first images"

    (listed,) = [one for one in bridge.call("list_edit_sessions")["sessions"] if one["session_id"] == session]
    assert (listed["turns"], listed["last_prompt"], listed["state"]) == (2, "Add a moon", "active")
    assert (listed["last_image_path"], listed["last_image"]) == (str(path), second["images"][0]["resource"])

    fork = bridge.call("fork_edit_session", session_id=session, turn=1)
    assert (fork["forked_from"], fork["turns"], fork["last_image_path"]) == (f"{session}/1", 0, None)
    other = bridge.call("continue_edit_session", session_id=fork["session_id"], prompt="Add fog", quality="low")
    assert other["turn"] == 2 or other["turn"] == 1

    ended = bridge.call("end_edit_session", session_id=session)
    assert dict(ended.result.structured_content or {}) == {"ended": True, "session_id": session}
    detail = bridge.call("get_edit_session", session_id=session)
    assert (detail["state"], [turn["prompt"] for turn in detail["history"]]) == (
        "ended",
        ["Make it night", "Add a moon"],
    )
    assert session in detail.text and "Add a moon" in detail.text

    refused = bridge.refused("continue_edit_session", session_id=session, prompt="One more")
    assert refused.startswith("session_ended: ")
    assert "fork_edit_session" in refused
    assert "/v1/" not in refused, "who speaks MCP cannot call REST"


def test_a_failed_turn_leaves_the_session_at_its_last_good_image(bridge: RunningBridge, image: str) -> None:
    first = bridge.call("start_edit_session", prompt="A calm sea", images=[image], quality="low")
    refused = bridge.refused("continue_edit_session", session_id=first["session_id"], prompt="FORBIDDEN ships")
    assert refused.startswith("moderation_blocked: ")
    again = bridge.call("continue_edit_session", session_id=first["session_id"], prompt="A calm boat", quality="low")
    detail = bridge.call("get_edit_session", session_id=first["session_id"])
    assert [turn["status"] for turn in detail["history"]] == ["succeeded", "failed", "succeeded"]
    assert again["turn"] == 3


@pytest.mark.parametrize("tool", ["continue_edit_session", "get_edit_session", "fork_edit_session", "end_edit_session"])
@pytest.mark.parametrize("session", ["ses_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z", "../jobs", "", "ses_*", "é" * 100])
def test_an_unknown_session_is_an_error_that_names_the_list(bridge: RunningBridge, tool: str, session: str) -> None:
    arguments = {"prompt": "A turn"} if tool == "continue_edit_session" else {}
    refused = bridge.refused(tool, session_id=session, **arguments)
    assert refused.startswith("session_not_found: ")
    assert "list_edit_sessions" in refused


def test_a_turn_without_an_image_cannot_be_forked(bridge: RunningBridge, image: str, working_fleet: Fleet) -> None:
    first = bridge.call("start_edit_session", prompt="Only one turn", images=[image], quality="low")
    refused = bridge.refused("fork_edit_session", session_id=first["session_id"], turn=7)
    assert refused.startswith("image_not_found: ")
    assert "get_edit_session" in refused


def test_listing_takes_nothing(bridge: RunningBridge) -> None:
    assert "It takes none" in bridge.refused("list_edit_sessions", limit=3)
