"""Text to image."""

from __future__ import annotations

from typing import Final

from mcp.types import CallToolResult, ToolAnnotations

from imagequeue.requests import GenerateRequest, parse_as
from mcp_bridge.bridge import Call
from mcp_bridge.outputs import ImageResult
from mcp_bridge.schemas import GenerateImage
from mcp_bridge.tool import ToolSpec
from mcp_bridge.tools.delivery import deliver


async def generate_image(call: Call, arguments: GenerateImage) -> CallToolResult:
    """Make images from text."""
    folder = call.bridge.folder(arguments.output_dir)
    request = parse_as(GenerateRequest, arguments.model_dump(exclude={"output_dir"}, exclude_none=True))
    return await deliver(call, await call.door.submit(request), folder)


GENERATE_IMAGE: Final = ToolSpec(
    name="generate_image",
    title="Generate Image",
    description="""\
Make new images from a text prompt with gpt-image-2. To change or combine existing images use edit_image; to refine \
one image in several steps, start_edit_session.
Costs money: at 1024x1024 about $0.006 (low), $0.05 (medium) or $0.21 (high) for each of `n`, more at larger sizes; \
"auto" quality may pick any of them. estimate_cost tells the price first, for free.
Takes 10 to 300 seconds. The job is queued durably: if it takes longer than the call may, the answer has status \
"running" and a job_id for wait_for_jobs. Cancelling or timing out never loses or repeats it: the same call made again \
re-attaches to the unfinished job. Once its result was handed over, the same call makes and bills new images.
Originals are kept and, on the user's machine, saved to output_dir without overwriting anything; the answer shows \
previews. output_compression needs output_format jpeg or webp. A refusal by OpenAI's moderation is an error \
(moderation_blocked) and is not billed: change the prompt instead of retrying.""",
    inputs=GenerateImage,
    output=ImageResult,
    annotations=ToolAnnotations(
        title="Generate Image",
        read_only_hint=False,
        destructive_hint=False,
        idempotent_hint=False,
        open_world_hint=True,
    ),
    handle=generate_image,
)
