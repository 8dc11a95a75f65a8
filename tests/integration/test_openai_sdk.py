"""OpenAI's own SDK, unmodified, pointed at this API: it generates, edits, streams, and gets OpenAI's errors."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
from collections.abc import Generator
from typing import Any, cast

import pytest
from api_kit import RunningApi, assert_documented
from fleet_kit import Fleet
from openai import APIError, APIStatusError, AsyncOpenAI, BadRequestError, NotFoundError, OpenAI
from picture_kit import png
from PIL import Image

SMALL: dict[str, Any] = {"quality": "low", "size": "1024x1024", "output_format": "jpeg"}
MODEL = "gpt-image-2"
PNG = ("a.png", png(), "image/png")


@pytest.fixture
def sdk(fleet_api: RunningApi, working_fleet: Fleet) -> Generator[Any]:
    """The SDK as its users make it, but for the address; untyped, because its types refuse what is tried here."""
    with OpenAI(base_url=f"{fleet_api.url}/v1", api_key="any") as client:
        yield client


def mask() -> tuple[str, bytes, str]:
    """A mask for `PNG` with a transparent square."""
    with Image.open(io.BytesIO(PNG[1])) as image:
        marked = Image.new("RGBA", image.size, "black")
    marked.paste((0, 0, 0, 0), (8, 8, 24, 24))
    file = io.BytesIO()
    marked.save(file, "PNG")
    return "mask.png", file.getvalue(), "image/png"


def digest(encoded: str | None) -> str:
    """SHA-256 of an image that must be whole."""
    content = base64.b64decode(encoded or "", validate=True)
    with Image.open(io.BytesIO(content)) as image:
        image.load()
    return hashlib.sha256(content).hexdigest()


def test_generate_gives_the_very_bytes_that_were_painted(sdk: Any, fleet_api: RunningApi, working_fleet: Fleet) -> None:
    answer = sdk.images.with_raw_response.generate(model=MODEL, prompt="by the SDK", n=2, user="somebody", **SMALL)
    images = answer.parse()
    (call,) = working_fleet.sandbox.calls("by the SDK")
    assert images.data
    assert [digest(image.b64_json) for image in images.data] == call["images"]
    assert (images.size, images.quality, images.output_format) == ("1024x1024", "low", "jpeg")
    assert images.usage
    assert images.usage.output_tokens == 2 * 196
    assert images.usage.total_tokens == images.usage.input_tokens + images.usage.output_tokens
    job = fleet_api.http.get(f"/v1/jobs/{answer.headers['x-imagequeue-job']}").json()
    assert (job["state"], job["request"]["user"]) == ("succeeded", "somebody")
    assert answer.headers["x-request-id"]
    assert_documented(fleet_api.http.get("/openapi.json").json(), "ImagesAnswer", answer.http_response.json())


def test_an_edit_sends_images_and_mask_on(sdk: Any, working_fleet: Fleet) -> None:
    second = ("b.png", png(size=(32, 32)), "image/png")
    marked = mask()
    answer = sdk.images.edit(model=MODEL, prompt="masked by the SDK", image=[PNG, second], mask=marked, **SMALL)
    (call,) = working_fleet.sandbox.calls("masked by the SDK")
    assert call["inputs"] == [hashlib.sha256(file[1]).hexdigest() for file in (PNG, second)]
    assert call["mask"] == hashlib.sha256(marked[1]).hexdigest()
    assert answer.data
    assert [digest(image.b64_json) for image in answer.data] == call["images"]


def test_a_single_image_is_edited_too(sdk: Any, working_fleet: Fleet) -> None:
    answer = sdk.images.edit(prompt="one image by the SDK", image=PNG, **SMALL)
    (call,) = working_fleet.sandbox.calls("one image by the SDK")
    assert answer.data
    assert digest(answer.data[0].b64_json) == call["images"][0]


@pytest.mark.parametrize("kind", ["image_generation", "image_edit"])
def test_a_stream_shows_previews_and_ends_with_the_image(sdk: Any, working_fleet: Fleet, kind: str) -> None:
    options: dict[str, Any] = {
        "model": MODEL,
        "prompt": f"streamed {kind}",
        "stream": True,
        "partial_images": 2,
        **SMALL,
    }
    make: Any = sdk.images.generate if kind == "image_generation" else sdk.images.edit
    stream = make(**options) if kind == "image_generation" else make(image=PNG, **options)
    *partials, last = [event.to_dict() for event in stream]
    assert [event["type"] for event in partials] == [f"{kind}.partial_image"] * 2
    assert [event["partial_image_index"] for event in partials] == [0, 1]
    assert last["type"] == f"{kind}.completed"
    assert last["usage"]["output_tokens"] == 196 + 200
    (call,) = working_fleet.sandbox.calls(f"streamed {kind}")
    assert digest(last["b64_json"]) == call["images"][0]
    assert len({digest(event["b64_json"]) for event in (*partials, last)}) == 3
    for event in (*partials, last):
        assert (event["size"], event["quality"], event["output_format"]) == ("1024x1024", "low", "jpeg")


def test_a_stream_without_previews_is_one_event(sdk: Any) -> None:
    events: list[Any] = list(sdk.images.generate(prompt="only the image", stream=True, **SMALL))
    assert [event.type for event in events] == ["image_generation.completed"]


def test_many_calls_at_once_wait_side_by_side(fleet_api: RunningApi, working_fleet: Fleet) -> None:
    async def generate() -> list[int]:
        async with AsyncOpenAI(base_url=f"{fleet_api.url}/v1", api_key="any") as client:
            generate = cast("Any", client.images.generate)
            calls = [generate(prompt="the same eight times", **SMALL) for _ in range(8)]
            return [len(answer.data) for answer in await asyncio.gather(*calls)]

    assert asyncio.run(generate()) == [1] * 8
    assert len(working_fleet.sandbox.calls("the same eight times")) == 8, "equal calls are calls of their own"


REFUSED: list[tuple[dict[str, Any], str | None, str]] = [
    ({"size": "1000x1000"}, "invalid_value", "size"),
    ({"size": "9999x9999"}, "invalid_value", "size"),
    ({"quality": "hd"}, "invalid_value", "quality"),
    ({"n": 11}, "integer_above_max_value", "n"),
    ({"n": 2, "stream": True}, None, "n"),
    ({"partial_images": 2}, "invalid_value", "partial_images"),
    ({"background": "transparent"}, "invalid_value", "background"),
    ({"output_format": "png", "output_compression": 50}, "invalid_png_output_compression", "output_compression"),
    ({"response_format": "b64_json"}, "unknown_parameter", "response_format"),
    ({"style": "vivid"}, "unknown_parameter", "style"),
    ({"extra_body": {"seed": 7}}, "unknown_parameter", "seed"),
    ({"extra_body": {"n": "two"}}, "invalid_type", "n"),
    ({"prompt": ""}, "empty_string", "prompt"),
]


@pytest.mark.parametrize(("parameters", "code", "param"), REFUSED, ids=[str(row[0]) for row in REFUSED])
def test_a_broken_rule_is_the_sdks_bad_request(
    sdk: Any, parameters: dict[str, Any], code: str | None, param: str
) -> None:
    with pytest.raises(BadRequestError) as caught:
        sdk.images.generate(**{"prompt": "never sent", **SMALL, **parameters})
    assert (caught.value.code, caught.value.param) == (code, param)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id


def test_a_refused_prompt_is_the_sdks_bad_request(sdk: Any, working_fleet: Fleet) -> None:
    with pytest.raises(BadRequestError, match="safety system") as caught:
        sdk.images.generate(prompt="FORBIDDEN by the SDK", **SMALL)
    assert (caught.value.code, caught.value.type) == ("moderation_blocked", "image_generation_user_error")
    assert caught.value.response.headers["x-imagequeue-job"]
    with pytest.raises(APIError, match="safety system") as streamed:
        list(sdk.images.generate(prompt="FORBIDDEN in a stream", stream=True, **SMALL))
    assert (streamed.value.code, isinstance(streamed.value, APIStatusError)) == ("moderation_blocked", False)


def test_another_model_is_not_found(sdk: Any) -> None:
    with pytest.raises(NotFoundError, match="gpt-image-2") as caught:
        sdk.images.generate(model="dall-e-3", prompt="never sent")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    with pytest.raises(NotFoundError):
        sdk.models.retrieve("dall-e-3")


def test_the_model_is_listed(sdk: Any) -> None:
    assert [model.id for model in sdk.models.list()] == [MODEL]
    assert sdk.models.retrieve(MODEL).object == "model"


@pytest.mark.parametrize(
    ("image", "code", "param"),
    [
        ([("a.txt", b"no image at all", "image/png")], "input_not_an_image", "image[0]"),
        (("a.png", PNG[1][:200], "image/png"), "input_truncated", "image"),
        ([PNG] * 9, "array_above_max_length", "image"),
    ],
    ids=["text", "cut off", "nine"],
)
def test_an_image_that_cannot_be_used_is_the_sdks_bad_request(sdk: Any, image: Any, code: str, param: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        sdk.images.edit(prompt="never sent", image=image, **SMALL)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_a_mask_of_another_size_is_refused_before_anything_is_spent(sdk: Any, working_fleet: Fleet) -> None:
    with pytest.raises(BadRequestError) as caught:
        sdk.images.edit(prompt="wrong mask", image=("b.png", png(size=(32, 32)), "image/png"), mask=mask(), **SMALL)
    assert (caught.value.code, caught.value.param) == ("mask_size_mismatch", "mask")
    assert working_fleet.sandbox.calls("wrong mask") == []
