"""An edit by the Responses API at the sandbox: images, failures, and no upload left behind."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Final

import httpx2
import pytest
from edit_order_kit import FILES, order_of
from fleet_kit import SandboxProcess
from openai import AsyncOpenAI

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
from imagequeue.jobs import Applied
from worker.edit_order import EditOrder
from worker.image_answers import SANDBOX_NOTE
from worker.responses_route import IMAGE_NOT_COUNTED_NOTE, NO_PREVIEWS_NOTE, ROUTE_NOTE, edit_by_responses
from worker.spool import Painted

CALLER: Final = "gpt-5"


@pytest.fixture
def quick_sandbox(sandbox: SandboxProcess) -> Generator[SandboxProcess]:
    """The sandbox without latency, before and after."""
    sandbox.set_latency(0)
    yield sandbox
    sandbox.set_latency(0)


def sha256(data: bytes) -> str:
    """In hex."""
    return hashlib.sha256(data).hexdigest()


def edit(sandbox: SandboxProcess, order: EditOrder, folder: Path) -> Painted:
    """One edit at the sandbox."""

    async def run() -> Painted:
        async with AsyncOpenAI(base_url=f"{sandbox.url}/v1", api_key="sandbox", max_retries=0) as client:
            return await edit_by_responses(client, CALLER, order, folder)

    return asyncio.run(run())


def kept_files(sandbox: SandboxProcess) -> list[object]:
    """The uploads that the sandbox still has."""
    return httpx2.get(f"{sandbox.url}/sandbox/files").raise_for_status().json()["files"]


def test_an_edit_gives_the_very_bytes_that_were_painted(quick_sandbox: SandboxProcess, tmp_path: Path) -> None:
    painted = edit(quick_sandbox, order_of(tmp_path, "by responses"), tmp_path)
    (call,) = quick_sandbox.calls("by responses")
    assert call["endpoint"] == "/v1/responses"
    assert [sha256(file.read_bytes()) for file in painted.files] == call["images"]
    assert call["inputs"] == [sha256(FILES["first.png"]), sha256(FILES["second.jpg"])]
    assert call["mask"] == sha256(FILES["mask.png"])
    assert call["client_request_id"] == "job_1-1-0"
    assert painted.request_id == call["request_id"]
    assert painted.applied == Applied(size="1024x1024", quality="low", background="opaque", output_format="jpeg")
    assert painted.notes == (ROUTE_NOTE, IMAGE_NOT_COUNTED_NOTE, SANDBOX_NOTE)


def test_previews_are_not_asked_for_and_the_notes_say_so(quick_sandbox: SandboxProcess, tmp_path: Path) -> None:
    painted = edit(quick_sandbox, order_of(tmp_path, "no previews", partial_images=2), tmp_path)
    assert painted.notes == (ROUTE_NOTE, NO_PREVIEWS_NOTE, IMAGE_NOT_COUNTED_NOTE, SANDBOX_NOTE)


def test_a_single_image_without_mask_or_compression_is_edited(quick_sandbox: SandboxProcess, tmp_path: Path) -> None:
    order = order_of(tmp_path, "plain", mask=None, output_format="png", output_compression=None, user=None)
    painted = edit(quick_sandbox, replace(order, images=order.images[:1]), tmp_path)
    (call,) = quick_sandbox.calls("plain")
    assert (len(painted.files), call["mask"], len(call["inputs"])) == (1, None, 1)
    assert painted.files[0].read_bytes().startswith(b"\x89PNG")


def test_each_image_of_n_is_a_call_of_its_own_and_usage_is_summed(
    quick_sandbox: SandboxProcess, tmp_path: Path
) -> None:
    one = edit(quick_sandbox, order_of(tmp_path, "three of me"), tmp_path)
    quick_sandbox_calls = len(quick_sandbox.calls("three of me"))
    three = edit(quick_sandbox, order_of(tmp_path, "three of me", n=3), tmp_path)
    calls = quick_sandbox.calls("three of me")[quick_sandbox_calls:]
    assert [call["client_request_id"] for call in calls] == ["job_1-1-0", "job_1-1-1", "job_1-1-2"]
    assert [sha256(file.read_bytes()) for file in three.files] == [call["images"][0] for call in calls]
    assert len(set(three.files)) == 3
    assert one.usage
    assert three.usage
    assert three.usage.input_tokens == 3 * (one.usage.input_tokens or 0) > 0
    assert three.request_id == ", ".join(call["request_id"] for call in calls)


def test_no_upload_is_left_behind_by_a_success(quick_sandbox: SandboxProcess, tmp_path: Path) -> None:
    edit(quick_sandbox, order_of(tmp_path, "clean"), tmp_path)
    assert kept_files(quick_sandbox) == []


FAULTS: Final[list[tuple[dict[str, object], type[ProviderError]]]] = [
    ({"status": 400, "code": "moderation_blocked", "type": "image_generation_user_error"}, ModerationBlocked),
    ({"status": 400, "code": "invalid_value"}, ProviderRefused),
    ({"status": 429, "code": "insufficient_quota"}, AccountBlocked),
    ({"status": 429, "code": "rate_limit_exceeded"}, RateLimited),
    ({"status": 503, "code": "overloaded"}, ProviderBusy),
    ({"drop": "before"}, OutcomeUnknown),
    ({"drop": "middle"}, OutcomeUnknown),
    ({"body": "broken_base64"}, BadOutput),
    ({"body": "not_an_image"}, BadOutput),
    ({"body": "empty_list"}, ProviderRefused),
]


@pytest.mark.parametrize(("fault", "meaning"), FAULTS)
def test_a_first_call_that_fails_is_the_edits_failure_and_leaves_no_upload(
    quick_sandbox: SandboxProcess, tmp_path: Path, fault: dict[str, object], meaning: type[ProviderError]
) -> None:
    prompt = f"first fails {fault}"
    quick_sandbox.add_fault(fault, prompt=prompt)
    with pytest.raises(ProviderError) as raised:
        edit(quick_sandbox, order_of(tmp_path, prompt, n=2), tmp_path)
    assert type(raised.value) is meaning
    calls = quick_sandbox.calls(prompt)
    assert len(calls) == 1, "no second call after a first that failed"
    if "drop" not in fault:
        assert raised.value.request_id == calls[0]["request_id"]
    assert kept_files(quick_sandbox) == []


@pytest.mark.parametrize(("fault", "meaning"), FAULTS)
def test_a_later_call_that_fails_keeps_what_is_paid_for(
    quick_sandbox: SandboxProcess, tmp_path: Path, fault: dict[str, object], meaning: type[ProviderError]
) -> None:
    prompt = f"second fails {fault}"
    quick_sandbox.add_fault({"delay": 0.001}, prompt=prompt)
    quick_sandbox.add_fault(fault, prompt=prompt)
    painted = edit(quick_sandbox, order_of(tmp_path, prompt, n=3), tmp_path)
    calls = quick_sandbox.calls(prompt)
    assert len(calls) == 2
    assert [sha256(file.read_bytes()) for file in painted.files] == calls[0]["images"]
    (shortfall,) = [note for note in painted.notes if "1 of 3 images" in note]
    assert meaning.code in shortfall
    assert ("may have been billed" in shortfall) == (meaning is OutcomeUnknown)
    assert kept_files(quick_sandbox) == []


def test_usage_that_is_not_told_is_unknown(quick_sandbox: SandboxProcess, tmp_path: Path) -> None:
    quick_sandbox.add_fault({"body": "no_usage"}, prompt="untold usage")
    assert edit(quick_sandbox, order_of(tmp_path, "untold usage"), tmp_path).usage is None


def test_a_cancelled_call_leaves_no_upload(quick_sandbox: SandboxProcess, tmp_path: Path) -> None:
    quick_sandbox.set_latency(600)

    async def run() -> None:
        async with AsyncOpenAI(base_url=f"{quick_sandbox.url}/v1", api_key="sandbox", max_retries=0) as client:
            task = asyncio.create_task(edit_by_responses(client, CALLER, order_of(tmp_path, "cancelled"), tmp_path))
            while not await asyncio.to_thread(quick_sandbox.calls, "cancelled"):
                await asyncio.wait({task}, timeout=0.02)
                assert not task.done()
            assert len(kept_files(quick_sandbox)) == 3
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(run())
    assert kept_files(quick_sandbox) == []
