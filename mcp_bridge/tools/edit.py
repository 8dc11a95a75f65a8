"""Images and text to image."""

from __future__ import annotations

from typing import Final

from mcp.types import CallToolResult

from imagequeue.requests import EditRequest, parse_as
from mcp_bridge.bridge import Call
from mcp_bridge.facts import Facts
from mcp_bridge.outputs import ImageResult
from mcp_bridge.schemas import EditImage, StartEditSession
from mcp_bridge.tool import ToolSpec
from mcp_bridge.tools.annotations import PAID
from mcp_bridge.tools.delivery import deliver
from mcp_bridge.tools.texts import EDIT_PRICE, REFUSALS, saving, waiting


async def edit_image(call: Call, arguments: EditImage) -> CallToolResult:
    """Change or combine images once."""
    folder = call.bridge.folder(arguments.output_dir)
    fields = await with_sources(call, arguments)
    request = parse_as(EditRequest, {"type": "edit", **fields})
    return await deliver(call, await call.door.submit(request), folder)


async def with_sources(call: Call, arguments: EditImage | StartEditSession) -> dict[str, object]:
    """The fields of the request, with this machine's files uploaded."""
    # One after the other: each is read and decoded as a whole.
    images = [await call.source(given, f"images[{index}]") for index, given in enumerate(arguments.images)]
    mask = {"mask": await call.source(arguments.mask, "mask")} if arguments.mask else {}
    fields = arguments.model_dump(exclude={"output_dir", "images", "mask"}, exclude_none=True)
    return {**fields, "images": images, **mask}


def _description(facts: Facts) -> str:
    return f"""\
Edit or compose images with gpt-image-2: 1–8 input images plus a text prompt. Swap backgrounds, retouch products, \
combine references into one picture, keep a character across scenes. Inputs are always processed at high fidelity and \
stay unchanged.
Use it for one change. For several changes on one image use start_edit_session, where each step edits the exact bytes \
of the last; without input images use generate_image.
A mask marks what to change in the first image by its transparent regions, and must have that image's dimensions; the \
other images are references. `n` (1 by default) makes as many variants, each at its price. output_compression applies \
to jpeg and webp only.
{EDIT_PRICE}
{waiting(facts)}
{saving(facts)}
{REFUSALS}"""


EDIT_IMAGE: Final = ToolSpec(
    name="edit_image",
    title="Edit Image",
    description=_description,
    inputs=EditImage,
    output=ImageResult,
    annotations=PAID,
    handle=edit_image,
)
