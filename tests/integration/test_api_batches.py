"""Batches over HTTP, with a real worker behind: from a manifest to results."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from pathlib import Path

import pytest
from api_kit import RunningApi
from batch_kit import JSONL, lines, look, results, submit
from fleet_kit import Fleet
from keyed_kit import Person
from manifest_kit import jsonl
from receiver_kit import Receiver
from sse_kit import event_stream

from imagequeue.async_client import AsyncClient
from imagequeue.client import ApiProblem, Client


@pytest.fixture
def words() -> str:
    """Prompts that no other test has."""
    return f"batch {uuid.uuid4().hex}"


def test_a_hundred_lines_become_a_hundred_images_in_manifest_order(
    fleet_api: RunningApi, working_fleet: Fleet, words: str
) -> None:
    batch = submit(fleet_api.http, lines(100, words), name="a hundred")
    assert (batch["state"], batch["lines"], batch["images"], batch["name"]) == ("running", 100, 100, "a hundred")
    ended = look(fleet_api.http, batch, wait=60)
    assert ended["state"] == "completed", ended
    assert ended["counts"] == {
        "waiting": 0,
        "in_flight": 0,
        "succeeded": 100,
        "failed": 0,
        "refused": 0,
        "cancelled": 0,
    }
    found = results(fleet_api.http, batch)
    assert [one["custom_id"] for one in found] == [f"line-{number}" for number in range(100)]
    assert all(one["state"] == "succeeded" and len(one["images"]) == 1 for one in found)
    assert len(working_fleet.sandbox.calls_beginning(words)) == 100
    assert ended["cost_usd_estimated"] == pytest.approx(sum(one["cost_usd_estimated"] for one in found))
    assert ended["reserved_usd"] == 0
    finished = results(fleet_api.http, batch, order="finished", after=39)
    assert [one["position"] for one in finished] == list(range(40, 100))
    assert len({one["job_id"] for one in found}) == 100


def test_lines_that_fail_are_told_apart_and_run_again_alone(
    fleet_api: RunningApi, working_fleet: Fleet, words: str
) -> None:
    sandbox = working_fleet.sandbox
    sandbox.add_fault({"status": 400, "code": "invalid_value"}, prompt=f"{words} 1")
    manifest = lines(4, words)
    manifest[2]["prompt"] = f"{words} FORBIDDEN"
    ended = look(fleet_api.http, batch := submit(fleet_api.http, manifest), wait=60)
    assert [one["state"] for one in results(fleet_api.http, batch)] == ["succeeded", "failed", "refused", "succeeded"]
    assert (ended["counts"]["failed"], ended["counts"]["refused"]) == (1, 1)
    again = fleet_api.http.post(f"/v1/batches/{batch['id']}/retry-failed")
    assert (again.status_code, again.json()["state"], again.json()["counts"]["waiting"]) == (200, "running", 1)
    ended = look(fleet_api.http, batch, wait=60)
    assert (ended["state"], ended["counts"]["succeeded"], ended["counts"]["failed"]) == ("completed", 3, 0)
    found = results(fleet_api.http, batch)
    assert [one["state"] for one in found] == ["succeeded", "succeeded", "refused", "succeeded"]
    assert [len(sandbox.calls(f"{words} {number}")) for number in (0, 1, 3)] == [1, 2, 1]
    jobs = fleet_api.http.get("/v1/jobs", params={"batch": batch["id"]}).json()["jobs"]
    assert len(jobs) == 5
    assert {job["custom_id"] for job in jobs} == {f"line-{number}" for number in range(4)}
    failed = fleet_api.http.get("/v1/jobs", params={"batch": batch["id"], "state": "failed"}).json()["jobs"]
    assert {job["custom_id"] for job in failed} == {"line-1", "line-2"}


def test_a_line_whose_input_is_gone_fails_at_no_cost(fleet_api: RunningApi, words: str) -> None:
    manifest = [*lines(1, words), {"type": "edit", "prompt": words, "images": [f"upload:{'0' * 64}"]}]
    ended = look(fleet_api.http, batch := submit(fleet_api.http, manifest), wait=60)
    assert (ended["state"], ended["counts"]["failed"]) == ("completed", 1)
    failed = results(fleet_api.http, batch)[1]
    assert (failed["job_id"], failed["error"]["code"], failed["cost_usd_estimated"]) == (None, "input_missing", 0)
    assert failed["custom_id"]


def test_a_batch_pauses_below_its_cap_and_ends_when_it_is_raised(fleet_api: RunningApi, words: str) -> None:
    http = fleet_api.http
    whole = http.post("/v1/estimates", json={"lines": lines(40, words)}).json()["expected_usd"]
    batch = submit(http, lines(40, words), max_cost_usd=f"{whole / 2:.6f}")
    paused = look(http, batch, wait=60)
    assert (paused["state"], paused["pause"]["code"]) == ("paused", "max_cost_usd")
    assert "max_cost_usd" in paused["pause"]["message"]
    assert 0 < paused["cost_usd_estimated"] <= whole / 2
    assert 10 <= paused["counts"]["succeeded"] <= 20
    raised = http.patch(f"/v1/batches/{batch['id']}", json={"max_cost_usd": whole * 2})
    assert (raised.status_code, raised.json()["state"]) == (200, "running")
    ended = look(http, batch, wait=60)
    assert (ended["state"], ended["counts"]["succeeded"]) == ("completed", 40)


def test_a_paused_batch_waits_and_a_cancelled_one_ends(fleet_api: RunningApi, working_fleet: Fleet, words: str) -> None:
    http = fleet_api.http
    working_fleet.sandbox.set_latency(0.3)
    batch = submit(http, lines(30, words), window=2)
    path = f"/v1/batches/{batch['id']}"
    working_fleet.eventually(lambda: len(working_fleet.sandbox.calls_beginning(words)) > 0)
    paused = http.post(f"{path}/pause").json()
    assert (paused["state"], paused["pause"]["code"]) == ("paused", "asked")
    working_fleet.eventually(lambda: look(http, batch)["counts"]["in_flight"] == 0)
    calls = len(working_fleet.sandbox.calls_beginning(words))
    assert look(http, batch)["counts"]["succeeded"] == calls <= 4
    assert http.post(f"{path}/resume").json()["state"] == "running"
    working_fleet.eventually(lambda: len(working_fleet.sandbox.calls_beginning(words)) > calls)
    cancelled = http.post(f"{path}/cancel", json={"running": True}).json()
    assert cancelled["state"] == "cancelled"
    ended = look(http, batch, wait=60)
    assert ended["finished_at"]
    assert ended["counts"]["cancelled"] + ended["counts"]["succeeded"] == 30
    assert len(results(http, batch)) == 30
    for action in ("pause", "resume"):
        assert http.post(f"{path}/{action}").json()["code"] == "batch_over"
    assert http.post(f"{path}/cancel").status_code == 200


def test_the_events_of_a_batch_tell_every_line_and_its_end(fleet_api: RunningApi, words: str) -> None:
    batch = submit(fleet_api.http, lines(5, words), window=1)
    path = f"/v1/batches/{batch['id']}/events"
    with event_stream(fleet_api.url, path) as reader:
        first = next(reader.events())
        assert (first.name, first.data["id"], first.data["lines"]) == ("batch", batch["id"], 5)
        seen = reader.until("end")
    assert seen[-1].data["state"] == "completed"
    ends = [event.data["custom_id"] for event in seen if event.name == "state" and event.data["state"] == "succeeded"]
    assert ends[-1] == "line-4"
    assert len(ends) == len(set(ends))
    with event_stream(fleet_api.url, path, first.id) as reader:
        again = reader.until("end")
    told = [event.data["custom_id"] for event in again if event.name == "state" and event.data["state"] == "succeeded"]
    assert told[-len(ends) :] == ends
    with event_stream(fleet_api.url, path, again[-1].id) as reader:
        assert reader.status == 204


def test_webhooks_tell_that_a_batch_was_paused_and_completed(
    fleet_api: RunningApi, receivers: tuple[Receiver, Receiver], words: str
) -> None:
    http, receiver = fleet_api.http, receivers[0]
    path = f"/{uuid.uuid4().hex}"
    batch = submit(http, lines(2, words), max_cost_usd="0.000001", webhook=receiver.answering(path), name="told")
    (paused,) = receiver.wait(path, 1)
    http.patch(f"/v1/batches/{batch['id']}", json={"max_cost_usd": None})
    _, completed = receiver.wait(path, 2)
    secret = http.get("/v1/webhooks/secret").json()["secret"]
    kinds = [(one.verified(secret)["type"], one.verified(secret)["data"]["name"]) for one in (paused, completed)]
    assert kinds == [("batch.paused", "told"), ("batch.completed", "told")]
    assert paused.verified(secret)["data"]["reason"] == "max_cost_usd"
    assert completed.verified(secret)["data"]["counts"]["succeeded"] == 2
    assert paused.id != completed.id
    log = http.get("/v1/webhooks/deliveries").json()["deliveries"]
    assert [one["event"] for one in log if one["batch_id"] == batch["id"]] == ["batch.completed", "batch.paused"]


def test_a_batch_sent_again_with_its_idempotency_key_is_made_once(api: RunningApi, words: str) -> None:
    headers = {**JSONL, "Idempotency-Key": uuid.uuid4().hex}
    first, again = (api.http.post("/v1/batches", content=jsonl(*lines(3, words)), headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert (first.json()["id"], again.headers["Idempotent-Replayed"]) == (again.json()["id"], "true")
    other = api.http.post("/v1/batches", content=jsonl(*lines(4, words)), headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_batches_are_listed_newest_first_and_looked_at_again_cheaply(empty_api: RunningApi, words: str) -> None:
    http = empty_api.http
    made = [submit(http, lines(1, words))["id"] for _ in range(3)]
    page = http.get("/v1/batches", params={"limit": "2"}).json()
    assert [one["id"] for one in page["batches"]] == made[:0:-1]
    rest = http.get("/v1/batches", params={"cursor": page["next_cursor"]}).json()
    assert ([one["id"] for one in rest["batches"]], rest["next_cursor"]) == (made[:1], None)
    answer = http.get(f"/v1/batches/{made[0]}")
    unchanged = http.get(f"/v1/batches/{made[0]}", headers={"If-None-Match": answer.headers["ETag"]})
    assert unchanged.status_code == 304


def test_bad_lines_are_all_told_and_nothing_is_kept_unless_they_may_be_skipped(api: RunningApi, words: str) -> None:
    manifest = [*lines(2, words), {"prompt": words, "size": "7x7"}, {"prompt": ""}]
    refused = api.http.post("/v1/batches", content=jsonl(*manifest), headers=JSONL)
    assert (refused.status_code, refused.json()["code"], refused.json()["bad_lines"]) == (400, "invalid_manifest", 2)
    accepted = submit(api.http, manifest, skip_invalid="true")
    assert (accepted["lines"], accepted["skipped_lines"]) == (2, 2)
    assert {one["line"] for one in accepted["skipped"]} == {3, 4}


def test_somebody_elses_batch_does_not_exist(admin: Person, words: str) -> None:
    mine, other = admin.issue(), admin.issue()
    batch = mine.ask("POST", "/v1/batches", {"lines": lines(1, words)}).json()
    path = f"/v1/batches/{batch['id']}"
    for part in ("", "/results", "/events"):
        assert other.ask("GET", path + part).status_code == 404
    assert other.ask("GET", f"/v1/jobs?batch={batch['id']}").status_code == 404
    for action in ("pause", "resume", "cancel", "retry-failed"):
        assert other.ask("POST", f"{path}/{action}").json()["code"] == "batch_not_found"
    assert other.ask("PATCH", path, {"priority": 1}).status_code == 404
    assert other.get("/v1/batches")["batches"] == []
    assert mine.get("/v1/batches")["batches"][0]["id"] == batch["id"]
    assert mine.ask("GET", "/v1/batches/batch_none").status_code == 404


def test_the_client_runs_a_batch_from_a_file_to_its_results(
    fleet_api: RunningApi, working_fleet: Fleet, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_bytes(jsonl(*lines(3, words)))
    seen: list[int] = []
    with Client(fleet_api.url) as client:
        batch = client.batches.submit(file, name="of a file", window=1)
        assert client.batches.change(batch.id, priority=3).priority == 3
        ended = client.batches.wait(batch.id, 60, on_update=lambda view: seen.append(view.counts.succeeded))
        assert (ended.state, ended.counts.succeeded, seen[-1]) == ("completed", 3, 3)
        assert [line.custom_id for line in client.batches.results(batch.id)] == ["line-0", "line-1", "line-2"]
        assert [line.line for line in client.batches.results(batch.id, order="finished", after=0)] == [1, 2]
        assert [event.name for event in client.batches.events(batch.id)] == ["batch", "end"]
        assert client.batches.list(limit=1).batches[0].id == batch.id
        assert len(client.list(batch_id=batch.id).jobs) == 3


def test_the_async_client_does_the_same(fleet_api: RunningApi, words: str) -> None:
    async def run() -> None:
        async with AsyncClient(fleet_api.url) as client:
            batch = await client.batches.submit(lines(2, words), max_cost_usd=5)
            await client.batches.pause(batch.id)
            assert (await client.batches.get(batch.id)).state in ("paused", "completed")
            with suppress(ApiProblem):
                await client.batches.resume(batch.id)
            ended = await client.batches.wait(batch.id, 60)
            assert ended.counts.succeeded == 2
            assert [line.custom_id async for line in client.batches.results(batch.id)] == ["line-0", "line-1"]
            assert [event.name async for event in client.batches.events(batch.id)] == ["batch", "end"]
            retried = await client.batches.retry_failed(batch.id)
            assert retried.counts.succeeded == 2

    asyncio.run(run())
