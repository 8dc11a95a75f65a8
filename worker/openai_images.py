"""The call to OpenAI, through its SDK: one POST, never repeated here, its answer streamed to disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import httpx2
from openai import AsyncAPIResponse, AsyncOpenAI, omit
from openai.types import ImagesResponse

from imagequeue.errors import BadOutput, Misconfigured
from imagequeue.jobs import Applied, Job, Usage
from imagequeue.settings import Settings
from worker.answers import Answer, AnswerSplitter
from worker.policy import meaning_of

SANDBOX_HEADER: Final = "x-imagequeue-sandbox"
SANDBOX_NOTE: Final = "Painted by the imagequeue sandbox, not by OpenAI: nothing was paid."
_OPENAI_URL: Final = "https://api.openai.com/v1"  # the SDK's default; it takes an empty variable for a URL
_REQUEST_ID_HEADER: Final = "x-request-id"
_CONNECT_TIMEOUT_SECONDS: Final = 10.0
_CHUNK_BYTES: Final = 262_144


@dataclass(frozen=True, slots=True)
class Painted:
    """What a call gave: undecoded image files, and what OpenAI says of them."""

    files: tuple[Path, ...]
    usage: Usage | None
    applied: Applied
    request_id: str | None
    notes: tuple[str, ...]


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

    async def generate(self, job: Job, folder: Path) -> Painted:
        """Text to image; the answer's images become files in `folder`.

        Raises:
            ProviderError: by what the failure means; see worker.policy.
        """
        request = job.request
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
        usage=_usage(body.get("usage")),
        applied=Applied(**{name: _text(body.get(name)) for name in Applied.model_fields}),
        request_id=headers.get(_REQUEST_ID_HEADER),
        notes=(SANDBOX_NOTE,) if SANDBOX_HEADER in headers else (),
    )


def _usage(data: object) -> Usage | None:
    if not isinstance(data, dict):
        return None
    figures = cast("Mapping[str, object]", data)
    details = figures.get("input_tokens_details")
    inputs: Mapping[str, object] = cast("dict[str, object]", details) if isinstance(details, dict) else {}
    return Usage(
        input_tokens=_count(figures.get("input_tokens")),
        output_tokens=_count(figures.get("output_tokens")),
        total_tokens=_count(figures.get("total_tokens")),
        input_text_tokens=_count(inputs.get("text_tokens")),
        input_image_tokens=_count(inputs.get("image_tokens")),
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
