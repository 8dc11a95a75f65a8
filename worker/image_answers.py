"""What the image endpoints answer: one JSON object, or events with previews before the image."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import httpx2
from openai import AsyncAPIResponse

from imagequeue.errors import ProviderError
from worker.answer_fields import applied_of, object_of, text_of, usage_of
from worker.answers import Answer, AnswerSplitter
from worker.event_stream import EventSplitter
from worker.policy import StreamEnded, meaning_inside
from worker.previews import OnPreview, Preview
from worker.spool import Painted

SANDBOX_HEADER: Final = "x-imagequeue-sandbox"
SANDBOX_NOTE: Final = "Painted by the imagequeue sandbox, not by OpenAI: nothing was paid."
_REQUEST_ID_HEADER: Final = "x-request-id"
_STREAM: Final = "text/event-stream"
_PREVIEW: Final = ".partial_image"
_COMPLETED: Final = ".completed"


async def received(response: AsyncAPIResponse[Any], folder: Path, previews: int, on_preview: OnPreview) -> Painted:
    """Read a successful answer into files in `folder`; up to `previews` previews are handed on as they come.

    A stream was asked for with `previews` only, but the answer says itself what it is: it is paid for either way.

    Raises:
        ProviderError: a stream told of a failure, or what came is no image.
        StreamEnded: a stream ended without the image.
    """
    headers = response.headers
    try:
        if headers.get("content-type", "").lower().startswith(_STREAM):
            answer = await _streamed(response.iter_bytes(), folder, previews, on_preview)
        else:
            answer = await _split(response.iter_bytes(), folder)
    except ProviderError as error:
        error.request_id = headers.get(_REQUEST_ID_HEADER)
        raise
    return _painted(answer, headers)


async def _split(chunks: AsyncIterator[bytes], folder: Path) -> Answer:
    with closing(AnswerSplitter(folder)) as splitter:
        async for chunk in chunks:
            splitter.feed(chunk)
        return splitter.finish()


async def _streamed(chunks: AsyncIterator[bytes], folder: Path, previews: int, on_preview: OnPreview) -> Answer:
    """The event with the image; what may come after it is not waited for."""
    follower = _Follower(previews, on_preview)
    with closing(EventSplitter(folder)) as splitter:
        async for chunk in chunks:
            for event in splitter.feed(chunk):
                if follower.is_last(event):
                    return event
        for event in splitter.finish():
            if follower.is_last(event):
                return event
    raise StreamEnded


class _Follower:
    """Hands on the first `previews` previews of a stream; they are numbered as they come."""

    def __init__(self, previews: int, on_preview: OnPreview) -> None:
        self._previews = previews
        self._on_preview = on_preview
        self._came = 0

    def is_last(self, event: Answer) -> bool:
        """Whether the event brings the image.

        Raises:
            ProviderError: it tells of a failure.
        """
        if error := object_of(event.body.get("error")):
            raise meaning_inside(error, begun=self._came > 0)
        kind = text_of(event.body.get("type")) or ""
        if kind.endswith(_PREVIEW) and event.files and self._came < self._previews:
            self._on_preview(Preview(self._came, event.files[0]))
            self._came += 1
        return kind.endswith(_COMPLETED)


def _painted(answer: Answer, headers: httpx2.Headers) -> Painted:
    body = answer.body
    return Painted(
        files=answer.files,
        usage=usage_of(body.get("usage")),
        applied=applied_of(body),
        request_id=headers.get(_REQUEST_ID_HEADER),
        notes=(SANDBOX_NOTE,) if SANDBOX_HEADER in headers else (),
    )
