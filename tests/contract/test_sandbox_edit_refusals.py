"""Every rule of image edits, broken: what is refused, with which code, naming which parameter."""

from __future__ import annotations

import zlib
from typing import Any, Final

import pytest
from edit_kit import data_url, file_of, mask_png, padded, picture, png
from published_openapi import PublishedApi
from sandbox_kit import EDITS, KEY, MODEL, RunningSandbox

from sandbox.input_images import MAX_IMAGE_BYTES, MAX_MASK_BYTES

FilePart = tuple[str, tuple[str, bytes, str]]

PNG: Final = png(64, 64)
CUT: Final = PNG[: len(PNG) // 2]
HOLE: Final = [(0, 0, 9, 9)]


def part(name: str = "image[]", content: bytes = PNG, media_type: str = "image/png") -> FilePart:
    return (name, ("a.png", content, media_type))


def mask_part(content: bytes) -> list[FilePart]:
    return [part(), part("mask", content)]


# Fields beside a good model and prompt (None in place of a field: leave it out), code, param.
FIELDS: Final[list[tuple[dict[str, Any], str, str]]] = [
    ({"model": "dall-e-2"}, "model_not_found", "model"),
    ({"model": "gpt-image-1"}, "model_not_found", "model"),
    ({"model": None}, "model_not_found", "model"),
    ({"prompt": None}, "missing_required_parameter", "prompt"),
    ({"prompt": ""}, "empty_string", "prompt"),
    ({"prompt": "x" * 32_001}, "string_above_max_length", "prompt"),
    ({"prompt": ["a fox", "an owl"]}, "duplicate_parameter", "prompt"),
    ({"n": "0"}, "integer_below_min_value", "n"),
    ({"n": "-1"}, "integer_below_min_value", "n"),
    ({"n": "11"}, "integer_above_max_value", "n"),
    ({"n": "two"}, "invalid_type", "n"),
    ({"n": "1.5"}, "invalid_type", "n"),
    ({"n": ""}, "invalid_type", "n"),
    ({"n": ["1", "2"]}, "duplicate_parameter", "n"),
    ({"size": "large"}, "invalid_value", "size"),
    ({"size": "1000x1024"}, "invalid_value", "size"),
    ({"size": "512x512"}, "invalid_value", "size"),
    ({"size": "3856x2048"}, "invalid_value", "size"),
    ({"size": "2048x640"}, "invalid_value", "size"),
    ({"quality": "hd"}, "invalid_value", "quality"),
    ({"quality": "standard"}, "invalid_value", "quality"),
    ({"background": "transparent"}, "invalid_value", "background"),
    ({"background": "white"}, "invalid_value", "background"),
    ({"output_format": "gif"}, "invalid_value", "output_format"),
    ({"output_format": "jpeg", "output_compression": "101"}, "integer_above_max_value", "output_compression"),
    ({"output_format": "jpeg", "output_compression": "much"}, "invalid_type", "output_compression"),
    ({"output_compression": "80"}, "invalid_png_output_compression", "output_compression"),
    ({"moderation": "off"}, "invalid_value", "moderation"),
    ({"stream": "perhaps"}, "invalid_type", "stream"),
    ({"partial_images": "4"}, "integer_above_max_value", "partial_images"),
    ({"partial_images": "2"}, "invalid_value", "partial_images"),
    ({"input_fidelity": "high"}, "unknown_parameter", "input_fidelity"),
    ({"response_format": "b64_json"}, "unknown_parameter", "response_format"),
    ({"style": "vivid"}, "unknown_parameter", "style"),
    ({"images": "a.png"}, "unknown_parameter", "images"),
    ({"image": "a.png"}, "invalid_type", "image"),
    ({"image[]": "a.png"}, "invalid_type", "image"),
    ({"mask": "m.png"}, "invalid_type", "mask"),
]

# The files of a request that is good apart from them, code, param.
FILES: Final[dict[str, tuple[list[FilePart], str, str]]] = {
    "seventeen images": ([part()] * 17, "array_above_max_length", "image"),
    "image repeated without brackets": ([part("image"), part("image")], "duplicate_parameter", "image"),
    "image with and without brackets": ([part("image"), part("image[]")], "duplicate_parameter", "image"),
    "two masks": (
        [*mask_part(mask_png(HOLE, 64, 64)), part("mask", mask_png(HOLE, 64, 64))],
        "duplicate_parameter",
        "mask",
    ),
    "unknown file": ([part(), part("photo")], "unknown_parameter", "photo"),
    "no media type": ([part(media_type="application/octet-stream")], "unsupported_file_mimetype", "image[0]"),
    "media type of a gif": ([part("image", media_type="image/gif")], "unsupported_file_mimetype", "image"),
    "gif that claims to be a png": ([part(content=file_of(picture(64, 64), "GIF"))], "invalid_image_file", "image[0]"),
    "second image is text": ([part(), part(content=b"not an image")], "invalid_image_file", "image[1]"),
    "empty file": ([part(content=b"")], "invalid_image_file", "image[0]"),
    "cut file": ([part(content=CUT)], "invalid_image_file", "image[0]"),
    "damaged pixels": ([part(content=PNG.replace(b"IDAT", b"IDAX"))], "invalid_image_file", "image[0]"),
    "image of 50 MB": ([part(content=padded(PNG, MAX_IMAGE_BYTES))], "image_file_too_large", "image[0]"),
    "mask without alpha": (mask_part(png(64, 64)), "invalid_mask_image_format", "mask"),
    "mask with a palette": (mask_part(file_of(picture(64, 64, "P"))), "invalid_mask_image_format", "mask"),
    "mask of another size": (mask_part(mask_png(HOLE, 64, 65)), "invalid_mask_image_format", "mask"),
    "mask that is a jpeg": (mask_part(file_of(picture(64, 64), "JPEG")), "invalid_mask_image_format", "mask"),
    "mask that is a webp with alpha": (
        mask_part(file_of(picture(64, 64, "RGBA"), "WEBP")),
        "invalid_mask_image_format",
        "mask",
    ),
    "mask that is text": (mask_part(b"not an image"), "invalid_mask_image_format", "mask"),
    "cut mask": (mask_part(mask_png(HOLE, 64, 64)[:60]), "invalid_mask_image_format", "mask"),
    "mask of 4 MB": (
        mask_part(padded(mask_png(HOLE, 64, 64), MAX_MASK_BYTES)),
        "invalid_mask_image_format",
        "mask",
    ),
}
GOOD_IMAGE: Final = {"image_url": data_url(PNG)}

# Members of a JSON body that is good apart from them, code, param.
JSON: Final[list[tuple[dict[str, Any], str, str]]] = [
    ({"images": None}, "missing_required_parameter", "images"),
    ({"images": []}, "missing_required_parameter", "images"),
    ({"images": {}}, "invalid_type", "images"),
    ({"images": [GOOD_IMAGE] * 17}, "array_above_max_length", "images"),
    ({"images": ["file-1"]}, "invalid_type", "images[0]"),
    ({"images": [{}]}, "invalid_value", "images[0]"),
    ({"images": [{**GOOD_IMAGE, "file_id": "file-1"}]}, "invalid_value", "images[0]"),
    ({"images": [{**GOOD_IMAGE, "detail": "high"}]}, "unknown_parameter", "images[0]"),
    ({"images": [GOOD_IMAGE, {"file_id": "file-1"}]}, "image_file_not_found", "images[1].file_id"),
    ({"images": [{"file_id": 1}]}, "invalid_type", "images[0].file_id"),
    ({"images": [{"image_url": 1}]}, "invalid_type", "images[0].image_url"),
    ({"images": [{"image_url": "https://example.com/a.png"}]}, "invalid_image_url", "images[0].image_url"),
    ({"images": [{"image_url": "data:image/png;base64,*"}]}, "invalid_base64_image", "images[0].image_url"),
    ({"images": [{"image_url": "x" * 20_971_521}]}, "string_above_max_length", "images[0].image_url"),
    (
        {"images": [{"image_url": data_url(PNG, "image/gif")}]},
        "unsupported_file_mimetype",
        "images[0].image_url",
    ),
    ({"images": [{"image_url": data_url(CUT)}]}, "invalid_image_file", "images[0].image_url"),
    ({"mask": "file-1"}, "invalid_type", "mask"),
    ({"mask": {"image_url": data_url(png(64, 64))}}, "invalid_mask_image_format", "mask.image_url"),
    ({"image": data_url(PNG)}, "unknown_parameter", "image"),
    ({"n": "1"}, "invalid_type", "n"),
    ({"prompt": 7}, "invalid_type", "prompt"),
    ({"input_fidelity": "high"}, "unknown_parameter", "input_fidelity"),
]


def assert_refused(answer: Any, published_api: PublishedApi, code: str, param: str) -> None:
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, code, param)
    of_the_image = code in ("invalid_image_file", "invalid_mask_image_format")
    assert error["type"] == ("image_generation_user_error" if of_the_image else "invalid_request_error")
    assert published_api.problems("ErrorResponse", answer.json()) == []


