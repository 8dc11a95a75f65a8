"""Resources: the originals, byte for byte, and the jobs behind them."""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError

from imagequeue.errors import ImageNotFound, ImageQueueError, NotFound
from mcp_bridge.bridge import Bridge
from mcp_bridge.door import Door

_MISSING = frozenset({"job_not_found", "image_not_found", "not_found"})


def add_resources(server: MCPServer[Any], bridge: Bridge) -> None:
    """Let `server` serve them."""

    @server.resource(
        "image://{job_id}/{index}",
        name="image",
        title="Generated image",
        description="An image as gpt-image-2 made it, byte for byte: PNG, JPEG or WebP, often several MB.",
        mime_type="application/octet-stream",  # by its bytes; the link to it names the right one
    )
    async def image(job_id: str, index: str) -> bytes:  # pyright: ignore[reportUnusedFunction]
        try:
            return await _original(await bridge.doors.door(), job_id, index)
        except ImageQueueError as error:
            raise _resource_error(error) from error

    @server.resource(
        "job://{job_id}",
        name="job",
        title="Job",
        description="A job's record: state, request, attempts, images, tokens, cost. JSON, without image data.",
        mime_type="application/json",
    )
    async def job(job_id: str) -> str:  # pyright: ignore[reportUnusedFunction]
        try:
            return (await (await bridge.doors.door()).job(job_id)).model_dump_json(indent=2)
        except ImageQueueError as error:
            raise _resource_error(error) from error


async def _original(door: Door, job_id: str, index: str) -> bytes:
    found = await door.job(job_id)
    if not index.isascii() or not index.isdigit() or int(index) >= len(found.images):
        raise ImageNotFound(f"Job {job_id} has no image {index!r}; it has {len(found.images)}.")
    return await door.image(job_id, int(index), "original")


def _resource_error(error: ImageQueueError) -> ResourceError:
    kind = ResourceNotFoundError if isinstance(error, NotFound) or error.code in _MISSING else ResourceError
    return kind(f"{error.code}: {error}")
