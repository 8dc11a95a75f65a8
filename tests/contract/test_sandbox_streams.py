"""Streamed answers: OpenAI's own SDK reads the events, the published document judges them, the journal keeps count."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from typing import Any, Final, cast

import pytest
from openai import APIConnectionError, APIError, BadRequestError, OpenAI
from picture_kit import png
from PIL import Image
from published_openapi import PublishedApi
from sandbox_kit import MODEL, RunningSandbox

from imagequeue.pricing import PARTIAL_IMAGE_TOKENS, output_tokens

PLAIN: Final[dict[str, Any]] = {"model": MODEL, "prompt": "a fox", "quality": "low", "size": "1024x1024"}
Event = dict[str, Any]
Stream = Callable[..., list[Event]]


@pytest.fixture
def generated(openai_client: OpenAI) -> Stream:
    """The events of a streamed generation that suffers `fault`, as far as they come."""

    def call(fault: dict[str, Any] | None = None, events: list[Event] | None = None, **parameters: Any) -> list[Event]:
        headers = {"x-sandbox-fault": json.dumps(fault)} if fault is not None else None
        whole: dict[str, Any] = {**PLAIN, "stream": True, **parameters}
        came = [] if events is None else events
        for event in cast("Any", openai_client.images.generate(**whole, extra_headers=headers)):
            came.append(event.to_dict())
        return came

    return call


@pytest.fixture
def edited(openai_client: OpenAI) -> Stream:
    """The events of a streamed edit."""

    def call(**parameters: Any) -> list[Event]:
        whole: dict[str, Any] = {**PLAIN, "image": [("a.png", png(), "image/png")], "stream": True, **parameters}
        return [event.to_dict() for event in cast("Any", openai_client.images.edit(**whole))]

    return call


def size_of(event: Event) -> tuple[int, int]:
    """The pixels of the event's image, which must be whole."""
    with Image.open(io.BytesIO(base64.b64decode(event["b64_json"], validate=True))) as image:
        image.load()
        return image.size


@pytest.mark.parametrize(("kind", "schema"), [("generation", "ImageGen"), ("edit", "ImageEdit")])
def test_partial_images_come_in_order_before_the_image(
    request: pytest.FixtureRequest, published_api: PublishedApi, kind: str, schema: str
) -> None:
    stream = cast("Stream", request.getfixturevalue({"generation": "generated", "edit": "edited"}[kind]))
    *partials, last = stream(partial_images=3)
    assert [event["type"] for event in partials] == [f"image_{kind}.partial_image"] * 3
    assert [event["partial_image_index"] for event in partials] == [0, 1, 2]
    assert last["type"] == f"image_{kind}.completed"
    assert {size_of(event) for event in (*partials, last)} == {(1024, 1024)}
    assert len({event["b64_json"] for event in (*partials, last)}) == 4
    assert [published_api.problems(f"{schema}PartialImageEvent", event) for event in partials] == [[]] * 3
    assert published_api.problems(f"{schema}CompletedEvent", last) == []


def test_each_partial_image_costs_its_tokens(generated: Stream) -> None:
    counted = {number: generated(partial_images=number)[-1]["usage"]["output_tokens"] for number in range(4)}
    image = output_tokens(1024, 1024, "low")
    assert counted == {number: image + number * PARTIAL_IMAGE_TOKENS for number in range(4)}


def test_without_partial_images_the_stream_is_one_event(sandbox: RunningSandbox, generated: Stream) -> None:
    (event,) = generated()
    assert event["type"] == "image_generation.completed"
    (call,) = sandbox.calls()
    assert (call["outcome"], call["status"], len(call["images"])) == ("answered", 200, 1)


def test_more_than_one_image_is_not_streamed(sandbox: RunningSandbox, generated: Stream, edited: Stream) -> None:
    for stream in (generated, edited):
        with pytest.raises(BadRequestError, match=r"Streaming is only supported with n=1\."):
            stream(n=2)
    assert [call["outcome"] for call in sandbox.calls()] == ["refused", "refused"]


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_cut_stream_gives_what_came_before_and_the_sdks_connection_error(
    sandbox: RunningSandbox, generated: Stream, after: int
) -> None:
    events: list[Event] = []
    with pytest.raises(APIConnectionError):
        generated({"stream": "cut", "after": after}, events, partial_images=2)
    assert len(events) == after
    assert sandbox.call("a fox", settled=True)["outcome"] == "fault:stream_cut"


def test_a_drop_in_the_middle_cuts_the_image_itself(sandbox: RunningSandbox, generated: Stream) -> None:
    events: list[Event] = []
    with pytest.raises(APIConnectionError):
        generated({"drop": "middle"}, events, partial_images=1)
    assert len(events) == 1
    assert sandbox.call("a fox", settled=True)["outcome"] == "fault:drop_middle"


def test_a_stream_may_end_without_its_image(sandbox: RunningSandbox, generated: Stream) -> None:
    (event,) = generated({"stream": "no_completed"}, partial_images=2)
    assert event["partial_image_index"] == 0
    assert sandbox.calls()[0]["outcome"] == "fault:stream_no_completed"


def test_an_error_event_is_the_sdks_error_without_a_status(sandbox: RunningSandbox, generated: Stream) -> None:
    fault = {"stream": "error", "code": "moderation_blocked", "type": "image_generation_user_error", "message": "No."}
    events: list[Event] = []
    with pytest.raises(APIError, match=r"No\.") as caught:
        generated(fault, events, partial_images=2)
    assert (caught.value.code, caught.value.type) == ("moderation_blocked", "image_generation_user_error")
    assert len(events) == 1
    assert sandbox.calls()[0]["outcome"] == "fault:stream_error"


def test_a_hanging_stream_is_noted_at_once_and_ends_with_its_client(sandbox: RunningSandbox, generated: Stream) -> None:
    events: list[Event] = []
    with pytest.raises(APIConnectionError):
        generated({"stream": "hang"}, events, partial_images=1, timeout=0.5)
    assert len(events) == 1
    assert sandbox.calls()[0]["outcome"] == "fault:stream_hang"


def test_a_client_that_leaves_in_mid_stream_is_noted(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    headers = {"x-sandbox-latency": "600"}
    answer = openai_client.images.with_streaming_response.generate(**PLAIN, stream=True, extra_headers=headers)
    with answer as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert sandbox.call("a fox", settled=False)["outcome"] is None
    assert sandbox.call("a fox", settled=True)["outcome"] == "client_gone"


def test_faults_of_streams_wait_for_a_streamed_call(sandbox: RunningSandbox, generated: Stream) -> None:
    sandbox.add_fault({"stream": "no_completed", "after": 0})
    assert sandbox.post(PLAIN).status_code == 200
    assert generated(partial_images=1) == []
    header = json.dumps({"stream": "cut"})
    assert sandbox.post(PLAIN, x_sandbox_fault=header).json()["error"]["param"] == "x-sandbox-fault"


@pytest.mark.parametrize(
    "fault", [{"after": 1, "hang": True}, {"stream": "cut", "hang": True}, {"stream": "cut", "code": "x"}]
)
def test_a_fault_that_cannot_be_is_refused(sandbox: RunningSandbox, fault: dict[str, object]) -> None:
    assert sandbox.http.post("/sandbox/faults", json={"fault": fault}).status_code == 400
