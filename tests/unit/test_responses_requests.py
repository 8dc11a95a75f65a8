"""What an edit by the Responses API sends, and what it makes of answers that the sandbox does not give."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import httpx2
import pytest
from edit_order_kit import FILES, order_of
from openai import AsyncOpenAI
from picture_kit import png
from structlog.testing import capture_logs

from imagequeue.errors import ModerationBlocked, ProviderBusy, ProviderError, ProviderRefused
from imagequeue.jobs import Usage
from worker.edit_order import EditOrder
from worker.responses_route import CALLER_NOT_COUNTED_NOTE, ROUTE_NOTE, edit_by_responses
from worker.spool import Painted

CALLER: Final = "gpt-5"
GOOD: Final[Mapping[str, object]] = {
    "output": [{"type": "image_generation_call", "result": base64.b64encode(png()).decode(), "size": "64x48"}],
    "usage": {"input_tokens": 5, "output_tokens": 6},
}
Answer = httpx2.Response | Exception


class ScriptedOpenAI:
    """Uploads and deletes as OpenAI does, unless told otherwise; `create` answers the calls."""

    def __init__(self, *, create: Answer | None = None, upload: Answer | None = None, delete: Answer | None = None):
        self.create = create or httpx2.Response(200, json=GOOD, headers={"x-request-id": "req_1"})
        self.upload, self.delete = upload, delete
        self.before_delete: Callable[[], Awaitable[object]] | None = None
        self.requests: list[httpx2.Request] = []
        self.deleted: list[str] = []

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        self.requests.append(request)
        if request.method == "DELETE":
            return await self._delete(request.url.path.rpartition("/")[2])
        if request.url.path.endswith("/files"):
            file_id = f"file-{len(self.sent_to('/files'))}"
            return given(self.upload or httpx2.Response(200, json={"id": file_id, "object": "file"}))
        return given(self.create)

    async def _delete(self, file_id: str) -> httpx2.Response:
        if self.before_delete is not None:
            await self.before_delete()
        answer = given(self.delete or httpx2.Response(200, json={"id": file_id, "object": "file", "deleted": True}))
        self.deleted.append(file_id)
        return answer

    def sent_to(self, path: str) -> list[httpx2.Request]:
        """The POSTs to a path."""
        return [request for request in self.requests if request.method == "POST" and request.url.path.endswith(path)]

    async def edit(self, order: EditOrder, folder: Path) -> Painted:
        """One edit over this transport."""
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(self))
        async with AsyncOpenAI(
            base_url="http://openai.test/v1", api_key="sk-test", max_retries=0, http_client=http
        ) as client:
            return await edit_by_responses(client, CALLER, order, folder)


def given(answer: Answer) -> httpx2.Response:
    """Answer, or break off."""
    if isinstance(answer, Exception):
        raise answer
    return answer


def test_the_call_forces_the_tool_with_the_orders_settings(tmp_path: Path) -> None:
    openai = ScriptedOpenAI()
    asyncio.run(openai.edit(order_of(tmp_path, "forced"), tmp_path))
    (call,) = openai.sent_to("/responses")
    body = json.loads(call.content)
    assert body["model"] == CALLER
    assert body["tools"] == [
        {
            "type": "image_generation",
            "action": "edit",
            "model": "gpt-image-2",
            "size": "1024x1024",
            "quality": "low",
            "background": "auto",
            "output_format": "jpeg",
            "output_compression": 60,
            "input_image_mask": {"file_id": "file-3"},
        }
    ]
    assert body["tool_choice"] == {"type": "image_generation"}
    assert (body["max_tool_calls"], body["store"], body["user"]) == (1, False, "somebody")
    (message,) = body["input"]
    assert [part.get("text") or part["file_id"] for part in message["content"]] == ["forced", "file-1", "file-2"]


def test_uploads_are_for_vision_and_expire_even_if_nobody_deletes_them(tmp_path: Path) -> None:
    openai = ScriptedOpenAI()
    asyncio.run(openai.edit(order_of(tmp_path, "expiring"), tmp_path))
    uploads = [request.content for request in openai.sent_to("/files")]
    for upload, content in zip(uploads, FILES.values(), strict=True):
        assert content in upload
        assert b'name="purpose"\r\n\r\nvision\r\n' in upload
        assert b'name="expires_after[anchor]"\r\n\r\ncreated_at\r\n' in upload
        assert b'name="expires_after[seconds]"\r\n\r\n86400\r\n' in upload
    assert sorted(openai.deleted) == ["file-1", "file-2", "file-3"]


def test_tokens_that_openai_tells_of_the_image_are_counted(tmp_path: Path) -> None:
    image_tokens = {"output_tokens": 196, "input_tokens": 9, "input_tokens_details": {"image_tokens": 8}}
    body = {**GOOD, "tool_usage": {"image_gen": image_tokens}}
    openai = ScriptedOpenAI(create=httpx2.Response(200, json=body))
    painted = asyncio.run(openai.edit(order_of(tmp_path, "counted"), tmp_path))
    assert painted.usage == Usage(output_tokens=196, input_tokens=9, input_image_tokens=8)
    assert painted.notes == (ROUTE_NOTE, CALLER_NOT_COUNTED_NOTE)


def test_an_answered_refusal_carries_openais_request_id(tmp_path: Path) -> None:
    failed = {"type": "image_generation_call", "status": "failed", "error": {"code": "moderation_blocked"}}
    answer = httpx2.Response(200, json={"output": [failed]}, headers={"x-request-id": "req_7"})
    openai = ScriptedOpenAI(create=answer)
    with pytest.raises(ModerationBlocked) as raised:
        asyncio.run(openai.edit(order_of(tmp_path, "refused"), tmp_path))
    assert raised.value.request_id == "req_7"
    assert len(openai.deleted) == 3


@pytest.mark.parametrize(
    ("upload", "meaning"),
    [
        (httpx2.ReadTimeout("silence"), ProviderBusy),
        (httpx2.ConnectError("refused"), ProviderBusy),
        (httpx2.Response(502, content=b"<html>"), ProviderBusy),
        (httpx2.Response(400, json={"error": {"code": "invalid_value", "message": "no"}}), ProviderRefused),
    ],
)
def test_a_failed_upload_costs_nothing_and_calls_nothing(
    tmp_path: Path, upload: Answer, meaning: type[ProviderError]
) -> None:
    openai = ScriptedOpenAI(upload=upload)
    with pytest.raises(ProviderError) as raised:
        asyncio.run(openai.edit(order_of(tmp_path, "no upload"), tmp_path))
    assert type(raised.value) is meaning
    assert openai.sent_to("/responses") == []


@pytest.mark.parametrize("delete", [httpx2.ConnectError("away"), httpx2.Response(500, content=b"")])
def test_an_upload_that_cannot_be_deleted_is_logged_and_loses_no_image(tmp_path: Path, delete: Answer) -> None:
    openai = ScriptedOpenAI(delete=delete)
    with capture_logs() as lines:
        painted = asyncio.run(openai.edit(order_of(tmp_path, "left behind"), tmp_path))
    assert [file.read_bytes() for file in painted.files] == [png()]
    assert sorted(line["file_id"] for line in lines) == ["file-1", "file-2", "file-3"]
    assert {line["log_level"] for line in lines} == {"warning"}


def test_a_cancel_during_the_deletions_waits_for_them(tmp_path: Path) -> None:
    async def run() -> list[str]:
        openai, deleting, go_on = ScriptedOpenAI(), asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            deleting.set()
            await go_on.wait()
            await asyncio.to_thread(bytes)  # takes longer than the cancel's way out

        openai.before_delete = wait
        task = asyncio.create_task(openai.edit(order_of(tmp_path, "late cancel"), tmp_path))
        await deleting.wait()
        task.cancel()
        asyncio.get_running_loop().call_soon(go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        return openai.deleted

    assert len(asyncio.run(run())) == 3
