"""The journal, the latency and the end of the sandbox."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import APITimeoutError, AsyncOpenAI, OpenAI
from PIL import Image
from sandbox_kit import DEFAULTS, GENERATIONS, KEY, MODEL, RunningSandbox, running_sandbox

CHEAP = {"model": MODEL, "prompt": "a fox", "quality": "low"}
UNUSABLE_SETTINGS: list[dict[str, Any]] = [
    {"latency_seconds": -1},
    {"latency_seconds": "1"},
    {"latency_seconds": None},
    {"latency": 1},
    {"refuse_edits": "yes"},
    {"latency_seconds": 1, "refuse_edits": 1},
    {"images_per_minute": 0},
    {"tokens_per_minute": 1.5},
    {"input_images_per_minute": "5"},
    {"limit_window_seconds": 0},
    {"limit_window_seconds": None},
    {"account_error": "insufficient_quota"},
]


def lines_about(journal: Path, call: dict[str, Any]) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    return [line for line in lines if line["request_id"] == call["request_id"]]


def test_an_answered_call_is_recorded_with_its_images(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    before_ms = time.time_ns() // 1_000_000
    answer = openai_client.images.generate(
        model=MODEL, prompt="two foxes", n=2, quality="low", extra_headers={"x-client-request-id": "mine-1"}
    )
    (call,) = sandbox.calls()
    files = [base64.b64decode(image.b64_json or "") for image in answer.data or []]
    assert call["images"] == [hashlib.sha256(file).hexdigest() for file in files]
    assert (call["endpoint"], call["prompt"], call["n"]) == (GENERATIONS, "two foxes", 2)
    assert (call["size"], call["quality"], call["client_request_id"]) == ("auto", "low", "mine-1")
    assert (call["outcome"], call["status"]) == ("answered", 200)
    assert before_ms <= call["received_ms"] <= call["settled_ms"] <= time.time_ns() // 1_000_000


def test_refused_and_unauthorised_calls_are_recorded_too(sandbox: RunningSandbox) -> None:
    sandbox.post({**CHEAP, "n": "many"})
    sandbox.http.post(GENERATIONS, json=CHEAP)
    sandbox.post([])
    found = [(call["outcome"], call["status"], call["prompt"], call["n"]) for call in sandbox.calls()]
    assert found == [("refused", 400, "a fox", None), ("refused", 401, "a fox", 1), ("refused", 400, None, 1)]


def test_a_call_is_recorded_when_it_is_received(sandbox: RunningSandbox) -> None:
    answers: list[httpx2.Response] = []
    body = {**CHEAP, "prompt": "a slow fox"}
    caller = threading.Thread(target=lambda: answers.append(sandbox.post(body, x_sandbox_latency="1.5")))
    caller.start()
    call = sandbox.call("a slow fox", settled=False)
    (line,) = lines_about(sandbox.journal, call)
    assert (call["outcome"], line["event"]) == (None, "received")

    caller.join()
    assert answers[0].headers["x-request-id"] == call["request_id"]
    assert sandbox.call("a slow fox", settled=True)["outcome"] == "answered"
    assert [line["event"] for line in lines_about(sandbox.journal, call)] == ["received", "settled"]


def test_a_client_that_leaves_is_recorded_as_gone(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    with pytest.raises(APITimeoutError):
        openai_client.images.generate(
            model=MODEL, prompt="a fox left", extra_headers={"x-sandbox-latency": "60"}, timeout=0.3
        )
    call = sandbox.call("a fox left", settled=True)
    assert (call["outcome"], call["status"], call["images"]) == ("client_gone", None, [])


def test_the_journal_is_read_on_from_a_number_and_cleared(sandbox: RunningSandbox) -> None:
    for _ in range(3):
        sandbox.post({"model": MODEL})
    first, second, third = (call["number"] for call in sandbox.calls())
    assert [call["number"] for call in sandbox.calls(since=first)] == [second, third]
    sandbox.http.delete("/sandbox/calls")
    assert sandbox.calls() == []
    sandbox.post({"model": MODEL})
    assert [call["number"] for call in sandbox.calls()] == [third + 1]


@pytest.mark.parametrize("since", ["-1", "x", "1.5", ""])
def test_an_unusable_number_to_read_from_is_refused(sandbox: RunningSandbox, since: str) -> None:
    answer = sandbox.http.get(f"/sandbox/calls?since={since}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "since")


def test_latency_follows_the_setting_and_the_header_goes_first(sandbox: RunningSandbox) -> None:
    def seconds(**headers: str) -> float:
        started = time.monotonic()
        assert sandbox.post(CHEAP, **headers).status_code == 200
        return time.monotonic() - started

    answer = sandbox.http.post("/sandbox/settings", json={"latency_seconds": 2})
    assert answer.json() == sandbox.http.get("/sandbox/settings").json() == DEFAULTS | {"latency_seconds": 2}
    assert seconds() >= 2
    assert seconds(x_sandbox_latency="0") < 2
    assert sandbox.post({"model": MODEL}).elapsed.total_seconds() < 2


@pytest.mark.parametrize("latency", ["-1", "soon", "inf", "nan", "3601"])
def test_an_unusable_latency_header_is_refused(sandbox: RunningSandbox, latency: str) -> None:
    answer = sandbox.post(CHEAP, x_sandbox_latency=latency)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "x-sandbox-latency")


@pytest.mark.parametrize("settings", UNUSABLE_SETTINGS)
def test_unusable_settings_are_refused_and_change_nothing(sandbox: RunningSandbox, settings: dict[str, Any]) -> None:
    answer = sandbox.http.post("/sandbox/settings", json=settings)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] in settings
    assert sandbox.http.get("/sandbox/settings").json() == DEFAULTS


def test_settings_that_are_not_named_stay(sandbox: RunningSandbox) -> None:
    sandbox.set(latency_seconds=0.01)
    sandbox.set(refuse_edits=True)
    sandbox.set()
    assert sandbox.http.get("/sandbox/settings").json() == DEFAULTS | {"latency_seconds": 0.01, "refuse_edits": True}
    sandbox.set(latency_seconds=0)
    assert sandbox.http.get("/sandbox/settings").json() == DEFAULTS | {"refuse_edits": True}


def test_images_of_a_weight_are_the_same_for_every_prompt(sandbox: RunningSandbox) -> None:
    sandbox.set(image_bytes=200_000)
    answers = [sandbox.post(CHEAP | {"prompt": prompt, "size": "1024x1024"}).json() for prompt in ("one", "two")]
    sandbox.set(image_bytes=None)
    first, second = (base64.b64decode(answer["data"][0]["b64_json"]) for answer in answers)
    assert first == second
    assert abs(len(first) - 200_000) < 20_000
    with Image.open(io.BytesIO(first)) as image:
        image.load()
        assert (image.format, image.size) == ("PNG", (1024, 1024))


def test_400_waiting_calls_do_not_keep_others_waiting(sandbox: RunningSandbox) -> None:
    async def crowd() -> float:
        limits = httpx2.Limits(max_connections=None)
        headers = {"authorization": f"Bearer {KEY}", "x-sandbox-fault": '{"status": 503, "delay": 600}'}
        async with httpx2.AsyncClient(base_url=sandbox.url, limits=limits, timeout=60) as http:
            calls = [asyncio.create_task(http.post(GENERATIONS, json=CHEAP, headers=headers)) for _ in range(400)]
            while len((await http.get("/sandbox/calls")).json()["calls"]) < 400:
                pass
            started = time.monotonic()
            (await http.get("/healthz")).raise_for_status()
            took = time.monotonic() - started
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            return took

    assert asyncio.run(crowd()) < 1


def test_calls_at_once_are_each_answered_with_their_own_picture(sandbox: RunningSandbox) -> None:
    async def crowd() -> list[str]:
        async with AsyncOpenAI(base_url=f"{sandbox.url}/v1", api_key=KEY, max_retries=0) as client:
            calls = [client.images.generate(model=MODEL, prompt=f"fox {k}", quality="low") for k in range(20)]
            return [(answer.data or [])[0].b64_json or "" for answer in await asyncio.gather(*calls)]

    assert len(set(asyncio.run(crowd()))) == 20


@pytest.mark.parametrize("stop_signal", [signal.SIGTERM, signal.SIGINT])
def test_stopping_answers_calls_in_flight_503_and_ends_cleanly(tmp_path: Path, stop_signal: signal.Signals) -> None:
    with running_sandbox(tmp_path) as sandbox:
        answers: list[httpx2.Response] = []
        caller = threading.Thread(target=lambda: answers.append(sandbox.post(CHEAP, x_sandbox_latency="600")))
        caller.start()
        call = sandbox.call("a fox", settled=False)
        sandbox.process.send_signal(stop_signal)
        code = sandbox.process.wait(10)
        caller.join()
    assert (code, answers[0].status_code) == (0, 503)
    assert lines_about(sandbox.journal, call)[-1]["outcome"] == "stopped"


def test_a_hanging_call_that_the_stop_answered_is_recorded_as_stopped(tmp_path: Path) -> None:
    with running_sandbox(tmp_path) as sandbox:
        answers: list[httpx2.Response] = []
        caller = threading.Thread(target=lambda: answers.append(sandbox.post(CHEAP, x_sandbox_fault='{"hang": true}')))
        caller.start()
        call = sandbox.call("a fox", settled=True)
        sandbox.process.terminate()
        sandbox.process.wait(10)
        caller.join()
    assert answers[0].status_code == 503
    assert [line.get("outcome") for line in lines_about(sandbox.journal, call)] == [None, "fault:hang", "stopped"]


def test_the_journal_file_is_continued_by_the_next_run(tmp_path: Path) -> None:
    with running_sandbox(tmp_path) as first:
        first.post({"model": MODEL})
    with running_sandbox(tmp_path) as second:
        second.post({"model": MODEL})
    assert first.journal == second.journal
    lines = [json.loads(line) for line in second.journal.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["received", "settled"] * 2
    assert len({line["request_id"] for line in lines}) == 2
