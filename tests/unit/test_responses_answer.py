"""An answer of the Responses API is an image with its figures, or an error that says why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from imagequeue.errors import (
    AccountBlocked,
    BadOutput,
    ModerationBlocked,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    RateLimited,
)
from imagequeue.jobs import Applied, Usage
from worker.answers import Answer
from worker.responses_answer import read_answer, total_usage

IMAGE: Final = (Path("0"),)
CALL: Final = {
    "type": "image_generation_call",
    "status": "completed",
    "result": "",
    "size": "1024x1024",
    "quality": "low",
    "background": "opaque",
    "output_format": "png",
}
CALLER_USAGE: Final = {
    "input_tokens": 50,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 7,
    "total_tokens": 57,
}
IMAGE_USAGE: Final = {
    "input_tokens": 320,
    "input_tokens_details": {"image_tokens": 300, "text_tokens": 20},
    "output_tokens": 196,
    "total_tokens": 516,
}


def said(*parts: dict[str, object]) -> dict[str, object]:
    """A body in which the calling model speaks in place of calling the tool."""
    return {"output": [{"type": "reasoning", "summary": []}, {"type": "message", "content": list(parts)}]}


def failed(**error: object) -> dict[str, object]:
    """A body whose tool call failed."""
    return {"output": [{**CALL, "status": "failed", "result": None, "error": error or None}], "error": None}


def test_settings_come_from_the_tools_call() -> None:
    answer = read_answer(Answer({"output": [{"type": "reasoning"}, CALL], "size": "other"}, IMAGE))
    assert answer.files == IMAGE
    assert answer.applied == Applied(size="1024x1024", quality="low", background="opaque", output_format="png")


def test_the_images_own_tokens_go_before_those_of_the_calling_model() -> None:
    body = {"output": [CALL], "usage": CALLER_USAGE, "tool_usage": {"image_gen": IMAGE_USAGE}}
    answer = read_answer(Answer(body, IMAGE))
    assert answer.counts_image
    assert answer.usage == Usage(
        input_tokens=320, output_tokens=196, total_tokens=516, input_text_tokens=20, input_image_tokens=300
    )


@pytest.mark.parametrize("tool_usage", [None, {}, {"image_gen": {"output_tokens": 0}}, {"image_gen": 3}])
def test_without_the_images_tokens_those_of_the_calling_model_are_all_there_is(tool_usage: object) -> None:
    answer = read_answer(Answer({"output": [CALL], "usage": CALLER_USAGE, "tool_usage": tool_usage}, IMAGE))
    assert not answer.counts_image
    assert answer.usage == Usage(input_tokens=50, output_tokens=7, total_tokens=57)


@pytest.mark.parametrize("usage", [None, {}, "none", []])
def test_missing_usage_is_unknown_and_not_zero(usage: object) -> None:
    assert read_answer(Answer({"output": [CALL], "usage": usage}, IMAGE)).usage is None


@pytest.mark.parametrize("output", [None, "text", [None, 7, "text"], [[]]])
def test_an_image_in_an_answer_of_strange_form_is_kept(output: object) -> None:
    answer = read_answer(Answer({"output": output}, IMAGE))
    assert (answer.files, answer.applied) == (IMAGE, Applied())


WITHOUT_IMAGE: Final[list[tuple[Mapping[str, Any], type[ProviderError], str]]] = [
    (failed(code="moderation_blocked", type="image_generation_user_error", message="No."), ModerationBlocked, "No."),
    (failed(code=None, type="x", message="No.", moderation_details={"categories": []}), ModerationBlocked, "No."),
    (failed(code="invalid_value", type="user_error", message="Odd size"), ProviderRefused, "invalid_value: Odd size"),
    (failed(code="insufficient_quota", type="x", message="Empty"), AccountBlocked, "Empty"),
    (failed(type="server_error", message="Overloaded"), ProviderBusy, "Overloaded"),
    (failed(), BadOutput, "status: failed"),
    ({"error": {"code": "server_error", "message": "Sorry"}, "output": []}, ProviderBusy, "Sorry"),
    ({"error": {"code": "rate_limit_exceeded", "message": "Slow"}, "output": []}, RateLimited, "Slow"),
    ({"error": {"code": "image_content_policy_violation", "message": "No"}}, ModerationBlocked, "No"),
    ({"error": {"code": "invalid_image", "message": "Not one"}}, ProviderRefused, "Not one"),
    ({"error": {"code": 5}}, ProviderRefused, "an error: no reason"),
    ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, ModerationBlocked, "content filter"),
    (said({"type": "output_text", "text": "What shall I paint?"}), ProviderRefused, "said: What shall I paint?"),
    (said({"type": "output_text", "text": "Hm."}, {"type": "refusal", "refusal": "No."}), ModerationBlocked, ": No."),
    (said({"type": "output_text", "text": "long " * 1000}), ProviderRefused, "long long"),
    ({"output": [{**CALL, "result": "bm90IGFuIGltYWdl"}]}, BadOutput, "holds no image"),
    ({}, ProviderRefused, "said: nothing"),
    ({"output": "text", "error": "text"}, ProviderRefused, "said: nothing"),
]


@pytest.mark.parametrize(("body", "meaning", "text"), WITHOUT_IMAGE)
def test_an_answer_without_an_image_says_why(
    body: Mapping[str, object], meaning: type[ProviderError], text: str
) -> None:
    with pytest.raises(ProviderError) as raised:
        read_answer(Answer(body, ()))
    assert type(raised.value) is meaning
    assert text in str(raised.value)
    assert len(str(raised.value)) < 500


def test_the_total_is_the_sum_of_all_calls() -> None:
    first, second = Usage(input_tokens=1, output_tokens=10), Usage(input_tokens=2, output_tokens=20, total_tokens=22)
    assert total_usage([first, second]) == Usage(input_tokens=3, output_tokens=30)


@pytest.mark.parametrize("usages", [[], [None], [Usage(output_tokens=1), None]])
def test_a_total_with_an_unknown_part_is_unknown(usages: list[Usage | None]) -> None:
    assert total_usage(usages) is None
