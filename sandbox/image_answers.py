"""Painted answers of the image endpoints, and the ways in which their body can be spoiled."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from typing import Final

from sandbox.app_state import Sandbox
from sandbox.faults import BodyFault
from sandbox.image_rules import ImageOrder
from sandbox.paid_calls import Answer
from sandbox.painter import Commission, paint
from sandbox.usage import usage_of

_BROKEN_BASE64: Final = "*** this is not base64 ***"
_NOT_AN_IMAGE: Final = base64.b64encode(b"<html><body>This is not an image.</body></html>").decode()


async def painted_answer(sandbox: Sandbox, order: ImageOrder, fault: BodyFault | None) -> Answer:
    """Paint the images of an order, in the painters' threads, and write the answer."""
    loop = asyncio.get_running_loop()
    output_format = _wrong_format(order) if fault == "wrong_format" else order.output_format
    commissions = (_commission(order, output_format, index) for index in range(order.n))
    painted = await asyncio.gather(*(loop.run_in_executor(sandbox.painters, _paint, each) for each in commissions))
    body: dict[str, object] = {
        "created": int(time.time()),
        "data": [{"b64_json": encoded} for encoded, _ in painted],
        "background": order.background,
        "output_format": order.output_format,
        "size": order.size,
        "quality": order.quality,
        "usage": usage_of(order),
    }
    return _spoiled(Answer(body, tuple(digest for _, digest in painted)), fault)


def _commission(order: ImageOrder, output_format: str, index: int) -> Commission:
    return Commission(
        prompt=order.prompt,
        width=order.width,
        height=order.height,
        quality=order.quality,
        output_format=output_format,
        compression=order.output_compression,
        index=index,
    )


def _paint(commission: Commission) -> tuple[str, str]:
    """Base64 and SHA-256 of the image file."""
    file = paint(commission)
    return base64.b64encode(file).decode(), hashlib.sha256(file).hexdigest()


def _wrong_format(order: ImageOrder) -> str:
    return "png" if order.output_format == "jpeg" else "jpeg"


def _spoiled(answer: Answer, fault: BodyFault | None) -> Answer:
    """The answer with the fault in its body; images that no longer are in it are not listed either."""
    if fault in (None, "wrong_format"):
        return answer
    if fault == "no_usage":
        return Answer({key: value for key, value in answer.body.items() if key != "usage"}, answer.images)
    data = {
        "broken_base64": [{"b64_json": _BROKEN_BASE64}] * len(answer.images),
        "not_an_image": [{"b64_json": _NOT_AN_IMAGE}] * len(answer.images),
        "empty_list": [],
    }
    return Answer({**answer.body, "data": data[fault]}, ())
