"""The Responses API with the tool `image_generation`: through OpenAI's own SDK, and held against its published API."""

from __future__ import annotations

import base64
import binascii
import io
import json
from typing import Any, Final, cast

import httpx2
import pytest
from edit_kit import changed, data_url, file_of, mask_png, opened, picture, png, sha256, share_changed
from openai import APIConnectionError, APITimeoutError, BadRequestError, DefaultHttpx2Client, OpenAI, RateLimitError
from openai.types.responses import Response
from openai.types.responses.response_output_item import ImageGenerationCall
from PIL import Image, UnidentifiedImageError
from published_openapi import PublishedApi
from sandbox_kit import KEY, MODEL, RESPONSES, RunningSandbox

MAINLINE: Final = "gpt-5.5"
PROMPT: Final = "add a small boat"
PNG: Final = png(64, 64)
TOOL: Final[dict[str, Any]] = {"type": "image_generation", "model": MODEL, "quality": "low"}


def text(words: str = PROMPT) -> dict[str, Any]:
    return {"type": "input_text", "text": words}


def image(file: bytes = PNG, media_type: str = "image/png") -> dict[str, Any]:
    return {"type": "input_image", "detail": "auto", "image_url": data_url(file, media_type)}


def user(*content: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def respond(
    client: OpenAI, *content: dict[str, Any], tool: dict[str, Any] | None = None, **parameters: Any
) -> Response:
    whole: dict[str, Any] = {
        "model": MAINLINE,
        "input": [user(*(content or (text(),)))],
        "tools": [TOOL | (tool or {})],
        **parameters,
    }
    return cast(Response, client.responses.create(**whole))


def image_call(response: Response) -> ImageGenerationCall:
    (call,) = [item for item in response.output if item.type == "image_generation_call"]
    return call


def painted(response: Response) -> bytes:
    return base64.b64decode(image_call(response).result or "", validate=True)


GOOD: Final[dict[str, dict[str, Any]]] = {
    "text alone": {"input": PROMPT},
    "one message": {"input": [user(text())]},
    "text and images": {"input": [user(text(), image(), image(file_of(picture(64, 64), "JPEG"), "image/jpeg"))]},
    "several messages": {
        "input": [
            {"role": "developer", "content": "Paint."},
            user(text("a hill"), image()),
            {"role": "assistant", "content": "Here."},
            {"type": "message", "role": "user", "content": "and a tree"},
        ]
    },
    "forced tool": {"input": PROMPT, "tool_choice": {"type": "image_generation"}},
    "required tool": {"input": PROMPT, "tool_choice": "required"},
    "all options": {
        "input": [user(text(), image())],
        "tools": [
            {
                "type": "image_generation",
                "action": "edit",
                "model": MODEL,
                "size": "1536x1024",
                "quality": "medium",
                "background": "opaque",
                "moderation": "low",
                "output_format": "webp",
                "output_compression": 60,
                "input_image_mask": {"image_url": data_url(mask_png([(0, 0, 9, 9)], 64, 64))},
            }
        ],
        "tool_choice": "auto",
        "instructions": "Paint well.",
        "metadata": {"job": "1"},
        "store": False,
        "safety_identifier": "u-1",
    },
}


@pytest.mark.parametrize("parameters", GOOD.values(), ids=GOOD)
def test_good_request_and_its_answer_conform_to_the_published_api(
    sandbox: RunningSandbox, published_api: PublishedApi, parameters: dict[str, Any]
) -> None:
    sent: list[httpx2.Request] = []
    received: list[httpx2.Response] = []
    recorder = DefaultHttpx2Client(event_hooks={"request": [sent.append], "response": [received.append]})
    with OpenAI(base_url=f"{sandbox.url}/v1", api_key=KEY, max_retries=0, http_client=recorder) as client:
        create: Any = client.responses.create
        response: Response = create(**{"model": MAINLINE, "tools": [TOOL], **parameters})
    body = received[0].json()
    request = json.loads(sent[0].content)
    messages = [] if isinstance(request["input"], str) else cast("list[object]", request.pop("input"))
    assert published_api.problems("CreateResponse", request) == []
    # Each for itself: as items of `input` the document lets a message match two of its alternatives, of which it allows
    # one.
    assert [problem for each in messages for problem in published_api.problems("EasyInputMessage", each)] == []
    assert published_api.problems("Response", body) == []
    assert [item["type"] for item in body["output"]] == ["image_generation_call", "message"]
    assert (response.status, response.model, bool(response.output_text)) == ("completed", MAINLINE, True)


def test_the_call_says_what_was_painted(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    tool = {"size": "1280x720", "output_format": "jpeg", "output_compression": 50}
    response = respond(openai_client, text(), tool=tool)
    item = image_call(response).model_dump()
    assert (item["status"], item["size"], item["quality"]) == ("completed", "1280x720", "low")
    assert (item["background"], item["output_format"], item["revised_prompt"]) == ("opaque", "jpeg", PROMPT)
    assert item["id"].startswith("ig_")
    file = opened(painted(response))
    assert (file.format, file.size) == ("JPEG", (1280, 720))


def test_usage_is_the_mainline_models_alone(openai_client: OpenAI) -> None:
    usage = respond(openai_client, text("x" * 41), image(png())).usage
    assert usage is not None
    assert usage.input_tokens == 11
    assert 0 < usage.output_tokens < 196
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens


def test_input_images_are_edited_as_by_the_edits_endpoint(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    first, second, mask = png(shade=7), png(300, 200), mask_png([(100, 100, 400, 400)])
    uploaded, masked = (
        openai_client.files.create(file=("a.png", content), purpose="vision").id for content in (first, mask)
    )
    by_id = {"type": "input_image", "file_id": uploaded, "detail": "high"}
    response = respond(openai_client, by_id, text(), image(second), tool={"input_image_mask": {"file_id": masked}})
    create: Any = openai_client.images.edit
    direct = create(
        model=MODEL,
        prompt=PROMPT,
        quality="low",
        image=[("a.png", first), ("b.png", second)],
        mask=("m.png", mask),
    )
    assert image_call(response).result == direct.data[0].b64_json
    assert 0 < share_changed(opened(first), opened(painted(response))) < 0.09


def test_the_journal_records_a_paid_call_with_its_inputs(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    first, second, mask = png(shade=1), png(shade=2), mask_png([(0, 0, 300, 300)])
    response = respond(
        openai_client,
        image(first),
        text("a hill"),
        image(second),
        text("and a tree"),
        tool={"input_image_mask": {"image_url": data_url(mask)}, "size": "1024x1024"},
        extra_headers={"x-client-request-id": "mine-1"},
    )
    (call,) = sandbox.calls()
    assert (call["endpoint"], call["prompt"], call["n"]) == (RESPONSES, "a hill\nand a tree", 1)
    assert (call["size"], call["quality"], call["client_request_id"]) == ("1024x1024", "low", "mine-1")
    assert (call["inputs"], call["mask"]) == ([sha256(first), sha256(second)], sha256(mask))
    assert (call["outcome"], call["images"]) == ("answered", [sha256(painted(response))])


@pytest.mark.parametrize(("action", "edited"), [("auto", True), ("edit", True), ("generate", False)])
def test_the_action_decides_whether_the_image_is_edited(openai_client: OpenAI, action: str, edited: bool) -> None:
    before = picture(1280, 720)
    file = painted(respond(openai_client, text(), image(file_of(before)), tool={"action": action}))
    after, new = opened(file), painted(respond(openai_client, text()))
    assert after.size == ((1280, 720) if edited else (1024, 1024))
    assert (file == new) != edited
    assert not edited or share_changed(before, after) < 0.5


def test_without_images_a_new_one_is_painted_as_by_the_generations_endpoint(openai_client: OpenAI) -> None:
    response = respond(openai_client, text("a fox"))
    direct = openai_client.images.generate(model=MODEL, prompt="a fox", quality="low")
    assert image_call(response).result == (direct.data or [])[0].b64_json


def test_responses_go_on_while_edits_are_refused(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    sandbox.set(refuse_edits=True)
    after = opened(painted(respond(openai_client, text(), image(png()))))
    assert changed(opened(png()), after).getbbox() is not None


NO_IMAGE_URL: Final = {"type": "input_image", "detail": "auto"}
# Members beside a good model, input and tool (None in place of a member: leave it out), code, param.
REFUSED: Final[list[tuple[dict[str, Any], str, str | None]]] = [
    ({"model": None}, "missing_required_parameter", "model"),
    ({"model": 5}, "invalid_type", "model"),
    ({"model": MODEL}, "model_not_found", "model"),
    ({"model": "gpt-5-image"}, "model_not_found", "model"),
    ({"model": "dall-e-2"}, "model_not_found", "model"),
    ({"input": None}, "missing_required_parameter", "input"),
    ({"input": ""}, "empty_string", "input"),
    ({"input": []}, "empty_string", "input"),
    ({"input": 7}, "invalid_type", "input"),
    ({"input": "x" * 32_001}, "string_above_max_length", "input"),
    ({"input": ["a fox"]}, "invalid_type", "input[0]"),
    ({"input": [{"type": "item_reference", "id": "ig_1"}]}, "unsupported_value", "input[0].type"),
    ({"input": [{"role": "tool", "content": "x"}]}, "invalid_value", "input[0].role"),
    ({"input": [{"role": "user"}]}, "invalid_type", "input[0].content"),
    ({"input": [user({"type": "input_file"})]}, "invalid_value", "input[0].content[0].type"),
    ({"input": [user({"type": "input_text"})]}, "invalid_type", "input[0].content[0].text"),
    ({"input": [user(text(), NO_IMAGE_URL)]}, "invalid_value", "input[0].content[1]"),
    ({"input": [user(text(), {**NO_IMAGE_URL, "file_id": "file-1"})]}, "image_file_not_found", None),
    ({"input": [user(text(), {**image(), "detail": "fine"})]}, "invalid_value", "input[0].content[1].detail"),
    ({"input": [user(text(), image(b"not an image"))]}, "invalid_image_file", "input[0].content[1].image_url"),
    ({"input": [user(text(), *([image()] * 17))]}, "array_above_max_length", "input"),
    ({"tools": None}, "missing_required_parameter", "tools"),
    ({"tools": {}}, "invalid_type", "tools"),
    ({"tools": []}, "unsupported_value", "tools"),
    ({"tools": [TOOL, TOOL]}, "unsupported_value", "tools"),
    ({"tools": ["image_generation"]}, "invalid_type", "tools[0]"),
    ({"tools": [{"type": "web_search"}]}, "unsupported_value", "tools[0].type"),
    ({"tools": [{"type": "image_generation"}]}, "model_not_found", "tools[0].model"),
    ({"tools": [TOOL | {"model": "gpt-image-1"}]}, "model_not_found", "tools[0].model"),
    ({"tools": [TOOL | {"size": "512x512"}]}, "invalid_value", "tools[0].size"),
    ({"tools": [TOOL | {"quality": "hd"}]}, "invalid_value", "tools[0].quality"),
    ({"tools": [TOOL | {"background": "transparent"}]}, "invalid_value", "tools[0].background"),
    ({"tools": [TOOL | {"output_format": "gif"}]}, "invalid_value", "tools[0].output_format"),
    ({"tools": [TOOL | {"output_compression": 50}]}, "invalid_png_output_compression", "tools[0].output_compression"),
    ({"tools": [TOOL | {"moderation": "off"}]}, "invalid_value", "tools[0].moderation"),
    ({"tools": [TOOL | {"partial_images": 2}]}, "invalid_value", "tools[0].partial_images"),
    ({"tools": [TOOL | {"input_fidelity": "high"}]}, "unknown_parameter", "tools[0].input_fidelity"),
    ({"tools": [TOOL | {"n": 2}]}, "unknown_parameter", "tools[0].n"),
    ({"tools": [TOOL | {"action": "paint"}]}, "invalid_value", "tools[0].action"),
    ({"tools": [TOOL | {"action": "edit"}]}, "invalid_value", "tools[0].action"),
    (
        {"tools": [TOOL | {"input_image_mask": {"image_url": data_url(PNG)}}]},
        "invalid_value",
        "tools[0].input_image_mask",
    ),
    ({"tool_choice": "none"}, "unsupported_value", "tool_choice"),
    ({"tool_choice": {"type": "web_search"}}, "unsupported_value", "tool_choice"),
    ({"stream": True}, "unsupported_value", "stream"),
    ({"background": True}, "unsupported_value", "background"),
    ({"previous_response_id": "resp_1"}, "unsupported_value", "previous_response_id"),
    ({"n": 2}, "unknown_parameter", "n"),
]


@pytest.mark.parametrize(("members", "code", "param"), REFUSED, ids=[str(row[0])[:60] for row in REFUSED])
def test_a_broken_rule_is_refused_with_its_code_and_parameter(
    sandbox: RunningSandbox, published_api: PublishedApi, members: dict[str, Any], code: str, param: str | None
) -> None:
    whole = {"model": MAINLINE, "input": PROMPT, "tools": [TOOL], **members}
    body = {name: value for name, value in whole.items() if value is not None}
    answer = sandbox.http.post(RESPONSES, json=body, headers={"authorization": f"Bearer {KEY}"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, code)
    assert param is None or error["param"] == param
    assert published_api.problems("ErrorResponse", answer.json()) == []
    assert sandbox.calls()[0]["outcome"] == "refused"


def test_a_mask_of_another_size_is_refused(openai_client: OpenAI) -> None:
    mask = {"image_url": data_url(mask_png([], 65, 64))}
    with pytest.raises(BadRequestError) as caught:
        respond(openai_client, text(), image(), tool={"input_image_mask": mask})
    assert (caught.value.code, caught.value.param) == (
        "invalid_mask_image_format",
        "tools[0].input_image_mask.image_url",
    )


def test_the_safety_rule_holds_for_responses(openai_client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as caught:
        respond(openai_client, text("a FORBIDDEN thing"), image())
    assert (caught.value.code, caught.value.type) == ("moderation_blocked", "image_generation_user_error")
    assert caught.value.response.json()["error"]["moderation_details"]["moderation_stage"] == "input"


def test_an_error_fault_hits_a_response(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    sandbox.add_fault({"status": 429}, match={"prompt_contains": "boat"})
    with pytest.raises(RateLimitError):
        respond(openai_client)
    assert painted(respond(openai_client))
    assert [call["outcome"] for call in sandbox.calls()] == ["fault:error", "answered"]


def test_a_response_dropped_in_the_middle_was_painted(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    with pytest.raises(APIConnectionError):
        respond(openai_client, text(), image(), extra_headers={"x-sandbox-fault": '{"drop": "middle"}'})
    (call,) = sandbox.calls()
    assert (call["outcome"], len(call["images"]), call["inputs"]) == ("fault:drop_middle", 1, [sha256(PNG)])


def test_a_hanging_response_is_the_sdks_timeout(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    sandbox.add_fault({"hang": True})
    with pytest.raises(APITimeoutError):
        respond(openai_client, timeout=0.5)
    assert sandbox.calls()[0]["outcome"] == "fault:hang"


def faulty(client: OpenAI, body: str) -> Response:
    return respond(client, extra_headers={"x-sandbox-fault": json.dumps({"body": body})})


def test_body_faults_spoil_a_response(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    assert [item.type for item in faulty(openai_client, "empty_list").output] == ["message"]
    assert faulty(openai_client, "no_usage").usage is None
    with pytest.raises(binascii.Error):
        painted(faulty(openai_client, "broken_base64"))
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(painted(faulty(openai_client, "not_an_image"))))
    assert opened(painted(faulty(openai_client, "wrong_format"))).format == "JPEG"
    assert [len(call["images"]) for call in sandbox.calls()] == [0, 1, 0, 0, 1]


def test_a_response_without_a_key_is_not_served(sandbox: RunningSandbox) -> None:
    answer = sandbox.http.post(RESPONSES, json={"model": MAINLINE})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
