"""The economy lane's half that talks to OpenAI: lines out, images back, and batches that are found again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import TypeVar

import pytest
from edit_kit import file_of, opened, picture, png, sha256
from openai import AsyncOpenAI
from sandbox_kit import KEY, RunningSandbox

from imagequeue.errors import AccountBlocked, OutcomeUnknown, ProviderBusy, ProviderRefused
from imagequeue.parcels import endpoint_of
from imagequeue.requests import parse_request
from worker.economy.input_lines import input_line, number_of
from worker.economy.output_lines import NotRun, OutputLine, OutputReader, meaning_of_line
from worker.economy.remote_batches import RemoteBatch, RemoteBatches
from worker.spool import Painted

T = TypeVar("T")
_PATIENCE_SECONDS = 20
LOW = {"quality": "low", "size": "1024x1024"}


class Lane:
    """The lane's client on a loop of its own."""

    def __init__(self, url: str, folder: Path) -> None:
        self.runner = asyncio.Runner()
        self.client = AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=10)
        self.remote = RemoteBatches(self.client)
        self.folder = folder

    def run(self, call: Awaitable[T]) -> T:
        async def waited() -> T:
            return await call

        return self.runner.run(waited())

    def uploaded(self, *lines: bytes) -> str:
        path = self.folder / "input.jsonl"
        path.write_bytes(b"".join(lines))
        return self.run(self.remote.upload_lines(path))

    def image(self, content: bytes) -> str:
        path = self.folder / "image.png"
        path.write_bytes(content)
        return self.run(self.remote.upload_image(path, "image/png"))

    def ended(self, batch: RemoteBatch) -> RemoteBatch:
        return self.until(batch, lambda each: each.over)

    def until(self, batch: RemoteBatch, fits: Callable[[RemoteBatch], bool]) -> RemoteBatch:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            batch = self.run(self.remote.get(batch.id))
            if fits(batch):
                return batch
        raise AssertionError(f"the batch does not get there: {batch}")

    def lines(self, file_id: str | None) -> dict[int | None, object]:
        """What each line means, by its number."""
        found: dict[int | None, object] = {}

        async def read() -> list[OutputLine]:
            reader = OutputReader(self.folder / f"lines-{file_id}")
            async with self.remote.reading(file_id or "") as (chunks, _):
                return [line async for chunk in chunks for line in reader.feed(chunk)]

        for line in self.run(read()) if file_id else ():
            found[number_of(line.custom_id)] = meaning_of_line(line)
        return found

    def close(self) -> None:
        self.run(self.client.close())
        self.runner.close()


@pytest.fixture
def lane(sandbox: RunningSandbox, tmp_path: Path) -> Generator[Lane]:
    lane = Lane(sandbox.url, tmp_path)
    yield lane
    lane.close()


def generation(number: int, prompt: str, **more: object) -> bytes:
    request = parse_request({"prompt": prompt, **LOW, **more})
    return input_line(number, f"name {number}", "gpt-image-2", request)


def images_of(meaning: object) -> list[tuple[int, int]]:
    assert isinstance(meaning, Painted)
    return [opened(file.read_bytes()).size for file in meaning.files]


def test_every_field_of_a_generation_reaches_openai_as_a_call_of_its_own_would_send_it(
    lane: Lane, sandbox: RunningSandbox
) -> None:
    fields = {"n": 2, "output_format": "webp", "output_compression": 40, "moderation": "low", "user": "me"}
    line = generation(3, "a fox", **fields, background="opaque")
    batch = lane.run(lane.remote.create("/v1/images/generations", lane.uploaded(line), "p1"))
    done = lane.ended(batch)
    assert (done.status, done.completed, done.failed, done.our_id) == ("completed", 1, 0, "p1")
    (painted,) = lane.lines(done.output_file_id).values()
    assert images_of(painted) == [(1024, 1024)] * 2
    assert isinstance(painted, Painted)
    assert painted.applied.output_format == "webp"
    (call,) = sandbox.calls()
    assert (call["prompt"], call["n"], call["custom_id"]) == ("a fox", 2, "3:name 3")


def test_an_edit_sends_uploaded_images_and_mask_and_nothing_is_left_when_they_are_deleted(
    lane: Lane, sandbox: RunningSandbox
) -> None:
    mask = file_of(picture(mode="RGBA"))
    image, other, mask_id = lane.image(png()), lane.image(png(shade=9)), lane.image(mask)
    names = ("upload:" + "0" * 64,) * 2
    request = parse_request({"type": "edit", "prompt": "a hat", "images": names, "mask": names[0], **LOW})
    line = input_line(0, "hat", "gpt-image-2", request, [image, other], mask_id)
    done = lane.ended(lane.run(lane.remote.create(endpoint_of(request), lane.uploaded(line), "p1")))
    assert images_of(lane.lines(done.output_file_id)[0]) == [(1024, 1024)]
    (call,) = sandbox.calls()
    assert (call["inputs"], call["mask"]) == ([sha256(png()), sha256(png(shade=9))], sha256(mask))
    for file_id in (image, other, mask_id, done.input_file_id, done.output_file_id or ""):
        lane.run(lane.remote.delete(file_id))
        lane.run(lane.remote.delete(file_id))  # no error
    assert sandbox.files() == []


