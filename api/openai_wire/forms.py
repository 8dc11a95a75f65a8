"""Edits as multipart forms: files become uploads, texts become what JSON would have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from api.context import the_queue
from api.openai_wire.errors import OpenAIError, input_as_openai
from api.uploaded_files import ReceivedFile, receive_form, refuse_large_image
from imagequeue.errors import InvalidInput
from imagequeue.input_images import MAX_INPUT_BYTES
from imagequeue.request_fields import MAX_INPUTS

_MAX_FILES: Final = MAX_INPUTS + 1
_MAX_PARTS: Final = 64
_NUMBERS: Final = ("n", "output_compression", "partial_images")
_TRUTHS: Final = {"true": True, "false": False}


def read_edit_form() -> dict[str, object]:
    """The current request's form as the JSON body would be, its files kept as uploads.

    Raises:
        OpenAIError: a part is unknown or comes twice, or an image cannot be used.
    """
    with the_queue().inputs.folder() as folder:
        texts, files = receive_form(folder, _MAX_FILES * MAX_INPUT_BYTES, _MAX_PARTS, refuse_large_image)
        fields = _typed(texts)
        images: list[dict[str, str]] = []
        for name, file in files:
            match name:
                case "image" | "image[]":
                    images.append(_kept(file, "image" if name == "image" else f"image[{len(images)}]"))
                case "mask" if "mask" not in fields:
                    fields["mask"] = _kept(file, "mask")
                case "mask":
                    raise _duplicate(name)
                case _:
                    raise OpenAIError(f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name)
        return {**fields, "images": images}


def _kept(file: ReceivedFile, param: str) -> dict[str, str]:
    try:
        image = the_queue().inputs.store_file(file.path, file.declared_type, param)
    except InvalidInput as error:
        raise input_as_openai(error, param) from error
    return {"image_url": f"upload:{image.sha256}"}


def _typed(texts: list[tuple[str, str]]) -> dict[str, object]:
    """Texts with the types that JSON would have; what does not fit stays text, and is refused later."""
    fields: dict[str, object] = {}
    for name, text in texts:
        if name in fields:
            raise _duplicate(name)
        if name in ("image", "image[]", "images", "mask"):
            param = name.removesuffix("[]")
            raise OpenAIError(f"Invalid type for '{param}': expected a file.", code="invalid_type", param=param)
        fields[name] = _value(name, text)
    return fields


def _value(name: str, text: str) -> object:
    if name in _NUMBERS and re.fullmatch(r"-?[0-9]{1,9}", text):
        return int(text)
    values: Mapping[str, object] = _TRUTHS if name == "stream" else {}
    return values.get(text.lower(), text)


def _duplicate(name: str) -> OpenAIError:
    message = f"Duplicate parameter: '{name}'. Only one value is allowed; a list of images is sent as 'image[]'."
    return OpenAIError(message, code="duplicate_parameter", param=name)
