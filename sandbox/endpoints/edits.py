"""`POST /v1/images/edits`: images and text to image, as a multipart form or as JSON."""

from __future__ import annotations

from functools import partial
from typing import Final

from starlette.routing import Route

from sandbox.api_errors import ApiError
from sandbox.app_state import Sandbox, Settings
from sandbox.edit_painter import paint_edit
from sandbox.edit_rules import EditOrder, EditRequest, check_edit, read_edit
from sandbox.faults import BodyFault
from sandbox.image_answers import painted_answer
from sandbox.image_rules import MODELS
from sandbox.paid_calls import Answer, Noted, PaidEndpoint, noted
from sandbox.rate_limits import Use
from sandbox.usage import cost_of, usage_of, use_of


async def _edited_answer(sandbox: Sandbox, order: EditOrder, fault: BodyFault | None) -> Answer:
    paint_one = partial(paint_edit, inputs=order.inputs, mask=order.mask)
    usage = usage_of(order.image, order.input_sizes)
    return await painted_answer(sandbox, order.image, paint_one, usage, fault, "image_edit")


def _noted_edit(request: EditRequest) -> Noted:
    return noted(request.fields, request.images, request.mask)


def _use(order: EditOrder) -> Use:
    return use_of(order.image, order.input_sizes)


def _price(order: EditOrder) -> float:
    return cost_of(order.image, order.input_sizes)


def _admit(settings: Settings, request: EditRequest) -> None:
    """Refuse the model while the setting says so, in the words that users of the real endpoint reported."""
    model = request.fields.get("model")
    if settings.refuse_edits and model in MODELS:
        message = f"Invalid value: '{model}'. Value must be 'dall-e-2'."
        raise ApiError(message, code="invalid_value", param="model")


EDITS: Final = PaidEndpoint(
    "/v1/images/edits", read_edit, _noted_edit, check_edit, _use, _price, _edited_answer, _admit
)

ROUTES: Final = (Route(EDITS.path, EDITS.serve, methods=["POST"]),)
