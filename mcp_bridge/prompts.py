"""Prompts for the three jobs that people come with most."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server.mcpserver import MCPServer
from pydantic import Field


def add_prompts(server: MCPServer[Any]) -> None:
    """Let `server` offer them."""
    _add_photoreal(server)
    _add_infographic(server)
    _add_character(server)


def _add_photoreal(server: MCPServer[Any]) -> None:
    @server.prompt(
        name="photoreal_image",
        title="Photoreal image",
        description="A photograph that never was: camera, light and material named, price told first.",
    )
    def photoreal_image(  # pyright: ignore[reportUnusedFunction]
        subject: Annotated[str, Field(description="What the photograph shows.")],
        mood: Annotated[str, Field(description="Light, weather, time of day.")] = "soft morning light",
    ) -> str:
        return (
            f"Make a photoreal image of: {subject}. Mood: {mood}.\n"
            "Write the prompt like a photographer's note: subject and place, lens and distance, light and its "
            "direction, real materials with small imperfections; no words such as 8k or masterpiece. First tell me the "
            'price from estimate_cost for quality "low" and "high". Call generate_image at quality "low"; show it to '
            'me, and repeat at quality "high" only when I agree with the composition. If an answer has status '
            '"running", call wait_for_jobs.'
        )


def _add_infographic(server: MCPServer[Any]) -> None:
    @server.prompt(
        name="infographic",
        title="Infographic with text",
        description="A page whose words are rendered letter by letter, checked and mended in a session.",
    )
    def infographic(  # pyright: ignore[reportUnusedFunction]
        topic: Annotated[str, Field(description="What it explains.")],
        texts: Annotated[str, Field(description="Every word that must appear, one line each.")],
    ) -> str:
        return (
            f"Make an infographic about: {topic}.\nThese texts must appear, letter by letter:\n{texts}\n"
            'Quote each of them in the prompt ("…"), say where it stands and how large it is, and say that there is no '
            'other text. Use generate_image with size "1024x1536" and quality "high". Compare the words in the image '
            "with the list. If any is wrong, call start_edit_session with the image (job:<job_id>/0) and correct one "
            'text a turn with continue_edit_session, each time with "keep everything else the same". End with '
            "end_edit_session."
        )


def _add_character(server: MCPServer[Any]) -> None:
    @server.prompt(
        name="consistent_character",
        title="One character over several scenes",
        description="A character sheet first, then each scene as an edit of it, so that the character stays the same.",
    )
    def consistent_character(  # pyright: ignore[reportUnusedFunction]
        character: Annotated[str, Field(description="Who it is and what marks them.")],
        scenes: Annotated[str, Field(description="The scenes, one line each.")],
    ) -> str:
        return (
            f"Show one character in several scenes.\nCharacter: {character}\nScenes:\n{scenes}\n"
            "First make a character sheet with generate_image: front, side and face, plain background, neutral light. "
            "Show it to me. Then, for each scene, call edit_image with the sheet (job:<job_id>/0) as the first input "
            'and the prompt "The same character, unchanged in face, hair and clothes, …". Start all before waiting: '
            "gather the job_id of those still running and call wait_for_jobs once for all."
        )
