"""The call to OpenAI, through its SDK: one POST, never repeated here, its answer streamed to disk."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final, Literal, cast

import httpx2
from openai import AsyncAPIResponse, AsyncOpenAI, omit
from openai.types import ImagesResponse

from imagequeue.errors import BadOutput, Misconfigured
from imagequeue.jobs import Job
from imagequeue.requests import GenerateRequest
from imagequeue.settings import Settings
from worker.answer_fields import applied_of, usage_of
from worker.answers import Answer, AnswerSplitter
from worker.edit_order import EditOrder, LocalImage
from worker.policy import meaning_of
from worker.spool import Painted

SANDBOX_HEADER: Final = "x-imagequeue-sandbox"
SANDBOX_NOTE: Final = "Painted by the imagequeue sandbox, not by OpenAI: nothing was paid."
_OPENAI_URL: Final = "https://api.openai.com/v1"  # the SDK's default; it takes an empty variable for a URL
_REQUEST_ID_HEADER: Final = "x-request-id"
_CONNECT_TIMEOUT_SECONDS: Final = 10.0
_CHUNK_BYTES: Final = 262_144


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

    async def generate(self, job: Job, folder: Path) -> Painted:
        """Text to image; the answer's images become files in `folder`.

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
            extra_headers={"X-Client-Request-Id": f"{job.id}-{job.attempt}"},
        )
        splitter = AnswerSplitter(folder)
        try:
            async with response_context as response:
                return await _split(response, splitter)
        except Exception as error:
            raise meaning_of(error) from error
        finally:
            splitter.close()

    async def edit(self, order: EditOrder, folder: Path) -> Painted:
        """Images and text to images, by `/v1/images/edits`; the answer's images become files in `folder`.

        Raises:
            ProviderError: by what the failure means; see worker.policy.
        """
        splitter = AnswerSplitter(folder)
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
                    extra_headers={"X-Client-Request-Id": order.client_request_id},
                )
                async with response_context as response:
                    return await _split(response, splitter)
        except Exception as error:
            raise meaning_of(error) from error
        finally:
            splitter.close()

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


def _upload(image: LocalImage, files: ExitStack) -> tuple[str, IO[bytes], str]:
    return image.path.name, files.enter_context(image.path.open("rb")), image.mime_type


async def _split(response: AsyncAPIResponse[ImagesResponse], splitter: AnswerSplitter) -> Painted:
    try:
        async for chunk in response.iter_bytes(_CHUNK_BYTES):
            splitter.feed(chunk)
        return _painted(splitter.finish(), response.headers)
    except BadOutput as error:
        error.request_id = response.headers.get(_REQUEST_ID_HEADER)
        raise


def _painted(answer: Answer, headers: httpx2.Headers) -> Painted:
    body = answer.body
    return Painted(
        files=answer.files,
        usage=usage_of(body.get("usage")),
        applied=applied_of(body),
        request_id=headers.get(_REQUEST_ID_HEADER),
        notes=(SANDBOX_NOTE,) if SANDBOX_HEADER in headers else (),
    )
