"""Image edits: through OpenAI's own SDK, as forms and as JSON, with faults, and what the journal keeps of them."""

from __future__ import annotations

import io
import json
import random
from typing import Any, Final, cast

import httpx2
import pytest
from edit_kit import (
    changed,
    data_url,
    file_of,
    files_of,
    form_of,
    mask_png,
    only_file,
    opened,
    picture,
    png,
    sha256,
    share_changed,
)
from openai import APIConnectionError, APITimeoutError, BadRequestError, DefaultHttpx2Client, OpenAI, RateLimitError
from openai.types import ImagesResponse
from PIL import Image, ImageOps
from published_openapi import PublishedApi
from sandbox_kit import EDITS, KEY, MODEL, RunningSandbox

GOOD_EDITS: Final[dict[str, dict[str, Any]]] = {
    "one image": {"image": [("a.png", png())]},
    "one image not in a list": {"image": ("a.png", png())},
    "three images": {
        "image": [("a.png", png()), ("b.jpg", file_of(picture(600, 800), "JPEG")), ("c.webp", png(64, 64))]
    },
    "sixteen images": {"image": [(f"{n}.png", png(128, 128, shade=n)) for n in range(16)]},
    "mask": {"image": [("a.png", png(1024, 768))], "mask": mask_png([(0, 0, 200, 200)], 1024, 768)},
    "all options": {
        "image": [("a.webp", file_of(picture(), "WEBP"))],
        "size": "1536x1024",
        "quality": "high",
        "n": 2,
        "background": "opaque",
        "output_format": "jpeg",
        "output_compression": 70,
        "user": "u-1",
        "stream": False,
        "extra_body": {"moderation": "low"},
    },
    "own size": {"image": [("a.png", png())], "size": "1280x720", "output_format": "webp"},
}
HOLES: Final = [(100, 150, 500, 450), (700, 800, 703, 803)]


def edit(client: OpenAI, **parameters: Any) -> ImagesResponse:
    whole: dict[str, Any] = {"model": MODEL, "prompt": "add a small boat", "quality": "low", **parameters}
    whole.setdefault("image", [("a.png", png())])
    return cast(ImagesResponse, client.images.edit(**whole))


def form_instance(request: httpx2.Request) -> dict[str, Any]:
    """The form as the published schema sees it: files as strings, numbers as numbers."""
    instance: dict[str, Any] = {}
    for name, text in form_of(request):
        if name.endswith("[]"):
            instance.setdefault(name.removesuffix("[]"), []).append(text)
        else:
            instance[name] = json.loads(text) if name in ("n", "output_compression", "stream") else text
    return instance


@pytest.mark.parametrize("parameters", GOOD_EDITS.values(), ids=GOOD_EDITS)
def test_good_edit_and_its_answer_conform_to_the_published_api(
    sandbox: RunningSandbox, published_api: PublishedApi, parameters: dict[str, Any]
) -> None:
    sent: list[httpx2.Request] = []
    received: list[httpx2.Response] = []

    def keep(request: httpx2.Request) -> None:
        request.read()
        sent.append(request)

    recorder = DefaultHttpx2Client(event_hooks={"request": [keep], "response": [received.append]})
    with OpenAI(base_url=f"{sandbox.url}/v1", api_key=KEY, max_retries=0, http_client=recorder) as client:
        answer = edit(client, **parameters)
    preset = answer.size in ("1024x1024", "1536x1024", "1024x1536")

    assert published_api.problems("CreateImageEditRequest", form_instance(sent[0])) == []
    assert published_api.problems("ImagesResponse", received[0].json(), sizes_as_published=preset) == []
    assert len(files_of(answer)) == parameters.get("n", 1)
    for file in files_of(answer):
        assert opened(file).format == parameters.get("output_format", "png").upper()
        assert "{}x{}".format(*opened(file).size) == answer.size


@pytest.mark.parametrize(
    ("first", "size"),
    [
        ((1024, 1024), "1024x1024"),
        ((1280, 720), "1280x720"),
        ((3840, 2160), "3840x2160"),
        ((512, 512), "1024x1024"),
        ((1000, 1000), "1024x1024"),
        ((800, 600), "1536x1024"),
        ((600, 900), "1024x1536"),
        ((2000, 100), "1536x1024"),
    ],
)
def test_an_auto_size_is_the_first_inputs_or_the_nearest_preset(
    openai_client: OpenAI, first: tuple[int, int], size: str
) -> None:
    answer = edit(openai_client, image=[("a.png", png(*first)), ("b.png", png(1024, 1536))], output_format="jpeg")
    assert answer.size == size


def test_the_input_stays_and_a_change_for_the_prompt_is_painted_on_it(openai_client: OpenAI) -> None:
    before = picture()
    boat, fox = (
        opened(only_file(edit(openai_client, prompt=prompt))) for prompt in ("add a small boat", "a fox instead")
    )
    for after in (boat, fox):
        assert 0.05 < share_changed(before, after) < 0.4
    assert share_changed(boat, fox) > 0.01


