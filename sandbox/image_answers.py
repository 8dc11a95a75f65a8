"""Painted answers of the image endpoints, and the ways in which their body can be spoiled."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final

from PIL import Image as PillowImage

from sandbox.app_state import Sandbox
from sandbox.faults import BodyFault
from sandbox.image_rules import ImageOrder
from sandbox.paid_calls import Answer
from sandbox.painter import Commission, encoded, paint
from sandbox.painting.easel import resized
from sandbox.painting.noise import heavy_png
from sandbox.usage import usage_of

_BROKEN_BASE64: Final = "*** this is not base64 ***"
_NOT_AN_IMAGE: Final = base64.b64encode(b"<html><body>This is not an image.</body></html>").decode()

PaintOne = Callable[[Commission], bytes]
"""Paints the image file of a commission."""


@dataclass(frozen=True, slots=True)
class Painted:
    """One image as it goes into an answer; `digest` is its file's SHA-256, None when a fault is in its place."""

    encoded: str
    digest: str | None


async def generated_answer(sandbox: Sandbox, order: ImageOrder, fault: BodyFault | None) -> Answer:
    """Paint the images of a generation and write the answer."""
    return await painted_answer(sandbox, order, paint, usage_of(order), fault, "image_generation")


async def painted_answer(
    sandbox: Sandbox,
    order: ImageOrder,
    paint_one: PaintOne,
    usage: Mapping[str, object],
    fault: BodyFault | None,
    event: str,
) -> Answer:
    """Paint the images of an order and write the answer; `event` is what the names of streamed events begin with."""
    images = await paint_order(sandbox, order, paint_one, fault)
    if not order.streamed:
        return _images_answer(order, images, usage, fault)
    rough = await asyncio.get_running_loop().run_in_executor(sandbox.painters, partial(_rough_forms, order, images))
    return _streamed_answer(order, images, rough, usage, fault, event)


async def paint_order(
    sandbox: Sandbox, order: ImageOrder, paint_one: PaintOne, fault: BodyFault | None
) -> list[Painted]:
    """Paint the images of an order in the painters' threads, and spoil them if the fault is one of images."""
    loop = asyncio.get_running_loop()
    heavy = sandbox.settings.image_bytes
    if heavy and order.output_format == "png":
        job = partial(_heavy, order.width, order.height, heavy)
        return _spoiled([await loop.run_in_executor(sandbox.painters, job)] * order.n, fault)
    jobs = [partial(_paint, paint_one, _commission(order, index, fault)) for index in range(order.n)]
    return _spoiled(await asyncio.gather(*(loop.run_in_executor(sandbox.painters, job) for job in jobs)), fault)


def _images_answer(
    order: ImageOrder, images: Sequence[Painted], usage: Mapping[str, object], fault: BodyFault | None
) -> Answer:
    body: dict[str, object] = {
        "created": int(time.time()),
        "data": [{"b64_json": image.encoded} for image in images],
        **_applied(order),
    }
    return Answer(body if fault == "no_usage" else {**body, "usage": usage}, digests(images))


def _streamed_answer(
    order: ImageOrder,
    images: Sequence[Painted],
    rough: Sequence[str],
    usage: Mapping[str, object],
    fault: BodyFault | None,
    event: str,
) -> Answer:
    common: dict[str, object] = {"created_at": int(time.time()), **_applied(order)}
    partials = tuple(
        {"type": f"{event}.partial_image", "b64_json": form, "partial_image_index": index, **common}
        for index, form in enumerate(rough)
    )
    last = {"type": f"{event}.completed", "b64_json": images[0].encoded if images else "", **common}
    return Answer(last if fault == "no_usage" else {**last, "usage": usage}, digests(images), partials)


def _applied(order: ImageOrder) -> dict[str, object]:
    return {
        "background": order.background,
        "output_format": order.output_format,
        "size": order.size,
        "quality": order.quality,
    }


def _rough_forms(order: ImageOrder, images: Sequence[Painted]) -> list[str]:
    """The image as it comes to be, in base64, each form finer than the one before; none of a spoiled image."""
    if not order.partial_images or not images or images[0].digest is None:
        return []
    with PillowImage.open(io.BytesIO(base64.b64decode(images[0].encoded))) as file:
        picture = file.convert("RGB")
    forms = [
        resized(picture.reduce(2 ** (5 - index)), picture.size, PillowImage.Resampling.BILINEAR)
        for index in range(order.partial_images)
    ]
    files = [encoded(form, order.output_format, order.output_compression) for form in forms]
    return [base64.b64encode(file).decode() for file in files]


def digests(images: Sequence[Painted]) -> tuple[str, ...]:
    """SHA-256 of the image files that are in the answer."""
    return tuple(image.digest for image in images if image.digest is not None)


def _commission(order: ImageOrder, index: int, fault: BodyFault | None) -> Commission:
    return Commission(
        prompt=order.prompt,
        width=order.width,
        height=order.height,
        quality=order.quality,
        output_format=_wrong_format(order) if fault == "wrong_format" else order.output_format,
        compression=order.output_compression,
        index=index,
    )


def _paint(paint_one: PaintOne, commission: Commission) -> Painted:
    return _encoded(paint_one(commission))


@lru_cache(maxsize=4)
def _heavy(width: int, height: int, size_bytes: int) -> Painted:
    return _encoded(heavy_png(width, height, size_bytes))


def _encoded(file: bytes) -> Painted:
    return Painted(base64.b64encode(file).decode(), hashlib.sha256(file).hexdigest())


def _wrong_format(order: ImageOrder) -> str:
    return "png" if order.output_format == "jpeg" else "jpeg"


def _spoiled(images: list[Painted], fault: BodyFault | None) -> list[Painted]:
    """The images with the fault in their place."""
    if fault == "broken_base64":
        return [Painted(_BROKEN_BASE64, None)] * len(images)
    if fault == "not_an_image":
        return [Painted(_NOT_AN_IMAGE, None)] * len(images)
    return [] if fault == "empty_list" else images
