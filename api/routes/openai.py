"""OpenAI's own wire format: `/v1/images/generations`, `/v1/images/edits`, `/v1/models`."""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import structlog
from flask import Response, request
from flask_openapi.blueprint import APIBlueprint
from pydantic import BaseModel, Field

from api.answers import REPLAYED, REPLAYED_HEADER, once_terms
from api.context import the_queue, the_settings
from api.document import Answer, View, add_route, json_answer, make_blueprint
from api.openai_wire.answers import EVENT_STREAM, accepted_answer, streamed_answer, whole_answer
from api.openai_wire.bodies import Order, edit_order, generation_order
from api.openai_wire.errors import JOB_HEADER, ErrorResponse, OpenAIError, input_as_openai
from api.openai_wire.forms import read_edit_form
from api.openai_wire.shapes import ImagesAnswer, Model, ModelList
from api.openai_wire.waiting import Waiter
from api.parameters import NoQuery, OnceHeader
from api.request_body import read_json_object
from api.uploaded_files import MULTIPART
from imagequeue.errors import InvalidInput
from imagequeue.openai_bodies import ImageEdit, ImageGeneration
from imagequeue.views import JobView

_log = structlog.stdlib.get_logger(__name__)
_RETRY_COUNT: Final = "X-Stainless-Retry-Count"
"""OpenAI's SDKs count in it how often they have sent a call again; 0 the first time."""
_PREFER: Final = r"(?:^|,)\s*{}\s*(?:[,;]|$)"
_BINARY: Final = {"type": "string", "format": "binary"}
_FORM: Final = {
    "type": "object",
    "properties": {"prompt": {"type": "string"}, "image": _BINARY, "image[]": _BINARY, "mask": _BINARY},
    "additionalProperties": {"type": "string"},
    "required": ["prompt"],
}
"""The other fields as in the JSON body, as text."""
_PLACE: Final = {"Location": "Address of the job."}


class OpenAIHeader(OnceHeader):
    """What may be preferred of a call, and what OpenAI's SDKs say."""

    prefer: str = Field(
        default="",
        alias="Prefer",
        description="`respond-async`: answer 202 with the job at once. `reattach`: an equal call that was not answered "
        "gives its job again, as it does to the SDKs' own retries.",
        examples=["respond-async"],
    )
    retry_count: str = Field(
        default="0",
        alias=_RETRY_COUNT,
        description="How often OpenAI's SDK has sent this call again. Above 0 it gets the job that it has already.",
        examples=["1"],
    )

    @property
    def respond_async(self) -> bool:
        """Whether the job is wanted rather than its images."""
        return self._prefers("respond-async")

    @property
    def again(self) -> bool:
        """Whether the client says that it sends the call once more."""
        return self._prefers("reattach") or self.retry_count.strip() not in ("", "0")

    def _prefers(self, preference: str) -> bool:
        return re.search(_PREFER.format(preference), self.prefer, re.ASCII | re.IGNORECASE) is not None


class ModelPath(BaseModel):
    """Which model."""

    model: str = Field(description="The model's id.", examples=["gpt-image-2"])


def create_image(query: NoQuery, header: OpenAIHeader) -> Response:
    """Make images from text, in OpenAI's wire format.

    The call becomes a job like any other, and its answer waits for the images. A connection that breaks loses nothing:
    the job goes on, and the call gets it when OpenAI's SDK sends it again.
    """
    return _served(generation_order(read_json_object(), the_settings().model), header)


def edit_image(query: NoQuery, header: OpenAIHeader) -> Response:
    """Make images from images and text, in OpenAI's wire format.

    As multipart form with the files as `image` or `image[]`, and `mask`; or as JSON with `images` by `image_url`.
    """
    if request.mimetype == MULTIPART:
        return _served(edit_order(read_edit_form(), the_settings().model, images_name="image"), header)
    return _served(edit_order(read_json_object(with_images=True), the_settings().model), header)


def list_models(query: NoQuery) -> Response:
    """List the models: there is the one that the server is configured for."""
    return _json(ModelList(data=(Model(id=the_settings().model),)))


def get_model(path: ModelPath, query: NoQuery) -> Response:
    """Look at a model."""
    if path.model != the_settings().model:
        raise OpenAIError(f"The model '{path.model}' does not exist here.", 404, "model_not_found", "model")
    return _json(Model(id=path.model))


def openai_routes() -> APIBlueprint:
    """The routes in OpenAI's wire format."""
    routes = make_blueprint("openai", "OpenAI's own wire format, for its SDKs.", "/v1")
    _add(routes, "post", "/images/generations", create_image, _image_answers(), body=ImageGeneration)
    _add(routes, "post", "/images/edits", edit_image, _image_answers(), body=ImageEdit, form=_FORM)
    _add(routes, "get", "/models", list_models, {200: json_answer(ModelList, "The models.")})
    _add(routes, "get", "/models/<model>", get_model, {200: json_answer(Model, "The model.")})
    return routes


def _add(
    routes: APIBlueprint,
    method: Literal["get", "post"],
    rule: str,
    view: View,
    answers: dict[int, Answer],
    *,
    body: type[BaseModel] | None = None,
    form: dict[str, Any] | None = None,
) -> None:
    refused = json_answer(ErrorResponse, "A parameter is wrong; nothing was spent.")
    errors = json_answer(ErrorResponse, "An error in OpenAI's form, with its statuses.")
    forms = {MULTIPART: form} if form else None
    nobody = json_answer(ErrorResponse, "The API key is missing, or not good.")
    lacking = json_answer(ErrorResponse, "The API key lacks the scope.")
    answers = {**answers, 400: refused, 401: nobody, 403: lacking}
    add_route(routes, method, rule, view, answers, body=body, other_bodies=forms, default=errors)


def _image_answers() -> dict[int, Answer]:
    job = {JOB_HEADER: "Id of the job behind the answer.", **REPLAYED}
    images = json_answer(ImagesAnswer, "The images; with `stream`, events in OpenAI's form.", job)
    images["content"][EVENT_STREAM] = {"schema": {"type": "string"}}
    return {200: images, 202: json_answer(JobView, "The job, as `Prefer: respond-async` asks.", job | _PLACE)}


def _served(order: Order, header: OpenAIHeader) -> Response:
    terms = once_terms(order.request.model_dump(mode="json"), header)
    try:
        call = the_queue().submit_call(order.request, terms, again=header.again)
    except InvalidInput as error:
        raise input_as_openai(error, error.field) from error
    if call.reattached:
        _log.info("call_reattached", job=call.job.id)
    waiter = Waiter.of(call, streamed=order.streamed)
    if header.respond_async:
        response = accepted_answer(waiter)
    else:
        response = streamed_answer(waiter, order) if order.streamed else whole_answer(waiter, order)
    if terms.idempotency and call.reattached:
        response.headers[REPLAYED_HEADER] = "true"
    return response


def _json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), mimetype="application/json")
