"""Edits by the Responses API, for accounts whose `/v1/images/edits` refuses the model.

A calling model hands prompt and images to the tool `image_generation`. Each call makes one image. The images to edit
are uploaded before the first call and deleted after the last.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import structlog
from openai import AsyncAPIResponse, AsyncOpenAI, OpenAIError, omit
from openai.types.responses import EasyInputMessageParam, Response, ResponseInputImageParam
from openai.types.responses.tool_param import ImageGeneration

from imagequeue.errors import OutcomeUnknown, ProviderBusy, ProviderError
from worker.answers import AnswerSplitter
from worker.edit_order import EditOrder, LocalImage
from worker.image_answers import SANDBOX_HEADER, SANDBOX_NOTE
from worker.policy import meaning_of
from worker.responses_answer import ToolAnswer, read_answer, total_usage
from worker.spool import Painted

ROUTE_NOTE: Final = (
    "Served by the Responses API, because /v1/images/edits refused the model: one image per call, and the model that "
    "calls the image tool may have reworded the prompt."
)
IMAGE_NOT_COUNTED_NOTE: Final = (
    "The cost is undercounted: OpenAI told only the tokens of the model that calls the image tool; the image's own are "
    "not counted."
)
CALLER_NOT_COUNTED_NOTE: Final = (
    "The cost is undercounted: it has the image's tokens, and not those of the model that calls the image tool."
)
NO_PREVIEWS_NOTE: Final = "No partial images: the Responses API was used, and they are not asked for there."
_INSTRUCTIONS: Final = "Call the image tool once. Give it the user's text as the prompt, word for word."
_REQUEST_ID_HEADER: Final = "x-request-id"
_CHUNK_BYTES: Final = 262_144
_FILE_LIFE_SECONDS: Final = 86_400
"""OpenAI deletes an upload then by itself, in case this process dies before it does."""
_DELETE_TIMEOUT_SECONDS: Final = 20.0
_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Served:
    answer: ToolAnswer
    request_id: str | None
    by_sandbox: bool


async def edit_by_responses(client: AsyncOpenAI, tool_caller: str, order: EditOrder, folder: Path) -> Painted:
    """Images and text to `order.n` images, one call each; they become files in folders of their own in `folder`.

    `tool_caller` is the model that is made to call the image tool. What a later call fails with does not lose what
    earlier ones gave: it ends up in the notes.

    Raises:
        ProviderError: the first call failed, or an upload; by what the failure means, see worker.policy.
    """
    images = (*order.images, order.mask) if order.mask else order.images
    served: list[_Served] = []
    notes = [ROUTE_NOTE, *([NO_PREVIEWS_NOTE] if order.partial_images else [])]
    async with _uploaded(client, images) as file_ids:
        for index in range(order.n):
            try:
                served.append(await _call(client, tool_caller, order, file_ids, folder, index))
            except ProviderError as error:
                if not served:
                    raise
                notes.append(_shortfall(error, index, order.n))
                break
    return _painted(served, notes)


@asynccontextmanager
async def _uploaded(client: AsyncOpenAI, images: Sequence[LocalImage]) -> AsyncGenerator[list[str]]:
    """Ids of the uploaded images; they are deleted at the end, whatever happens."""
    file_ids: list[str] = []
    try:
        for image in images:
            file_ids.append(await _upload(client, image))
        yield file_ids
    finally:
        deleting = asyncio.gather(*(_delete(client, file_id) for file_id in file_ids))
        try:
            await asyncio.shield(deleting)
        except asyncio.CancelledError:  # not before the deletions are done
            await deleting
            raise


async def _upload(client: AsyncOpenAI, image: LocalImage) -> str:
    try:
        with image.path.open("rb") as content:
            file = await client.files.create(
                file=(image.path.name, content, image.mime_type),
                purpose="vision",
                expires_after={"anchor": "created_at", "seconds": _FILE_LIFE_SECONDS},
            )
    except Exception as error:
        meaning = meaning_of(error)
        if isinstance(meaning, OutcomeUnknown):  # nothing is paid for yet, so there is no harm in trying again
            meaning = ProviderBusy(f"An input image could not be uploaded. {meaning}", request_id=meaning.request_id)
        raise meaning from error
    return file.id


async def _delete(client: AsyncOpenAI, file_id: str) -> None:
    try:
        await client.files.delete(file_id, timeout=_DELETE_TIMEOUT_SECONDS)
    except OpenAIError as error:
        _log.warning("uploaded_image_not_deleted", file_id=file_id, error=str(error))


async def _call(
    client: AsyncOpenAI, tool_caller: str, order: EditOrder, file_ids: Sequence[str], folder: Path, index: int
) -> _Served:
    """The call for image `index`."""
    own_folder = folder / f"call-{index}"
    own_folder.mkdir(exist_ok=True)
    splitter = AnswerSplitter(own_folder, "result")
    response_context = client.responses.with_streaming_response.create(
        model=tool_caller,
        instructions=_INSTRUCTIONS,
        input=[_message(order.prompt, file_ids[: len(order.images)])],
        tools=[_tool(order, file_ids[-1] if order.mask else None)],
        tool_choice={"type": "image_generation"},
        max_tool_calls=1,
        store=False,
        user=order.user or omit,
        extra_headers={"X-Client-Request-Id": f"{order.client_request_id}-{index}"},
    )
    try:
        async with response_context as response:
            return await _split(response, splitter)
    except Exception as error:
        raise meaning_of(error) from error
    finally:
        splitter.close()


def _message(prompt: str, image_ids: Sequence[str]) -> EasyInputMessageParam:
    images = [ResponseInputImageParam(type="input_image", file_id=file_id, detail="auto") for file_id in image_ids]
    return {"role": "user", "content": [{"type": "input_text", "text": prompt}, *images]}


def _tool(order: EditOrder, mask_id: str | None) -> ImageGeneration:
    settings: dict[str, object] = {
        "type": "image_generation",
        "action": "edit",
        "model": order.model,
        "size": order.size,
        "quality": order.quality,
        "background": order.background,
        "output_format": order.output_format,
    }
    if order.output_compression is not None:
        settings["output_compression"] = order.output_compression
    if mask_id is not None:
        settings["input_image_mask"] = {"file_id": mask_id}
    return cast("ImageGeneration", settings)


async def _split(response: AsyncAPIResponse[Response], splitter: AnswerSplitter) -> _Served:
    request_id = response.headers.get(_REQUEST_ID_HEADER)
    try:
        async for chunk in response.iter_bytes(_CHUNK_BYTES):
            splitter.feed(chunk)
        return _Served(read_answer(splitter.finish()), request_id, SANDBOX_HEADER in response.headers)
    except ProviderError as error:
        error.request_id = request_id
        raise


def _painted(served: Sequence[_Served], notes: Sequence[str]) -> Painted:
    whole_images = all(each.answer.counts_image for each in served)
    return Painted(
        files=tuple(file for each in served for file in each.answer.files),
        usage=total_usage([each.answer.usage for each in served]),
        applied=served[0].answer.applied,
        request_id=", ".join(each.request_id for each in served if each.request_id) or None,
        notes=(
            *notes,
            CALLER_NOT_COUNTED_NOTE if whole_images else IMAGE_NOT_COUNTED_NOTE,
            *((SANDBOX_NOTE,) if any(each.by_sandbox for each in served) else ()),
        ),
    )


def _shortfall(error: ProviderError, done: int, wanted: int) -> str:
    extra = " That call may have been billed too." if isinstance(error, OutcomeUnknown) else ""
    request = f" (request {error.request_id})" if error.request_id else ""
    return f"{done} of {wanted} images were made, then a call failed with {error.code}{request}: {error}{extra}"