def test_an_input_of_another_shape_covers_the_output_about_its_centre(openai_client: OpenAI) -> None:
    before = picture(1536, 1024)
    after = opened(only_file(edit(openai_client, image=[("a.png", file_of(before))], size="1024x1024")))
    expected = ImageOps.fit(before, (1024, 1024), Image.Resampling.BICUBIC)
    assert share_changed(expected, after) < 0.4
    assert changed(expected, after).crop((0, 400, 30, 1024)).getbbox() is None


def test_further_inputs_are_seen_in_the_output(openai_client: OpenAI) -> None:
    red, blue = (file_of(Image.new("RGB", (300, 200), colour)) for colour in ((255, 0, 0), (0, 0, 255)))
    answer = edit(openai_client, image=[("a.png", png()), ("r.png", red), ("b.png", blue)])
    colours = opened(only_file(answer)).crop((0, 0, 1024, 200)).getcolors(1 << 24)
    counts = {colour: count for count, colour in colours or []}
    assert counts[(255, 0, 0)] > 1000
    assert counts[(0, 0, 255)] > 1000


@pytest.mark.parametrize("veil", [255, 1])
def test_a_mask_confines_the_change_to_what_is_fully_transparent(openai_client: OpenAI, veil: int) -> None:
    before = picture(shade=90)
    mask = mask_png(HOLES, veil=veil)
    answer = edit(openai_client, image=[("a.png", file_of(before)), ("b.png", png())], mask=("m.png", mask), n=2)
    first, second = (opened(file) for file in files_of(answer))
    for after in (first, second):
        outside = changed(before, after)
        for hole in HOLES:
            assert changed(before.crop(hole), after.crop(hole)).getbbox() is not None
            outside.paste(0, hole)
        assert outside.getbbox() is None
    big_hole = HOLES[0]
    assert share_changed(before.crop(big_hole), first.crop(big_hole)) > 0.95
    assert share_changed(first, second) > 0.01


def test_a_mask_is_scaled_with_the_image_which_stays_exact_elsewhere(openai_client: OpenAI) -> None:
    before = Image.frombytes("RGB", (512, 512), random.Random(1).randbytes(512 * 512 * 3))  # every pixel tells
    mask = mask_png([(128, 128, 256, 256)], 512, 512)
    after = opened(only_file(edit(openai_client, image=[("a.png", file_of(before))], mask=("m.png", mask))))
    expected = ImageOps.fit(before, (1024, 1024), Image.Resampling.BICUBIC)
    box = changed(expected, after).getbbox()
    assert box is not None
    assert box[0] >= 256 and box[1] >= 256 and box[2] <= 512 and box[3] <= 512


def test_a_mask_without_holes_changes_nothing(openai_client: OpenAI) -> None:
    before = picture()
    answer = edit(openai_client, image=[("a.png", file_of(before))], mask=("m.png", mask_png([])))
    assert changed(before, opened(only_file(answer))).getbbox() is None


@pytest.mark.parametrize(
    "image",
    [
        picture(mode="L"),
        picture(mode="1"),
        picture(mode="P"),
        picture(mode="RGBA"),
        picture(mode="LA"),
        Image.new("I;16", (1024, 1024), 40_000),
        Image.new("RGBA", (1024, 1024)),
    ],
    ids=["grey", "black and white", "palette", "alpha", "grey and alpha", "16 bits", "empty"],
)
def test_any_mode_of_png_is_edited(openai_client: OpenAI, image: Image.Image) -> None:
    file = only_file(edit(openai_client, image=[("a.png", file_of(image))]))
    assert opened(file).mode == "RGB"


def test_a_cmyk_jpeg_is_edited(openai_client: OpenAI) -> None:
    file = file_of(picture(mode="CMYK"), "JPEG")
    assert opened(only_file(edit(openai_client, image=[("a.jpg", file)]))).mode == "RGB"


def test_equal_edits_paint_the_same_and_images_of_one_call_differ(openai_client: OpenAI) -> None:
    first, again = (files_of(edit(openai_client, n=3)) for _ in range(2))
    assert first == again
    assert len(set(first)) == 3


def test_usage_counts_text_input_tiles_and_output(openai_client: OpenAI) -> None:
    images = [("a.png", png(1024, 1024)), ("b.png", png(513, 100))]
    usage = edit(openai_client, image=images, prompt="x" * 41, n=2).usage
    assert usage is not None
    assert usage.output_tokens_details is not None
    inputs = (65 + 4 * 129) + (65 + 2 * 129)
    assert (usage.input_tokens_details.text_tokens, usage.input_tokens_details.image_tokens) == (11, inputs)
    assert (usage.output_tokens, usage.output_tokens_details.image_tokens) == (2 * 196, 2 * 196)
    assert (usage.input_tokens, usage.total_tokens) == (11 + inputs, 11 + inputs + 2 * 196)


