"""Output files of batches: read in any pieces, in bounded memory, and what each line means."""

from __future__ import annotations

import base64
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from imagequeue.errors import BadOutput, ModerationBlocked, OutcomeUnknown, ProviderBusy, ProviderRefused, RateLimited
from imagequeue.jobs import Usage
from worker.economy.output_lines import NotRun, OutputLine, OutputReader, meaning_of_line
from worker.spool import Painted

USAGE = {"input_tokens": 5, "output_tokens": 196, "total_tokens": 201}


def good(custom_id: str, *images: bytes, **more: object) -> dict[str, Any]:
    data = [{"b64_json": base64.b64encode(image).decode()} for image in images]
    body = {"created": 1, "data": data, "size": "1024x1024", "usage": USAGE, **more}
    response = {"status_code": 200, "request_id": f"req_{custom_id}", "body": body}
    return {"id": "batch_req_1", "custom_id": custom_id, "response": response, "error": None}


def refused(status: int, **error: object) -> dict[str, Any]:
    response = {"status_code": status, "request_id": "req_1", "body": {"error": {"message": "no", **error}}}
    return {"id": "batch_req_1", "custom_id": "0:a", "response": response, "error": None}


def unanswered(error: dict[str, str] | None) -> dict[str, Any]:
    return {"id": "batch_req_1", "custom_id": "0:a", "response": None, "error": error}


def jsonl(*lines: object) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


def read(content: bytes, folder: Path, piece: int = 1000) -> list[OutputLine]:
    reader, found = OutputReader(folder), list[OutputLine]()
    for start in range(0, len(content), piece):
        found += reader.feed(content[start : start + piece])
    return [*found, *reader.finish()]


def meaning(line: dict[str, Any], folder: Path) -> object:
    (only,) = read(jsonl(line), folder)
    return meaning_of_line(only)


@pytest.mark.parametrize("piece", [1, 7, 64, 65, 1000, 1_000_000])
def test_images_and_words_are_the_same_in_whatever_pieces_they_come(tmp_path: Path, piece: int) -> None:
    images = [bytes(range(256)) * 3, b"x", b"y" * 100]
    content = jsonl(good("0:a", images[0], images[1]), unanswered({"code": "batch_expired"}), good("7:ü\n", images[2]))
    lines = read(content[:-1], tmp_path, piece)
    assert [line.custom_id for line in lines] == ["0:a", "0:a", "7:ü\n"]
    first, expired, last = (meaning_of_line(line, ("painted",)) for line in lines)
    assert isinstance(first, Painted)
    assert isinstance(last, Painted)
    assert [file.read_bytes() for file in (*first.files, *last.files)] == images
    assert expired == NotRun("batch_expired")
    assert first.usage == Usage(input_tokens=5, output_tokens=196, total_tokens=201)
    assert (first.applied.size, first.request_id, first.notes) == ("1024x1024", "req_0:a", ("painted",))


def test_blank_lines_and_empty_files_say_nothing(tmp_path: Path) -> None:
    assert read(b"", tmp_path) == []
    assert [line.custom_id for line in read(b"\n\n" + jsonl(good("1:a")) + b"\n", tmp_path)] == ["1:a"]


@pytest.mark.parametrize("spoil", [b"***not base64***", b'"} nonsense'])
def test_a_line_that_cannot_be_read_is_told_by_its_name_and_spoils_no_other(tmp_path: Path, spoil: bytes) -> None:
    image = base64.b64encode(b"image")
    content = jsonl(good("0:bad", b"image")).replace(image, spoil) + jsonl(good("1:good", b"image"))
    bad, fine = read(content, tmp_path)
    assert (bad.custom_id, fine.custom_id) == ("0:bad", "1:good")
    assert isinstance(meaning_of_line(bad), BadOutput)
    assert isinstance(meaning_of_line(fine), Painted)


@pytest.mark.parametrize("line", [b"nonsense\n", b'{"id": "batch_req_1", "response": null}\n', b"[1]\n", b'"text"\n'])
def test_a_line_of_nobody_is_left_out_with_its_files(tmp_path: Path, line: bytes) -> None:
    assert [each.custom_id for each in read(line + jsonl(good("1:a")), tmp_path / "lines")] == ["1:a"]
    assert [path.name for path in (tmp_path / "lines").iterdir()] == ["line-1"]


def test_a_file_that_breaks_off_leaves_no_files(tmp_path: Path) -> None:
    reader = OutputReader(tmp_path / "lines")
    assert list(reader.feed(jsonl(good("0:a", bytes(9000)))[:-500])) == []
    reader.close()
    assert list((tmp_path / "lines").iterdir()) == []


def test_a_large_line_is_never_in_memory(tmp_path: Path) -> None:
    content = jsonl(good("0:a", *(bytes(8_000_000) for _ in range(4))))
    tracemalloc.start()
    lines = read(content, tmp_path, 262_144)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [file.stat().st_size for line in lines if line.answer for file in line.answer.files] == [8_000_000] * 4
    assert peak < 3_000_000


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (refused(400, code="moderation_blocked", type="image_generation_user_error"), ModerationBlocked),
        (refused(400, moderation_details={"moderation_stage": "output"}), ModerationBlocked),
        (refused(400, code="invalid_value"), ProviderRefused),
        (refused(429, code="rate_limit_exceeded"), RateLimited),
        (refused(500, code="server_error"), ProviderBusy),
        (
            unanswered({"code": "request_timeout", "message": "The underlying call to the model timed out."}),
            OutcomeUnknown,
        ),
        (unanswered(None), OutcomeUnknown),
        (unanswered({"code": "invalid_image", "message": "no"}), ProviderRefused),
    ],
)
def test_what_is_no_image_has_the_meaning_that_a_call_would_have(
    tmp_path: Path, line: dict[str, Any], expected: type[Exception]
) -> None:
    assert type(meaning(line, tmp_path)) is expected


@pytest.mark.parametrize("code", ["batch_expired", "batch_cancelled"])
def test_what_was_not_executed_is_told_apart_from_failures(tmp_path: Path, code: str) -> None:
    assert meaning(unanswered({"code": code, "message": "no"}), tmp_path) == NotRun(code)
