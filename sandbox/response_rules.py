"""What a call of the Responses API may ask for here: one image by the tool `image_generation`.

The mainline model, which in truth reads the messages and calls the tool, is only a name here: the users' texts are the
prompt, word for word, and their images are the images to edit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from starlette.requests import Request

from sandbox.api_errors import ApiError
from sandbox.app_state import sandbox_of
from sandbox.edit_rules import MAX_IMAGES, auto_size
from sandbox.file_store import FileStore
from sandbox.image_rules import ImageOrder, check_order
from sandbox.input_images import Source, check_images, check_mask, referenced, usable
from sandbox.request_bodies import read_json
from sandbox.values import Fields, choice, given, missing, refuse_unknown, string, wrong_type

TOOL: Final = "image_generation"
_PLACE: Final = "tools[0]"
_DEFAULT_IMAGE_MODEL: Final = "gpt-image-1"  # OpenAI's, for a tool without a model; this server does not have it
_MAINLINE_MODEL: Final = r"(gpt-[4-9](?!.*image)|o[1-9])[A-Za-z0-9.-]*"
_ROLES: Final = ("user", "assistant", "system", "developer")
_DETAILS: Final = ("auto", "low", "high", "original")
_IMAGE_PARAMETERS: Final = (
    "model",
    "size",
    "quality",
    "background",
    "moderation",
    "output_format",
    "output_compression",
    "partial_images",
)
_TOOL_PARAMETERS: Final = ("type", "action", "input_image_mask", *_IMAGE_PARAMETERS)
_PARAMETERS: Final = (
    "model",
    "input",
    "tools",
    "tool_choice",
    "instructions",
    "include",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "temperature",
    "text",
    "top_p",
    "truncation",
    "user",
)
_UNSUPPORTED: Final = ("stream", "background", "previous_response_id", "conversation", "prompt")


@dataclass(frozen=True, slots=True)
class ResponseRequest:
    """A request as it came, taken apart: all parameters, the tool's, and the prompt and images of the messages."""

    fields: Fields
    tool: Fields
    prompt: str
    images: tuple[Source, ...]
    mask: Source | None


@dataclass(frozen=True, slots=True)
class ResponseOrder:
    """A checked request; without `inputs` the image is a new one. `input_sizes` are their (width, height) in pixels."""

    fields: Fields
    tool: Fields
    image: ImageOrder
    inputs: tuple[bytes, ...]
    input_sizes: tuple[tuple[int, int], ...]
    mask: bytes | None

    @property
    def prompt(self) -> str:
        """What to paint, or to change."""
        return self.image.prompt

    @property
    def streamed(self) -> bool:
        """Never: the Responses API has other events, which are not painted here."""
        return False


async def read_response(request: Request) -> ResponseRequest | ApiError:
    """The request, or the refusal of a body that is none."""
    document = await read_json(request)
    if isinstance(document, ApiError):
        return document
    try:
        return _taken_apart(document, sandbox_of(request).files)
    except ApiError as refusal:
        return refusal


def check_response(request: ResponseRequest) -> ResponseOrder:
    """Check a call of the Responses API.

    Raises:
        ApiError: at the first rule broken, or when the safety rule refuses the prompt.
    """
    _check_parameters(request.fields)
    editing = _is_edit(request)
    sizes = check_images(request.images, "input", MAX_IMAGES)
    size = sizes[0] if sizes else (1024, 1024)
    if request.mask is not None:
        check_mask(request.mask, size)
    parameters = {name: request.tool[name] for name in _IMAGE_PARAMETERS if name in request.tool}
    try:
        refuse_unknown(request.tool, _TOOL_PARAMETERS)
        image = check_order(
            {"model": _DEFAULT_IMAGE_MODEL, **parameters, "prompt": request.prompt},
            auto_size(*size) if editing else (1024, 1024),
        )
    except ApiError as refusal:
        raise refusal.renamed(_in_tool(refusal.param)) from None
    return ResponseOrder(
        request.fields,
        request.tool,
        image,
        tuple(usable(source).content for source in request.images) if editing else (),
        tuple(sizes) if editing else (),
        None if request.mask is None else usable(request.mask).content,
    )


def _in_tool(param: str | None) -> str | None:
    return "input" if param == "prompt" else param and f"{_PLACE}.{param}"