def test_the_journal_shows_which_bytes_were_sent_in_which_order(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    images, mask = [png(shade=1), file_of(picture(), "JPEG"), png(shade=3)], mask_png(HOLES)
    parts = [(f"{n}.{kind}", image) for n, (kind, image) in enumerate(zip(("png", "jpg", "png"), images, strict=True))]
    answer = edit(openai_client, image=parts, mask=("m.png", mask), n=2, size="1024x1024")
    (call,) = sandbox.calls()
    assert (call["endpoint"], call["prompt"], call["n"]) == (EDITS, "add a small boat", 2)
    assert (call["size"], call["quality"], call["outcome"]) == ("1024x1024", "low", "answered")
    assert (call["inputs"], call["mask"]) == ([sha256(image) for image in images], sha256(mask))
    assert call["images"] == [sha256(file) for file in files_of(answer)]
    received = [json.loads(line) for line in sandbox.journal.read_text().splitlines()]
    (line,) = [line for line in received if line["request_id"] == call["request_id"] and line["event"] == "received"]
    assert line["inputs"] == call["inputs"]


def test_json_edits_take_uploaded_files_and_data_urls(
    sandbox: RunningSandbox, openai_client: OpenAI, published_api: PublishedApi
) -> None:
    first, second, mask = png(shade=1), file_of(picture(300, 300), "WEBP"), mask_png(HOLES)
    uploaded = openai_client.files.create(file=("a.png", first), purpose="vision")
    masked = openai_client.files.create(file=("m.png", mask), purpose="vision")
    body = {
        "model": MODEL,
        "prompt": "from json",
        "images": [{"file_id": uploaded.id}, {"image_url": data_url(second, "image/webp")}],
        "mask": {"file_id": masked.id},
        "n": 1,
        "quality": "low",
        "moderation": "low",
        "size": None,
    }
    answer = sandbox.post_edit(body)
    assert published_api.problems("EditImageBodyJsonParam", body) == []
    assert published_api.problems("ImagesResponse", answer.json()) == []
    (call,) = sandbox.calls()
    assert (call["inputs"], call["mask"]) == ([sha256(first), sha256(second)], sha256(mask))
    form = edit(openai_client, prompt="from json", image=[("a.png", first), ("b.webp", second)], mask=("m.png", mask))
    assert answer.json()["data"][0]["b64_json"] == (form.data or [])[0].b64_json


def test_while_edits_are_refused_the_model_is_and_nothing_else(
    sandbox: RunningSandbox, openai_client: OpenAI, published_api: PublishedApi
) -> None:
    sandbox.set(refuse_edits=True)
    with pytest.raises(BadRequestError) as caught:
        edit(openai_client)
    error = caught.value.response.json()["error"]
    assert error == {
        "message": "Invalid value: 'gpt-image-2'. Value must be 'dall-e-2'.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "invalid_value",
    }
    assert published_api.problems("ErrorResponse", caught.value.response.json()) == []
    (call,) = sandbox.calls()
    assert (call["outcome"], call["status"], call["inputs"]) == ("refused", 400, [sha256(png())])
    assert openai_client.images.generate(model=MODEL, prompt="a fox", quality="low").data
    sandbox.set(refuse_edits=False)
    assert edit(openai_client).data


def test_the_safety_rule_holds_for_edits(openai_client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as caught:
        edit(openai_client, prompt="a FORBIDDEN thing")
    assert (caught.value.code, caught.value.type) == ("moderation_blocked", "image_generation_user_error")


def test_an_error_fault_hits_an_edit(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    sandbox.add_fault({"status": 429, "headers": {"retry-after": "3"}}, match={"prompt_contains": "boat"})
    with pytest.raises(RateLimitError) as caught:
        edit(openai_client)
    assert caught.value.response.headers["retry-after"] == "3"
    assert edit(openai_client).data
    assert [call["outcome"] for call in sandbox.calls()] == ["fault:error", "answered"]


def test_an_edit_dropped_in_the_middle_was_painted(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    with pytest.raises(APIConnectionError):
        edit(openai_client, extra_headers={"x-sandbox-fault": '{"drop": "middle"}'})
    (call,) = sandbox.calls()
    assert (call["outcome"], len(call["images"]), call["inputs"]) == ("fault:drop_middle", 1, [sha256(png())])


def test_a_hanging_edit_is_the_sdks_timeout(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    sandbox.add_fault({"hang": True})
    with pytest.raises(APITimeoutError):
        edit(openai_client, timeout=0.5)
    assert sandbox.calls()[0]["outcome"] == "fault:hang"


@pytest.mark.parametrize(("body", "data", "images"), [("empty_list", 0, 0), ("not_an_image", 1, 0), ("no_usage", 1, 1)])
def test_body_faults_spoil_an_edit(
    sandbox: RunningSandbox, openai_client: OpenAI, body: str, data: int, images: int
) -> None:
    answer = edit(openai_client, extra_headers={"x-sandbox-fault": json.dumps({"body": body})})
    assert (len(answer.data or []), len(sandbox.calls()[0]["images"])) == (data, images)
    assert (answer.usage is None) == (body == "no_usage")


def test_an_edit_without_a_key_is_not_served(sandbox: RunningSandbox) -> None:
    answer = sandbox.http.post(EDITS, data={"model": MODEL}, files={"image": ("a.png", io.BytesIO(png()), "image/png")})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert sandbox.calls()[0]["status"] == 401
