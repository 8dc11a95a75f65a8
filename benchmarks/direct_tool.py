"""What one would write instead of bridge and queue: an MCP tool on stdio that calls OpenAI in its own process.

It saves the image in the current folder and returns it whole, as most published servers for image models do.
"""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any
from uuid import uuid4

from mcp.server.mcpserver import MCPServer
from mcp.types import ContentBlock, ImageContent, TextContent
from openai import AsyncOpenAI


def make_server(client: AsyncOpenAI) -> MCPServer[Any]:
    """The server with its one tool."""
    server = MCPServer[Any]("direct", log_level="WARNING")

    # The image's base64 goes into the answer as OpenAI sent it, and only once: without structured content.
    @server.tool(structured_output=False)
    async def generate_image(  # pyright: ignore[reportUnusedFunction]
        prompt: str, quality: str = "auto", size: str = "auto"
    ) -> list[ContentBlock]:
        """Make an image from text with gpt-image-2."""
        answer = await client.images.generate(
            model="gpt-image-2",
            prompt=prompt,
            quality=quality,  # pyright: ignore[reportArgumentType]
            size=size,
        )
        encoded = answer.data[0].b64_json if answer.data else None
        assert encoded
        path = Path(f"{uuid4().hex}.png").resolve()
        await asyncio.to_thread(save, path, encoded)
        return [TextContent(text=f"Saved as {path}"), ImageContent(data=encoded, mime_type="image/png")]

    return server


def save(path: Path, encoded: str) -> None:
    """Write an image's bytes."""
    path.write_bytes(base64.b64decode(encoded))


if __name__ == "__main__":
    make_server(AsyncOpenAI(max_retries=0)).run()
