"""Batches: through OpenAI's own SDK, held against OpenAI's published API, and what the sandbox charges for them."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable
from typing import Any, Final

import pytest
from edit_kit import data_url, opened, png
from openai import APIConnectionError, APIStatusError, BadRequestError, ConflictError, NotFoundError, OpenAI
from openai.types import Batch
from published_openapi import PublishedApi
from sandbox_kit import EDITS, GENERATIONS, KEY, MODEL, RunningSandbox

PATH: Final = "/v1/batches"
AUTHORISED: Final = {"authorization": f"Bearer {KEY}"}
OVER: Final = ("completed", "failed", "expired", "cancelled")
_PATIENCE_SECONDS: Final = 20


def line(custom_id: str, url: str = GENERATIONS, /, **body: Any) -> dict[str, Any]:
    defaults = {"model": MODEL, "prompt": f"{custom_id} on a hill", "quality": "low", "size": "1024x1024"}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": {**defaults, **body}}


def jsonl(*lines: object) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


def upload(client: OpenAI, content: bytes) -> str:
    return client.files.create(file=("lines.jsonl", content), purpose="batch").id


def begin(client: OpenAI, *lines: object, endpoint: Any = GENERATIONS, **more: Any) -> Batch:
    file_id = upload(client, jsonl(*lines))
    return client.batches.create(input_file_id=file_id, endpoint=endpoint, completion_window="24h", **more)


def until(client: OpenAI, batch: Batch, fits: Callable[[Batch], bool]) -> Batch:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        batch = client.batches.retrieve(batch.id)
        if fits(batch):
            return batch
    raise AssertionError(f"the batch does not get there: {batch}")


def ended(client: OpenAI, batch: Batch) -> Batch:
    return until(client, batch, lambda each: each.status in OVER)


def lines_of(client: OpenAI, file_id: str | None) -> dict[str, dict[str, Any]]:
    if file_id is None:
        return {}
    lines = [json.loads(text) for text in client.files.content(file_id).read().splitlines()]
    assert len({each["custom_id"] for each in lines}) == len(lines)
    return {each["custom_id"]: each for each in lines}


def test_a_batch_of_generations_gives_every_image_under_its_custom_id(
    sandbox: RunningSandbox, openai_client: OpenAI
) -> None:
    batch = begin(openai_client, *(line(f"fox-{n}", n=1 + n % 2) for n in range(4)), metadata={"ours": "1"})
    assert (batch.status, batch.metadata, batch.endpoint) == ("validating", {"ours": "1"}, GENERATIONS)
    assert batch.expires_at == batch.created_at + 86_400
    done = ended(openai_client, batch)
    assert (done.status, done.error_file_id, done.model) == ("completed", None, MODEL)
    assert done.request_counts and done.request_counts.model_dump() == {"completed": 4, "failed": 0, "total": 4}
    answers = lines_of(openai_client, done.output_file_id)
    calls = {call["custom_id"]: call for call in sandbox.calls()}
    assert set(answers) == set(calls) == {"fox-0", "fox-1", "fox-2", "fox-3"}
    for custom_id, answer in answers.items():
        assert (answer["error"], answer["response"]["status_code"]) == (None, 200)
        files = [base64.b64decode(image["b64_json"]) for image in answer["response"]["body"]["data"]]
        assert [hashlib.sha256(file).hexdigest() for file in files] == calls[custom_id]["images"]
        assert answer["response"]["request_id"] == calls[custom_id]["request_id"]
        assert {opened(file).size for file in files} == {(1024, 1024)}
        assert calls[custom_id]["batch"] == batch.id


def test_an_edit_takes_uploaded_files_and_urls(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    image = png()
    file_id = openai_client.files.create(file=("a.png", image), purpose="vision").id
    batch = begin(
        openai_client,
        line("by-file", EDITS, images=[{"file_id": file_id}]),
        line("by-url", EDITS, images=[{"image_url": data_url(image)}, {"file_id": file_id}]),
        line("gone", EDITS, images=[{"file_id": "file-gone"}]),
        endpoint=EDITS,
    )
    done = ended(openai_client, batch)
    assert set(lines_of(openai_client, done.output_file_id)) == {"by-file", "by-url"}
    (gone,) = lines_of(openai_client, done.error_file_id).values()
    assert (gone["response"]["status_code"], gone["error"]) == (400, None)
    assert gone["response"]["body"]["error"]["code"] == "image_file_not_found"
    digest = hashlib.sha256(image).hexdigest()
    inputs = {call["custom_id"]: call["inputs"] for call in sandbox.calls()}
    assert inputs == {"by-file": [digest], "by-url": [digest, digest], "gone": []}


def test_a_line_costs_half_of_what_the_same_call_costs(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    single = line("fox")
    openai_client.images.generate(**single["body"])
    ended(openai_client, begin(openai_client, single, line("bad", prompt="FORBIDDEN")))
    costs = {call["custom_id"]: call["cost_usd"] for call in sandbox.calls()}
    assert costs[None] == pytest.approx(196 * 30e-6, abs=5e-5)
    assert costs == {None: costs[None], "fox": pytest.approx(costs[None] / 2, abs=1e-6), "bad": None}


def test_refusals_and_faults_of_lines_go_to_the_error_file(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    sandbox.add_fault({"status": 500, "code": "server_error"}, match={"prompt_contains": "broken"})
    sandbox.add_fault({"drop": "before"}, match={"prompt_contains": "late"})
    sandbox.add_fault({"body": "not_an_image"}, match={"prompt_contains": "spoiled"})
    names = ("good", "broken", "late", "spoiled")
    refused = [line("refused", prompt="FORBIDDEN"), line("small", size="16x16"), line("event", stream=True)]
    done = ended(openai_client, begin(openai_client, *map(line, names), *refused))
    assert done.status == "completed"
    assert done.request_counts and done.request_counts.model_dump() == {"completed": 2, "failed": 5, "total": 7}
    errors = lines_of(openai_client, done.error_file_id)
    assert set(lines_of(openai_client, done.output_file_id)) == {"good", "spoiled"}
    assert errors["late"]["response"] is None
    assert errors["late"]["error"]["code"] == "request_timeout"
    told = {name: answer["response"] for name, answer in errors.items() if answer["response"]}
    found = {name: (answer["status_code"], answer["body"]["error"]["code"]) for name, answer in told.items()}
    assert found == {
        "broken": (500, "server_error"),
        "refused": (400, "moderation_blocked"),
        "small": (400, "invalid_value"),
        "event": (400, "invalid_value"),
    }


def test_a_batch_of_failures_has_no_output_file(openai_client: OpenAI) -> None:
    done = ended(openai_client, begin(openai_client, line("a", n=0)))
    assert (done.status, done.output_file_id) == ("completed", None)
    assert set(lines_of(openai_client, done.error_file_id)) == {"a"}


def test_what_is_unfinished_when_the_window_closes_expires(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    sandbox.set(batch_window_seconds=1.5)
    sandbox.add_fault({"hang": True}, match={"endpoint": f"BATCH {GENERATIONS}", "prompt_contains": "slow"})
    done = ended(openai_client, begin(openai_client, line("quick"), line("slow")))
    assert (done.status, done.expired_at is None, done.completed_at) == ("expired", False, None)
    assert set(lines_of(openai_client, done.output_file_id)) == {"quick"}
    (slow,) = lines_of(openai_client, done.error_file_id).values()
    assert (slow["custom_id"], slow["response"], slow["error"]["code"]) == ("slow", None, "batch_expired")
    assert {call["custom_id"]: call["cost_usd"] for call in sandbox.calls()}["slow"] is None


def test_a_cancelled_batch_keeps_what_was_done(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    sandbox.set(batch_step_seconds=0.2)
    sandbox.add_fault({"hang": True}, match={"prompt_contains": "slow"})
    batch = begin(openai_client, line("quick"), line("slow"))
    until(openai_client, batch, lambda each: bool(each.request_counts and each.request_counts.completed))
    cancelling = openai_client.batches.cancel(batch.id)
    assert (cancelling.status, cancelling.output_file_id) == ("cancelling", None)
    done = ended(openai_client, batch)
    assert (done.status, openai_client.batches.cancel(batch.id).status) == ("cancelled", "cancelled")
    assert done.request_counts and done.request_counts.model_dump() == {"completed": 1, "failed": 0, "total": 2}
    assert set(lines_of(openai_client, done.output_file_id)) == {"quick"}
    (slow,) = lines_of(openai_client, done.error_file_id).values()
    assert (slow["custom_id"], slow["error"]["code"]) == ("slow", "batch_cancelled")
    assert sandbox.call("slow on a hill", settled=True)["outcome"] == "fault:hang"


def test_a_batch_that_is_over_is_not_cancelled(openai_client: OpenAI) -> None:
    done = ended(openai_client, begin(openai_client, line("a")))
    with pytest.raises(ConflictError, match="completed"):
        openai_client.batches.cancel(done.id)


def test_every_status_is_seen_and_conforms_to_the_published_api(
    sandbox: RunningSandbox, openai_client: OpenAI, published_api: PublishedApi
) -> None:
    sandbox.set(batch_step_seconds=0.3, latency_seconds=0.3)
    batch = begin(openai_client, line("a"), line("b", n=0))
    seen: list[str] = []
    while not seen or seen[-1] not in OVER:
        told = sandbox.http.get(f"{PATH}/{batch.id}", headers=AUTHORISED).json()
        assert published_api.problems("Batch", told) == []
        if told["status"] not in seen:
            seen.append(told["status"])
    assert seen == ["validating", "in_progress", "finalizing", "completed"]


UNUSABLE: Final[list[tuple[bytes, str, int | None]]] = [
    (b"", "empty_file", None),
    (b"\n  \n", "empty_file", None),
    (jsonl(line("a")) + b"{", "invalid_json_line", 2),
    (jsonl([]), "invalid_json_line", 1),
    (jsonl({"custom_id": "a", "url": GENERATIONS, "body": {}}), "missing_required_parameter", 1),
    (jsonl(line("a"), line("b"), line("a")), "duplicate_custom_id", 3),
    (jsonl(line("a", EDITS)), "url_mismatch", 1),
    (jsonl(line("a"), line("b", model="gpt-image-1")), "model_mismatch", 2),
    (jsonl({**line("a"), "method": "GET"}), "invalid_request", 1),
    (jsonl(line("a"))[:-1] + b"\n" + b"\n".join(b'{"custom_id": 1}' for _ in range(50_000)), "too_many_tasks", None),
]


@pytest.mark.parametrize(
    ("content", "code", "number"), UNUSABLE, ids=[f"{n}-{row[1]}" for n, row in enumerate(UNUSABLE)]
)
def test_an_unusable_input_fails_the_batch_and_costs_nothing(
    sandbox: RunningSandbox, openai_client: OpenAI, content: bytes, code: str, number: int | None
) -> None:
    file_id = upload(openai_client, content)
    batch = openai_client.batches.create(input_file_id=file_id, endpoint=GENERATIONS, completion_window="24h")
    done = ended(openai_client, batch)
    assert (done.status, done.output_file_id, done.error_file_id) == ("failed", None, None)
    assert done.errors and done.errors.data
    assert (done.errors.data[0].code, done.errors.data[0].line) == (code, number)
    assert sandbox.calls() == []


def test_batches_fail_while_the_setting_says_so(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    sandbox.set(batch_error={"code": "token_limit_exceeded", "message": "Enqueued token limit reached."})
    done = ended(openai_client, begin(openai_client, line("a")))
    assert done.status == "failed"
    assert done.errors and done.errors.data and done.errors.data[0].code == "token_limit_exceeded"
    sandbox.set(batch_error=None)
    assert ended(openai_client, begin(openai_client, line("a"))).status == "completed"


GOOD: Final = {"endpoint": GENERATIONS, "completion_window": "24h"}
REFUSED: Final[list[tuple[dict[str, Any], str]]] = [
    ({"endpoint": None}, "endpoint"),
    ({"endpoint": "/v1/chat/completions"}, "endpoint"),
    ({"completion_window": "1h"}, "completion_window"),
    ({"input_file_id": None}, "input_file_id"),
    ({"input_file_id": "file-none"}, "file_id"),
    ({"priority": 1}, "priority"),
    ({"metadata": {"a": 1}}, "metadata.a"),
    ({"metadata": {"a": "x" * 513}}, "metadata.a"),
    ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
    ({"output_expires_after": {"anchor": "created_at", "seconds": 60}}, "output_expires_after.seconds"),
]


@pytest.mark.parametrize(("change", "param"), REFUSED, ids=[str(row[0])[:40] for row in REFUSED])
def test_an_unusable_request_is_refused(
    sandbox: RunningSandbox, openai_client: OpenAI, published_api: PublishedApi, change: dict[str, Any], param: str
) -> None:
    body = {"input_file_id": upload(openai_client, jsonl(line("a"))), **GOOD, **change}
    answer = sandbox.http.post(PATH, json=body, headers=AUTHORISED)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert published_api.problems("ErrorResponse", answer.json()) == []
    assert list(openai_client.batches.list()) == []


def test_a_file_of_another_purpose_is_refused(openai_client: OpenAI) -> None:
    file_id = openai_client.files.create(file=("a.jsonl", jsonl(line("a"))), purpose="user_data").id
    with pytest.raises(BadRequestError, match="user_data"):
        openai_client.batches.create(input_file_id=file_id, endpoint=GENERATIONS, completion_window="24h")


def test_a_blocked_account_begins_no_batch(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    sandbox.set(account_error={"status": 429, "code": "billing_hard_limit_reached"})
    with pytest.raises(APIStatusError) as caught:
        begin(openai_client, line("a"))
    assert caught.value.code == "billing_hard_limit_reached"


def test_batches_are_listed_page_by_page_newest_first(
    sandbox: RunningSandbox, openai_client: OpenAI, published_api: PublishedApi
) -> None:
    ids = [begin(openai_client, line("a"), metadata={"n": str(n)}).id for n in range(3)]
    assert [batch.id for batch in openai_client.batches.list(limit=2)] == ids[::-1]
    assert [batch.id for batch in openai_client.batches.list(after=ids[1])] == [ids[0]]
    for query in ("", "?limit=2", f"?after={ids[0]}"):
        listed = sandbox.http.get(PATH + query, headers=AUTHORISED).json()
        assert published_api.problems("ListBatchesResponse", listed) == []
    assert sandbox.http.get(f"{PATH}?limit=101", headers=AUTHORISED).status_code == 400


def test_an_unknown_batch_is_not_found(openai_client: OpenAI) -> None:
    for ask in (openai_client.batches.retrieve, openai_client.batches.cancel):
        with pytest.raises(NotFoundError):
            ask("batch_none")


@pytest.mark.parametrize(("when", "made"), [("before", 0), ("middle", 1)])
def test_a_batch_whose_answer_was_lost_is_found_by_its_metadata(
    sandbox: RunningSandbox, openai_client: OpenAI, when: str, made: int
) -> None:
    sandbox.add_fault({"drop": when}, match={"endpoint": "POST /v1/batches"})
    with pytest.raises(APIConnectionError):
        begin(openai_client, line("a"), metadata={"ours": "1"})
    assert [batch.metadata for batch in openai_client.batches.list()] == [{"ours": "1"}] * made


@pytest.mark.parametrize(("method", "path"), [("POST", ""), ("GET", ""), ("GET", "/x"), ("POST", "/x/cancel")])
def test_batches_are_not_served_without_a_key(sandbox: RunningSandbox, method: str, path: str) -> None:
    answer = sandbox.http.request(method, PATH + path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


def test_output_files_expire_when_asked_to(openai_client: OpenAI) -> None:
    expiry: Any = {"anchor": "created_at", "seconds": 3600}
    done = ended(openai_client, begin(openai_client, line("a"), output_expires_after=expiry))
    file = openai_client.files.retrieve(done.output_file_id or "")
    assert (file.purpose, file.expires_at) == ("batch_output", file.created_at + 3600)
