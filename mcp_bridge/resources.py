"""Resources: the originals, byte for byte, and the jobs behind them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.types import InputRequiredResult, ResourceTemplate
from mcp.types import Tool as MCPTool
from pydantic import AnyUrl

from imagequeue.errors import ImageNotFound, ImageQueueError, NotFound
from mcp_bridge.bridge import Bridge

_MISSING: Final = frozenset({"job_not_found", "image_not_found", "not_found"})
_IMAGE: Final = re.compile(r"image://(job_[0-9A-Za-z]{1,40})/([0-9]{1,4})")
_JOB: Final = re.compile(r"job://(job_[0-9A-Za-z]{1,40})/?")


_TEMPLATES: Final = (
    ResourceTemplate(
        uri_template="image://{job_id}/{index}",
        name="image",
        title="Generated image",
        description="An image as gpt-image-2 made it, byte for byte: PNG, JPEG or WebP, often several MB.",
    ),
    ResourceTemplate(
        uri_template="job://{job_id}",
        name="job",
        title="Job",
        description="A job's record: state, request, attempts, images, tokens, cost. JSON, without image data.",
        mime_type="application/json",
    ),
)


class BridgeServer(MCPServer[Any]):
    """A server that opens its door in time, and whose images have their own type: the SDK knows one for a template."""

    bridge: Bridge

    async def list_tools(self) -> list[MCPTool]:
        """Called by the SDK: whoever lists tools is going to call one."""
        tools = await super().list_tools()
        self.bridge.doors.prepare()
        return tools

    async def list_resource_templates(self) -> list[ResourceTemplate]:
        """Called by the SDK."""
        return [*_TEMPLATES, *await super().list_resource_templates()]

    async def read_resource(
        self, uri: AnyUrl | str, context: Context[Any, Any] | None = None
    ) -> Iterable[ReadResourceContents] | InputRequiredResult:
        """Called by the SDK.

        Raises:
            ResourceNotFoundError: there is no such image or job, or it is somebody else's.
            ResourceError: it cannot be had now.
        """
        try:
            if match := _IMAGE.fullmatch(str(uri)):
                return [await _original(self.bridge, match[1], int(match[2]))]
            if match := _JOB.fullmatch(str(uri)):
                job = await (await self.bridge.doors.door()).job(match[1])
                return [ReadResourceContents(content=job.model_dump_json(indent=2), mime_type="application/json")]
        except ImageQueueError as error:
            missing = isinstance(error, NotFound) or error.code in _MISSING
            raise (ResourceNotFoundError if missing else ResourceError)(f"{error.code}: {error}") from error
        raise ResourceNotFoundError(
            f"There is no resource {uri}: images are image://<job_id>/<index>, jobs job://<job_id>."
        )


async def _original(bridge: Bridge, job_id: str, index: int) -> ReadResourceContents:
    door = await bridge.doors.door()
    job = await door.job(job_id)
    if index >= len(job.images):
        raise ImageNotFound(f"Job {job_id} has no image {index}; it has {len(job.images)}.")
    return ReadResourceContents(
        content=await door.image(job_id, index, "original"), mime_type=job.images[index].mime_type
    )