@pytest.mark.parametrize(("fields", "code", "param"), FIELDS, ids=[str(row[0])[:50] for row in FIELDS])
def test_a_broken_rule_of_the_form_is_refused(
    sandbox: RunningSandbox, published_api: PublishedApi, fields: dict[str, Any], code: str, param: str
) -> None:
    whole = {"model": MODEL, "prompt": "a fox", **fields}
    sent = {name: value for name, value in whole.items() if value is not None}
    assert_refused(sandbox.post_form(sent, [part()]), published_api, code, param)
    (call,) = sandbox.calls()
    assert (call["outcome"], call["endpoint"], call["images"]) == ("refused", EDITS, [])


@pytest.mark.parametrize(("files", "code", "param"), FILES.values(), ids=FILES)
def test_unusable_files_are_refused(
    sandbox: RunningSandbox, published_api: PublishedApi, files: list[FilePart], code: str, param: str
) -> None:
    answer = sandbox.post_form({"model": MODEL, "prompt": "a fox"}, files)
    assert_refused(answer, published_api, code, param)


@pytest.mark.parametrize(("members", "code", "param"), JSON, ids=[str(row[0])[:50] for row in JSON])
def test_a_broken_rule_of_json_is_refused(
    sandbox: RunningSandbox, published_api: PublishedApi, members: dict[str, Any], code: str, param: str
) -> None:
    answer = sandbox.post_edit({"model": MODEL, "prompt": "a fox", "images": [GOOD_IMAGE], **members})
    assert_refused(answer, published_api, code, param)


