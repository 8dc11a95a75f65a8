"""A job's images as OpenAI answers them: one JSON object, or server-sent events while they are made.

Images are read from S3 to this machine's disk before the first byte is sent, so that what S3 fails with can still be
told, and are encoded piece by piece from there.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import structlog
from flask import Response

from api.openai_wire.bodies import Order
from api.openai_wire.errors import SERVER_ERROR, OpenAIError, failure_as_openai, headers_of
from api.openai_wire.shapes import ImagesUsage, InputTokens
from api.openai_wire.waiting import ClientGone, Waiter
from api.problems import RETRY_AFTER_SECONDS
from imagequeue.errors import ImageQueueError, Unavailable
from imagequeue.jobs import Image, Job, JobState, PartialImage, Usage

EVENT_STREAM: Final = "text/event-stream"
_NOBODY: Final = 499
"""What nginx calls the status of a request whose client has left; nobody reads it."""
_PING_LOOKS: Final = 5
_CHUNK_BYTES: Final = 3 * 65_536
"""Of a file: three bytes make four of base64, so that pieces can be encoded each on its own."""
_MARK: Final = "\x00"
"""Stands for an image where the JSON around it is written."""
_log = structlog.stdlib.get_logger(__name__)


def whole_answer(waiter: Waiter, order: Order) -> Response:
    """Wait for the job, then answer with all images at once."""
    try:
        job = waiter.end()
    except ClientGone:
        _leave(waiter)
        return Response(status=_NOBODY)
    except BaseException:
        _leave(waiter)
        raise
    if job.state is not JobState.SUCCEEDED:
        refusal = failure_as_openai(job)
        return _handing_over(waiter, iter([refusal.body.model_dump_json().encode()]), refusal.status, refusal.headers)
    kept = ExitStack()
    try:
        folder = kept.enter_context(waiter.queue.inputs.folder())
        files = [_fetched(waiter, image, folder) for image in job.images]
    except BaseException:
        kept.close()
        _leave(waiter)
        raise
    template = {
        "created": (job.finished_at or 0) // 1000,
        **_said(job),
        **_usage(job.usage),
        "data": [{"b64_json": _MARK} for _ in files],
    }
    pieces, length = _filled(template, files)
    response = _handing_over(waiter, pieces, 200, headers_of(job), kept)
    response.content_length = length
    return response


def streamed_answer(waiter: Waiter, order: Order) -> Response:
    """Answer at once, with events: each preview when it comes, then the image. Between them the line is kept alive."""
    events = _events(waiter, order)
    response = _handing_over(waiter, events, 200, headers_of(waiter.call.job))
    response.mimetype = EVENT_STREAM
    response.headers["X-Accel-Buffering"] = "no"
    return response


def accepted_answer(waiter: Waiter) -> Response:
    """Answer with the job at once, as `Prefer: respond-async` asks."""
    job = waiter.call.job
    headers = {
        **headers_of(job),
        "Location": f"/v1/jobs/{job.id}",
        "Preference-Applied": "respond-async",
        "Retry-After": str(RETRY_AFTER_SECONDS),
    }
    return _handing_over(waiter, iter([waiter.queue.view(job).model_dump_json().encode()]), 202, headers)


def _handing_over(
    waiter: Waiter,
    pieces: Iterator[bytes],
    status: int,
    headers: Mapping[str, str],
    kept: ExitStack | None = None,
) -> Response:
    """An answer after whose last byte the call counts as answered; one that is cut off leaves the call open."""
    sent = threading.Event()

    def body() -> Generator[bytes]:
        try:
            yield from pieces
        except _NotAnswered:
            return
        sent.set()

    def ended() -> None:
        if kept:
            kept.close()
        if not sent.is_set():
            _leave(waiter)
            return
        try:
            waiter.queue.calls.answered(waiter.call)
        except Unavailable as error:  # sent again within a day, the call would get this answer once more
            _log.warning("answer_not_noted", job=waiter.call.job.id, error=str(error))

    response = Response(body(), status=status, mimetype="application/json", headers=dict(headers))
    response.call_on_close(ended)
    return response


class _NotAnswered(Exception):
    """The stream is over, and the client has neither images nor the reason why there are none."""


def _events(waiter: Waiter, order: Order) -> Generator[bytes]:
    yield f": job {waiter.call.job.id}\n\n".encode()  # the headers leave with it
    shown = looks = 0
    try:
        for job in waiter.looks():
            if job is None:
                looks += 1
                if looks % _PING_LOOKS == 0:
                    yield b": still waiting\n\n"
                continue
            for partial in job.partial_images[shown:]:
                yield from _partial_event(waiter, order, job, partial)
                shown += 1
            if job.state is JobState.SUCCEEDED:
                yield from _completed_event(waiter, order, job)
            elif job.state.terminal:
                yield _error_event(failure_as_openai(job))
    except ClientGone as error:
        raise _NotAnswered from error
    except OpenAIError as error:
        yield _error_event(error)
        raise _NotAnswered from error
    except ImageQueueError as error:
        yield _error_event(OpenAIError(str(error), 503, error.code, kind=SERVER_ERROR))
        raise _NotAnswered from error


def _partial_event(waiter: Waiter, order: Order, job: Job, partial: PartialImage) -> Generator[bytes]:
    try:
        encoded = base64.b64encode(waiter.queue.partials.read(partial)).decode()
    except ImageQueueError as error:  # the image itself may still come
        _log.warning("preview_not_sent", job=job.id, error=str(error))
        return
    data = {
        "type": f"{order.event}.partial_image",
        "b64_json": encoded,
        "partial_image_index": partial.partial_index,
        "created_at": int(time.time()),
        **_asked(order),
        "output_format": partial.mime_type.removeprefix("image/"),
        "size": partial.size,
    }
    yield _event(data)


def _completed_event(waiter: Waiter, order: Order, job: Job) -> Generator[bytes]:
    template = {
        "type": f"{order.event}.completed",
        "b64_json": _MARK,
        "created_at": (job.finished_at or 0) // 1000,
        **_asked(order),
        **_said(job),
        **_usage(job.usage),
    }
    with waiter.queue.inputs.folder() as folder:
        file = _fetched(waiter, job.images[0], folder)
        pieces, _ = _filled(template, [file])
        yield f"event: {template['type']}\ndata: ".encode()
        yield from pieces
        yield b"\n\n"


def _error_event(error: OpenAIError) -> bytes:
    return _event({"type": "error", **error.body.model_dump()})


def _event(data: Mapping[str, Any]) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


def _fetched(waiter: Waiter, image: Image, folder: Path) -> Path:
    path = folder / str(image.index)
    waiter.queue.save_image(waiter.call.job.id, image.index, path, owner=waiter.owner)
    return path


def _filled(template: Mapping[str, Any], files: list[Path]) -> tuple[Generator[bytes], int]:
    """The JSON with the files in base64 in place of the marks, piece by piece, and its length in bytes."""
    texts = [part.encode() for part in json.dumps(template).split(json.dumps(_MARK)[1:-1])]
    length = sum(map(len, texts)) + sum((path.stat().st_size + 2) // 3 * 4 for path in files)

    def pieces() -> Generator[bytes]:
        yield texts[0]
        for path, text in zip(files, texts[1:], strict=True):
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    yield base64.b64encode(chunk)
            yield text

    return pieces(), length


def _asked(order: Order) -> dict[str, str | None]:
    request = order.request
    return {"quality": request.quality, "background": request.background}


def _said(job: Job) -> dict[str, str]:
    """The settings that OpenAI says it used, and the format of the files as they are."""
    applied = job.applied.model_dump(exclude_none=True) if job.applied else {}
    first = job.images[0]
    return {"size": f"{first.width}x{first.height}", **applied, "output_format": first.mime_type.removeprefix("image/")}


def _usage(usage: Usage | None) -> dict[str, Any]:
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return {}
    details = None
    if usage.input_text_tokens is not None and usage.input_image_tokens is not None:
        details = InputTokens(text_tokens=usage.input_text_tokens, image_tokens=usage.input_image_tokens)
    total = usage.total_tokens
    counted = ImagesUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens if total is None else total,
        input_tokens_details=details,
    )
    return {"usage": counted.model_dump(exclude_none=True)}


def _leave(waiter: Waiter) -> None:
    try:
        waiter.queue.calls.left(waiter.call)
    except Unavailable as error:
        _log.warning("call_not_left", job=waiter.call.job.id, error=str(error))
