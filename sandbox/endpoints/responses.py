"""`POST /v1/responses` with the tool `image_generation`: the other way to an edit, one image for each call."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from starlette.routing import Route

from imagequeue.pricing import text_tokens
from sandbox.app_state import Sandbox
from sandbox.edit_painter import paint_edit
from sandbox.faults import BodyFault
from sandbox.image_answers import Painted, digests, paint_order
from sandbox.paid_calls import Answer, Noted, PaidEndpoint, noted
from sandbox.painter import Commission, paint
from sandbox.rate_limits import Use
from sandbox.response_rules import ResponseOrder, ResponseRequest, check_response, read_response
from sandbox.usage import cost_of, use_of
from sandbox.values import given

_WORDS: Final = "Here is the image."


async def _responded(sandbox: Sandbox, order: ResponseOrder, fault: BodyFault | None) -> Answer:
    images = await paint_order(sandbox, order.image, _painter_of(order), fault)
    body = _response(order, images)
    return Answer(body if fault == "no_usage" else {**body, "usage": _usage(order)}, digests(images))


def _painter_of(order: ResponseOrder) -> Callable[[Commission], bytes]:
    return partial(paint_edit, inputs=order.inputs, mask=order.mask) if order.inputs else paint


def _response(order: ResponseOrder, images: Sequence[Painted]) -> dict[str, object]:
    fields, now = order.fields, int(time.time())
    return {
        "id": _new_id("resp"),
        "object": "response",
        "created_at": now,
        "completed_at": now,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": fields.get("instructions"),
        "max_output_tokens": fields.get("max_output_tokens"),
        "metadata": given(fields, "metadata", {}),
        "model": fields["model"],
        "output": [*(_image_call(order, image) for image in images), _message()],
        "parallel_tool_calls": given(fields, "parallel_tool_calls", True),
        "previous_response_id": None,
        "store": given(fields, "store", True),
        "temperature": given(fields, "temperature", 1.0),
        "tool_choice": given(fields, "tool_choice", "auto"),
        # Without the mask, which may be megabytes.
        "tools": [{name: value for name, value in order.tool.items() if name != "input_image_mask"}],
        "top_p": given(fields, "top_p", 1.0),
        "truncation": given(fields, "truncation", "disabled"),
    }


def _image_call(order: ResponseOrder, image: Painted) -> dict[str, object]:
    return {
        "id": _new_id("ig"),
        "type": "image_generation_call",
        "status": "completed",
        "action": "edit" if order.inputs else "generate",
        "result": image.encoded,
        "size": order.image.size,
        "quality": order.image.quality,
        "background": order.image.background,
        "output_format": order.image.output_format,
        "revised_prompt": order.prompt,
    }


def _message() -> dict[str, object]:
    text: dict[str, object] = {"type": "output_text", "text": _WORDS, "annotations": [], "logprobs": []}
    return {"id": _new_id("msg"), "type": "message", "status": "completed", "role": "assistant", "content": [text]}


def _usage(order: ResponseOrder) -> dict[str, object]:
    """The texts of the mainline model only: like OpenAI's, it leaves out what the image itself costs."""
    read, written = text_tokens(order.prompt), text_tokens(_WORDS)
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }


def _new_id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"


def _noted_response(request: ResponseRequest) -> Noted:
    return noted({**request.tool, "prompt": request.prompt}, request.images, request.mask)


def _use(order: ResponseOrder) -> Use:
    """What the image tool takes: its model's limits are the tight ones, not those of the model that calls it."""
    return use_of(order.image, order.input_sizes)


def _price(order: ResponseOrder) -> float:
    """What the image costs; the few tokens of the mainline model are left out."""
    return cost_of(order.image, order.input_sizes)


RESPONSES: Final = PaidEndpoint(
    "/v1/responses", read_response, _noted_response, check_response, _use, _price, _responded
)

ROUTES: Final = (Route(RESPONSES.path, RESPONSES.serve, methods=["POST"]),)
