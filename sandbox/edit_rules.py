"""What an image edit may ask for: one to sixteen images, a mask, and the parameters of any image request."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final, cast

from starlette.requests import Request

from sandbox.api_errors import ApiError
from sandbox.app_state import sandbox_of
from sandbox.file_store import FileStore
from sandbox.image_rules import PARAMETERS, ImageOrder, check_order, is_allowed_size
from sandbox.input_images import Input, Source, check_images, check_mask, referenced, usable
from sandbox.request_bodies import FORM, Form, Upload, duplicate, media_type_of, read_form, read_json, unsupported
from sandbox.values import Fields, missing, refuse_unknown, wrong_type

MAX_IMAGES: Final = 16
PRESETS: Final = ((1024, 1024), (1536, 1024), (1024, 1536))
_JSON: Final = "application/json"
_NUMBERS: Final = ("n", "output_compression", "partial_images")
_TRUTHS: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class EditRequest:
    """A request as it came: the parameters apart from the images, which are called `images_name`."""

    fields: Fields
    images_name: str
    images: tuple[Source, ...]
    mask: Source | None


@dataclass(frozen=True, slots=True)
class EditOrder:
    """A checked edit; `input_sizes` are (width, height) in pixels, one for each input."""

    image: ImageOrder
    inputs: tuple[bytes, ...]
    input_sizes: tuple[tuple[int, int], ...]
    mask: bytes | None

    @property
    def prompt(self) -> str:
        """What to change."""
        return self.image.prompt

    @property
    def streamed(self) -> bool:
        """Whether the answer is to come as events."""
        return self.image.streamed


async def read_edit(request: Request) -> EditRequest | ApiError:
    """The request, from a multipart form or from JSON, or the refusal of a body that is neither."""
    media_type = media_type_of(request)
    if media_type not in (FORM, _JSON):
        return unsupported(request, FORM, _JSON)
    if media_type == _JSON:
        document = await read_json(request)
        return document if isinstance(document, ApiError) else edit_from_json(document, sandbox_of(request).files)
    form = await read_form(request)
    try:
        return form if isinstance(form, ApiError) else _from_form(form)
    except ApiError as refusal:
        return refusal


def check_edit(request: EditRequest) -> EditOrder:
    """Check an image edit.

    Raises:
        ApiError: at the first rule broken, or when the safety rule refuses the prompt.
    """
    refuse_unknown(request.fields, PARAMETERS)
    if not request.images:
        raise missing(request.images_name)
    sizes = check_images(request.images, request.images_name, MAX_IMAGES)
    if request.mask is not None:
        check_mask(request.mask, sizes[0])
    return EditOrder(
        image=check_order(request.fields, auto_size=auto_size(*sizes[0])),
        inputs=tuple(usable(source).content for source in request.images),
        input_sizes=tuple(sizes),
        mask=None if request.mask is None else usable(request.mask).content,
    )


def auto_size(width: int, height: int) -> tuple[int, int]:
    """What the size `auto` means for a first input of this size: the same, else the preset nearest in shape."""
    if is_allowed_size(width, height):
        return width, height
    return min(PRESETS, key=lambda preset: abs(math.log(preset[0] / preset[1]) - math.log(width / height)))


def edit_from_json(document: Fields, files: FileStore) -> EditRequest:
    """The request in a JSON document, whose images are URLs or ids of files."""
    fields = {name: value for name, value in document.items() if name not in ("images", "mask")}
    mask = document.get("mask")
    source = None if mask is None else referenced(mask, files, "mask")
    return EditRequest(fields, "images", _listed(document.get("images"), files), source)


def _listed(images: object, files: FileStore) -> tuple[Source, ...]:
    if images is None:
        return ()
    if not isinstance(images, list):
        return (wrong_type("images", "an array of objects", images),)
    references = cast("list[object]", images)
    return tuple(referenced(each, files, f"images[{index}]") for index, each in enumerate(references))


def _from_form(form: Form) -> EditRequest:
    images: list[Source] = []
    listed = any(name == "image[]" for name, _ in form.files)
    mask: Source | None = None
    for name, upload in form.files:
        if name == "mask":
            if mask is not None:
                raise duplicate("mask")
            mask = _input(upload, "mask")
        elif name == "image[]":
            images.append(_input(upload, f"image[{len(images)}]"))
        elif name == "image":
            if images or listed:
                raise duplicate("image")
            images.append(_input(upload, "image"))
        else:
            raise ApiError(f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name)
    return EditRequest(_typed_fields(form), "image", tuple(images), mask)


def _input(upload: Upload, param: str) -> Input:
    return Input(upload.content, param, upload.media_type)


def _typed_fields(form: Form) -> Fields:
    """The texts of a form, with the types that JSON would have; what does not fit stays text and is refused later."""
    fields = form.fields()
    for name in ("image", "image[]"):
        if name in fields:
            raise wrong_type("image", "one of an array of files or file", fields[name])
    if "mask" in fields:
        raise wrong_type("mask", "a file", fields["mask"])
    for name in _NUMBERS:
        text = fields.get(name)
        if isinstance(text, str) and re.fullmatch(r"-?[0-9]{1,9}", text):
            fields[name] = int(text)
    if "stream" in fields:
        fields["stream"] = _TRUTHS.get(str(fields["stream"]).lower(), fields["stream"])
    return fields