def test_files_that_nobody_deletes_expire(lane: Lane, sandbox: RunningSandbox) -> None:
    lane.image(png())
    lane.ended(lane.run(lane.remote.create("/v1/images/generations", lane.uploaded(generation(0, "a")), "p")))
    assert [file["expires_at"] - file["created_at"] for file in sandbox.files()] == [3 * 86_400] * 3


@pytest.mark.parametrize(("when", "made"), [("before", False), ("middle", True)])
def test_a_batch_whose_answer_was_lost_is_found_among_others(
    lane: Lane, sandbox: RunningSandbox, when: str, made: bool
) -> None:
    began, file_id = int(time.time()), lane.uploaded(generation(0, "a"))
    for other in range(3):
        lane.run(lane.remote.create("/v1/images/generations", file_id, f"other-{other}"))
    sandbox.add_fault({"drop": when}, match={"endpoint": "POST /v1/batches"})
    with pytest.raises(OutcomeUnknown):
        lane.run(lane.remote.create("/v1/images/generations", file_id, "ours"))
    found = lane.run(lane.remote.find("ours", began))
    assert (found is not None and found.our_id == "ours") == made
    assert lane.run(lane.remote.find("none", began)) is None


def test_a_batch_is_found_on_a_later_page(lane: Lane, sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.economy.remote_batches._LISTED", 2)
    began, file_id = int(time.time()), lane.uploaded(generation(0, "a", n=1))
    for number in range(5):
        lane.run(lane.remote.create("/v1/images/generations", file_id, f"p{number}"))
    first = lane.run(lane.remote.find("p0", began))
    assert first is not None
    assert first.our_id == "p0"


def test_what_expires_or_is_cancelled_was_not_run(lane: Lane, sandbox: RunningSandbox) -> None:
    sandbox.add_fault({"hang": True}, times=2, match={"prompt_contains": "slow"})
    sandbox.set(batch_window_seconds=1.0)
    file_id = lane.uploaded(generation(0, "quick"), generation(1, "slow"))
    expiring = lane.run(lane.remote.create("/v1/images/generations", file_id, "p1"))
    sandbox.set(batch_window_seconds=60.0)
    cancelled = lane.run(lane.remote.create("/v1/images/generations", file_id, "p2"))
    lane.until(cancelled, lambda each: each.completed == 1)
    lane.run(lane.remote.cancel(cancelled.id))
    for batch, status, code in ((expiring, "expired", "batch_expired"), (cancelled, "cancelled", "batch_cancelled")):
        done = lane.ended(batch)
        assert (done.status, images_of(lane.lines(done.output_file_id)[0])) == (status, [(1024, 1024)])
        assert lane.lines(done.error_file_id) == {1: NotRun(code)}
        lane.run(lane.remote.cancel(batch.id))  # over: no error


def test_a_batch_that_fails_at_its_validation_says_why(lane: Lane, sandbox: RunningSandbox) -> None:
    sandbox.set(batch_error={"code": "token_limit_exceeded", "message": "Enqueued token limit reached."})
    done = lane.ended(lane.run(lane.remote.create("/v1/images/generations", lane.uploaded(generation(0, "a")), "p")))
    assert (done.status, done.problems) == (
        "failed",
        (("token_limit_exceeded", "Enqueued token limit reached."),),
    )


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"status": 503, "code": "server_error"}, ProviderBusy),
        ({"status": 401, "code": "invalid_api_key"}, AccountBlocked),
        ({"status": 404}, ProviderRefused),
        ({"drop": "middle"}, OutcomeUnknown),
    ],
)
def test_failures_have_the_meaning_that_calls_have(
    lane: Lane, sandbox: RunningSandbox, fault: dict[str, object], expected: type[Exception]
) -> None:
    file_id = lane.uploaded(generation(0, "a"))
    batch = lane.run(lane.remote.create("/v1/images/generations", file_id, "p"))
    for endpoint, ask in (
        ("GET /v1/batches/{batch_id}", lambda: lane.run(lane.remote.get(batch.id))),
        ("GET /v1/files/{file_id}/content", lambda: lane.lines(file_id)),
        ("POST /v1/files", lambda: lane.image(b"x")),
    ):
        sandbox.add_fault(fault, match={"endpoint": endpoint})
        with pytest.raises(expected):
            ask()


@pytest.mark.parametrize("name", ["7:a", "7:", "7:8:9"])
def test_a_line_is_known_by_the_number_in_its_name(name: str) -> None:
    assert number_of(name) == 7


@pytest.mark.parametrize("name", ["", "7", "a:7", ":7", "-1:a", "²:a"])
def test_a_line_of_others_has_no_number(name: str) -> None:
    assert number_of(name) is None
