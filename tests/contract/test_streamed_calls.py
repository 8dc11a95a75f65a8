"""The worker's own streamed call: previews come out while it goes on, and each way of going wrong has its meaning."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from call_kit import claimed_job
from edit_order_kit import order_of
from PIL import Image
from sandbox_kit import RunningSandbox

from imagequeue.errors import (
    AccountBlocked,
    BadOutput,
    ModerationBlocked,
    OutcomeUnknown,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    RateLimited,
)
from imagequeue.jobs import Job
from imagequeue.settings import Settings
from worker.edit_order import EditOrder
from worker.openai_images import OpenAIImages
from worker.previews import OnPreview, Preview
from worker.spool import Painted

Call = Callable[..., Painted]
PROMPT: Final = "A lighthouse"


@pytest.fixture
def previews() -> list[Preview]:
    """Those that were handed on."""
    return []


@pytest.fixture
def calling(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, previews: list[Preview]) -> Call:
    """Text to image, or the edit `order`, with `partial_images`."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{sandbox.url}/v1")

    async def call(partial_images: int, order: EditOrder | None, on_preview: OnPreview) -> Painted:
        openai = OpenAIImages(Settings())
        try:
            if order:
                return await openai.edit(order, tmp_path, on_preview)
            return await openai.generate(streaming(partial_images), tmp_path, on_preview)
        finally:
            await openai.close()

    def run(
        partial_images: int = 2, order: EditOrder | None = None, on_preview: OnPreview = previews.append
    ) -> Painted:
        return asyncio.run(call(partial_images, order, on_preview))

    return run


def streaming(partial_images: int) -> Job:
    """A running job that asks for previews."""
    job = claimed_job()
    return job.model_copy(update={"request": job.request.model_copy(update={"partial_images": partial_images})})


def pixels(path: Path) -> tuple[int, int]:
    """The size of an image that must be whole."""
    with Image.open(path) as image:
        image.load()
        return image.size


def test_previews_come_out_in_order_and_the_image_after_them(
    sandbox: RunningSandbox, calling: Call, previews: list[Preview]
) -> None:
    painted = calling(3)
    assert [preview.partial_index for preview in previews] == [0, 1, 2]
    assert {pixels(preview.path) for preview in previews} == {(1024, 1024)}
    assert [pixels(file) for file in painted.files] == [(1024, 1024)]
    assert painted.usage
    assert painted.usage.output_tokens == 196 + 300
    assert (painted.applied.size, painted.applied.quality) == ("1024x1024", "low")
    (call,) = sandbox.calls()
    assert painted.request_id == call["request_id"]


def test_an_edits_previews_come_out_too(calling: Call, previews: list[Preview], tmp_path: Path) -> None:
    painted = calling(order=order_of(tmp_path, PROMPT, partial_images=1, mask=None))
    assert len(previews) == len(painted.files) == 1


def test_a_call_without_previews_is_not_streamed(calling: Call, previews: list[Preview]) -> None:
    assert (calling(0).files[0].name, previews) == ("0", [])


def test_previews_come_out_while_the_stream_goes_on(sandbox: RunningSandbox, calling: Call) -> None:
    class Seen(Exception):
        pass

    def on_preview(preview: Preview) -> None:
        if preview.partial_index == 1:
            raise Seen

    sandbox.add_fault({"stream": "hang", "after": 2})
    with pytest.raises(Seen):
        calling(3, on_preview=on_preview)


def told(code: str, kind: str = "image_generation_user_error", after: int = 1) -> dict[str, object]:
    """An error event."""
    return {"stream": "error", "code": code, "type": kind, "message": "So it is.", "after": after}


SERVER_ERROR: Final = ("image_generation_failed", "image_generation_server_error")


@pytest.mark.parametrize(
    ("fault", "meaning"),
    [
        ({"stream": "cut"}, OutcomeUnknown),
        ({"stream": "no_completed"}, OutcomeUnknown),
        ({"stream": "no_completed", "after": 0}, OutcomeUnknown),
        ({"drop": "middle"}, OutcomeUnknown),
        (told("moderation_blocked"), ModerationBlocked),
        (told("invalid_value"), ProviderRefused),
        (told("insufficient_quota"), AccountBlocked),
        (told(*SERVER_ERROR, after=0), ProviderBusy),
        (told("rate_limit_exceeded", after=0), RateLimited),
        # Somebody may have to pay for the previews that came, and another call would make them again.
        (told(*SERVER_ERROR), OutcomeUnknown),
        (told("rate_limit_exceeded"), OutcomeUnknown),
        ({"body": "broken_base64"}, BadOutput),
        ({"status": 500, "message": "Not now."}, ProviderBusy),
    ],
    ids=str,
)
def test_what_goes_wrong_with_a_stream_has_its_meaning(
    sandbox: RunningSandbox, calling: Call, fault: dict[str, object], meaning: type[ProviderError]
) -> None:
    sandbox.add_fault(fault)
    with pytest.raises(ProviderError) as raised:
        calling(2)
    assert type(raised.value) is meaning


def test_what_a_stream_told_keeps_its_words_and_its_request(sandbox: RunningSandbox, calling: Call) -> None:
    sandbox.add_fault(told("moderation_blocked"))
    with pytest.raises(ModerationBlocked, match=r"moderation_blocked: So it is\.") as raised:
        calling(2)
    assert raised.value.request_id == sandbox.calls()[0]["request_id"]
