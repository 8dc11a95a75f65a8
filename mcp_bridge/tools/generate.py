"""Text to image."""

from __future__ import annotations

from typing import Final

from mcp.types import CallToolResult

from imagequeue.requests import GenerateRequest, parse_as
from mcp_bridge.bridge import Call
from mcp_bridge.facts import Facts
from mcp_bridge.outputs import ImageResult
from mcp_bridge.schemas import GenerateImage
from mcp_bridge.tool import ToolSpec
from mcp_bridge.tools.annotations import PAID
from mcp_bridge.tools.delivery import deliver
from mcp_bridge.tools.texts import PRICE, REFUSALS, saving, waiting


async def generate_image(call: Call, arguments: GenerateImage) -> CallToolResult:
    """Make images from text."""
    folder = call.bridge.folder(arguments.output_dir)
    request = parse_as(GenerateRequest, arguments.model_dump(exclude={"output_dir"}, exclude_none=True))
    return await deliver(call, await call.door.submit(request), folder)


def _description(facts: Facts) -> str:
    return f"""\
Make new images from a text prompt with gpt-image-2. To change or combine existing images use edit_image; to refine \
one image in several steps, start_edit_session.
Costs money, billed to the server's OpenAI account: each of `n` images (1 by default) {PRICE}; quality "auto" may pick \
any. estimate_cost tells the price first, for free. output_compression applies to jpeg and webp only.
{waiting(facts)}
{saving(facts)}
{REFUSALS}"""


GENERATE_IMAGE: Final = ToolSpec(
    name="generate_image",
    title="Generate Image",
    description=_description,
    inputs=GenerateImage,
    output=ImageResult,
    annotations=PAID,
    handle=generate_image,
)