def test_a_form_without_an_image_is_refused(sandbox: RunningSandbox, published_api: PublishedApi) -> None:
    parts = [("prompt", ("", b"a fox", "")), ("model", ("", MODEL.encode(), ""))]
    body = b"".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + content + b"\r\n"
        for name, (_, content, _) in parts
    )
    answer = post_raw(sandbox, body + b"--b--\r\n", "multipart/form-data; boundary=b")
    assert_refused(answer, published_api, "missing_required_parameter", "image")


def test_files_just_below_their_limits_are_taken(sandbox: RunningSandbox) -> None:
    image, mask = padded(PNG, MAX_IMAGE_BYTES - 1), padded(mask_png(HOLE, 64, 64), MAX_MASK_BYTES - 1)
    files = [part(content=image), part("mask", mask, "application/octet-stream")]
    answer = sandbox.post_form({"model": MODEL, "prompt": "a fox", "quality": "low"}, files)
    assert answer.status_code == 200


def test_an_image_of_too_many_pixels_is_refused(sandbox: RunningSandbox, published_api: PublishedApi) -> None:
    width = height = 20_000
    header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    chunk = (13).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big")
    answer = sandbox.post_form({"model": MODEL, "prompt": "a fox"}, [part(content=PNG[:8] + chunk + PNG[33:])])
    assert_refused(answer, published_api, "invalid_image_file", "image[0]")


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"", "multipart/form-data", None),
        (b"prompt", "multipart/form-data; boundary=b", None),
        (b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na fox', "multipart/form-data; boundary=b", None),
        (b"", "multipart/form-data; boundary=b", None),
        (b"--b--", "multipart/form-data; boundary=\xc3\xa9", None),
        (b"prompt=a+fox", "application/x-www-form-urlencoded", "unsupported_content_type"),
        (b"a fox", "text/plain", "unsupported_content_type"),
        (b"a fox", "", "unsupported_content_type"),
        (b"{", "application/json", None),
    ],
)
def test_a_body_that_is_neither_form_nor_json_is_refused(
    sandbox: RunningSandbox, published_api: PublishedApi, body: bytes, content_type: str, code: str | None
) -> None:
    answer = post_raw(sandbox, body, content_type)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (400, "invalid_request_error", code)
    assert published_api.problems("ErrorResponse", answer.json()) == []


def test_a_form_of_endless_parts_is_refused(sandbox: RunningSandbox) -> None:
    fields = {f"field_{number}": "x" for number in range(1001)}
    assert sandbox.post_form(fields, [part()]).status_code == 400


def post_raw(sandbox: RunningSandbox, body: bytes, content_type: str) -> Any:
    headers = {b"authorization": f"Bearer {KEY}".encode(), b"content-type": content_type.encode("latin-1")}
    return sandbox.http.post(EDITS, content=body, headers=headers)
