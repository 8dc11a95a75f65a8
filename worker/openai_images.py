"""The call to OpenAI, through its SDK: one POST, never repeated here, its answer streamed to disk."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final, Literal, cast

import httpx2
from openai import AsyncOpenAI, omit

from imagequeue.errors import Misconfigured
from imagequeue.jobs import Job
from imagequeue.requests import GenerateRequest
from imagequeue.settings import Settings
from worker.edit_order import EditOrder, LocalImage
from worker.image_answers import received
from worker.policy import meaning_of
from worker.previews import OnPreview
from worker.spool import Painted

_OPENAI_URL: Final = "https://api.openai.com/v1"  # the SDK's default; it takes an empty variable for a URL
_CONNECT_TIMEOUT_SECONDS: Final = 10.0


class OpenAIImages:
    """The image endpoints. Its coroutines run on the worker's one loop.

    Raises:
        Misconfigured: there is no OpenAI key, or it cannot be one.
    """

    def __init__(self, settings: Settings) -> None:
        timeout = httpx2.Timeout(settings.openai_timeout_seconds, connect=_CONNECT_TIMEOUT_SECONDS)
        limits = httpx2.Limits(max_connections=settings.worker_slots, max_keepalive_connections=settings.worker_slots)
        self._client = AsyncOpenAI(
            api_key=_api_key(settings),
            base_url=settings.openai_base_url or _OPENAI_URL,
            timeout=timeout,
            max_retries=0,  # an image POST is paid for and not idempotent: only our own records may repeat it
            http_client=httpx2.AsyncClient(timeout=timeout, limits=limits),
        )
        # Not as arguments: instead of None the SDK takes the variable, and an empty one for a name.
        self._client.organization = settings.openai_org_id
        self._client.project = settings.openai_project_id

    @property
    def client(self) -> AsyncOpenAI:
        """The SDK's client, for calls that are not of the image endpoints."""
        return self._client

    async def generate(self, job: Job, folder: Path, on_preview: OnPreview) -> Painted:
        """Text to image; the answer's images become files in `folder`, and previews that come before are handed on.

        Raises:
            ProviderError: by what the failure means; see worker.policy.
        """
        request = cast("GenerateRequest", job.request)
        compression = request.output_compression
        response_context = self._client.images.with_streaming_response.generate(
            model=job.model,
            prompt=request.prompt,
            size=request.size,
            quality=request.quality,
            n=request.n,
            background=request.background,
            output_format=request.output_format,
            output_compression=omit if compression is None or request.output_format == "png" else compression,
            moderation=request.moderation,
            user=request.user or omit,
            stream=_stream(request.partial_images),
            partial_images=request.partial_images or omit,
            extra_headers={"X-Client-Request-Id": f"{job.id}-{job.attempt}"},
        )
        try:
            async with response_context as response:
                return await received(response, folder, request.partial_images, on_preview)
        except Exception as error:
            raise meaning_of(error) from error

    async def edit(self, order: EditOrder, folder: Path, on_preview: OnPreview) -> Painted:
        """Images and text to images, by `/v1/images/edits`; the answer's images become files in `folder`.

        Previews that come before are handed on.

        Raises:
            ProviderError: by what the failure means; see worker.policy.
        """
        try:
            with ExitStack() as files:
                response_context = self._client.images.with_streaming_response.edit(
                    model=order.model,
                    prompt=order.prompt,
                    image=[_upload(image, files) for image in order.images],  # always a list: sent as image[]
                    mask=_upload(order.mask, files) if order.mask else omit,
                    size=order.size,
                    quality=cast("Literal['auto', 'low', 'medium', 'high']", order.quality),
                    n=order.n,
                    background=cast("Literal['auto', 'opaque']", order.background),
                    output_format=cast("Literal['png', 'jpeg', 'webp']", order.output_format),
                    output_compression=omit if order.output_compression is None else order.output_compression,
                    user=order.user or omit,
                    stream=_stream(order.partial_images),
                    partial_images=order.partial_images or omit,
                    extra_headers={"X-Client-Request-Id": order.client_request_id},
                )
                async with response_context as response:
                    return await received(response, folder, order.partial_images, on_preview)
        except Exception as error:
            raise meaning_of(error) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _api_key(settings: Settings) -> str:
    if settings.openai_api_key is None:
        raise Misconfigured(
            "OPENAI_API_KEY is not set. Set it, or rehearse for nothing with: imagequeue sandbox "
            "and OPENAI_BASE_URL=http://127.0.0.1:PORT/v1 OPENAI_API_KEY=sandbox"
        )
    key = settings.openai_api_key.get_secret_value().strip()
    if not key or not all("!" <= character <= "~" for character in key):
        raise Misconfigured("OPENAI_API_KEY holds a blank, a line break or another character that no key has.")
    return key


def _stream(partial_images: int) -> bool:
    return cast("bool", True if partial_images else omit)


def _upload(image: LocalImage, files: ExitStack) -> tuple[str, IO[bytes], str]:
    return image.path.name, files.enter_context(image.path.open("rb")), image.mime_type