def _check_parameters(fields: Fields) -> None:
    refuse_unknown(fields, (*_PARAMETERS, *_UNSUPPORTED))
    for name in _UNSUPPORTED:
        if fields.get(name) not in (None, False):
            raise ApiError(f"This sandbox does not support '{name}'.", code="unsupported_value", param=name)
    if "model" not in fields:
        raise missing("model")
    model = string(fields["model"], "model")
    if not re.fullmatch(_MAINLINE_MODEL, model):
        message = f"The requested model '{model}' does not exist."
        raise ApiError(message, code="model_not_found", param="model")
    tool_choice = given(fields, "tool_choice", "auto")
    if tool_choice not in ("auto", "required", {"type": TOOL}):
        message = f"This sandbox calls the tool '{TOOL}' always: let 'tool_choice' be auto, required, or this tool."
        raise ApiError(message, code="unsupported_value", param="tool_choice")


def _is_edit(request: ResponseRequest) -> bool:
    """Whether the images of the messages are to be edited, by `action` or because there are some."""
    try:
        action = choice(request.tool, "action", ("auto", "generate", "edit"))
    except ApiError as refusal:
        raise refusal.renamed(_in_tool("action")) from None
    if action == "edit" and not request.images:
        message = "The action 'edit' needs an 'input_image' in a message."
        raise ApiError(message, code="invalid_value", param=_in_tool("action"))
    editing = bool(request.images) and action != "generate"
    if request.mask is not None and not editing:
        message = "A mask needs an 'input_image' to edit in a message."
        raise ApiError(message, code="invalid_value", param=_in_tool("input_image_mask"))
    return editing


def _taken_apart(document: Fields, files: FileStore) -> ResponseRequest:
    tool = _only_tool(document)
    mask = tool.get("input_image_mask")
    texts, images = _messages(document, files)
    return ResponseRequest(
        document,
        tool,
        "\n".join(texts),
        tuple(images),
        None if mask is None else referenced(mask, files, f"{_PLACE}.input_image_mask"),
    )


def _only_tool(document: Fields) -> Fields:
    if given(document, "tools", None) is None:
        raise missing("tools")
    tools = _array(document["tools"], "tools")
    if len(tools) != 1:
        message = f"This sandbox has one tool, '{TOOL}', and takes it once; got {len(tools)} tools."
        raise ApiError(message, code="unsupported_value", param="tools")
    tool = _object(tools[0], _PLACE)
    if tool.get("type") != TOOL:
        message = f"This sandbox has no other tool than '{TOOL}'."
        raise ApiError(message, code="unsupported_value", param=f"{_PLACE}.type")
    return tool


def _messages(document: Fields, files: FileStore) -> tuple[list[str], list[Source]]:
    """Texts and images of the users' messages, in their order."""
    if "input" not in document:
        raise missing("input")
    sent = document["input"]
    if isinstance(sent, str):
        return [sent], []
    texts: list[str] = []
    images: list[Source] = []
    for index, item in enumerate(_array(sent, "input")):
        place = f"input[{index}]"
        message = _object(item, place)
        if message.get("type", "message") != "message":
            raise ApiError("This sandbox takes messages only.", code="unsupported_value", param=f"{place}.type")
        if choice({f"{place}.role": message.get("role")}, f"{place}.role", _ROLES) == "user":
            _read_content(message.get("content"), f"{place}.content", files, texts, images)
    return texts, images


def _read_content(content: object, place: str, files: FileStore, texts: list[str], images: list[Source]) -> None:
    if isinstance(content, str):
        texts.append(content)
        return
    for index, each in enumerate(_array(content, place)):
        part_place = f"{place}[{index}]"
        part = _object(each, part_place)
        if part.get("type") == "input_text":
            texts.append(string(part.get("text"), f"{part_place}.text"))
        elif part.get("type") == "input_image":
            choice({f"{part_place}.detail": part.get("detail")}, f"{part_place}.detail", _DETAILS)
            reference = {name: value for name, value in part.items() if name not in ("type", "detail")}
            images.append(referenced(reference, files, part_place))
        else:
            message = "This sandbox takes the content types 'input_text' and 'input_image'."
            raise ApiError(message, code="invalid_value", param=f"{part_place}.type")


def _array(value: object, name: str) -> Sequence[object]:
    if not isinstance(value, list):
        raise wrong_type(name, "an array", value)
    return cast("list[object]", value)


def _object(value: object, name: str) -> Fields:
    if not isinstance(value, dict):
        raise wrong_type(name, "an object", value)
    return cast("Mapping[str, object]", value)
