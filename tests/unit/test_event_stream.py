"""Events are taken apart wherever the stream is cut into pieces, and a bad preview costs no image."""

from __future__ import annotations

import base64
import json
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from imagequeue.errors import BadOutput
from worker.answers import Answer
from worker.event_stream import EventSplitter

PREVIEW = b"\x89PNG preview" * 20
IMAGE = b"\x89PNG image" * 5000


def event(kind: str, content: bytes | str, end: str = "\n", **fields: object) -> bytes:
    """One event with an image."""
    encoded = content if isinstance(content, str) else base64.b64encode(content).decode()
    data = json.dumps({"type": kind, "b64_json": encoded, **fields})
    return f"event: {kind}{end}data: {data}{end}{end}".encode()


WHOLE = event("image_generation.partial_image", PREVIEW, partial_image_index=0) + event(
    "image_generation.completed", IMAGE, usage={"output_tokens": 296}
)


def split(stream: bytes, folder: Path, piece: int | None = None) -> list[Answer]:
    """The events of a stream that comes in pieces of so many bytes."""
    splitter = EventSplitter(folder)

    def events() -> Iterator[Answer]:
        for start in range(0, len(stream), piece or len(stream)):
            yield from splitter.feed(stream[start : start + (piece or len(stream))])
        yield from splitter.finish()

    try:
        return list(events())
    finally:
        splitter.close()


def contents(events: list[Answer]) -> list[bytes]:
    """The events' images."""
    return [file.read_bytes() for answer in events for file in answer.files]


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64, 1000, 65_536, None])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_events_are_whole_however_the_stream_is_cut(tmp_path: Path, piece: int | None, end: str) -> None:
    stream = WHOLE.replace(b"\n", end.encode())
    first, second = split(stream, tmp_path, piece)
    assert contents([first, second]) == [PREVIEW, IMAGE]
    assert first.body == {"type": "image_generation.partial_image", "b64_json": "", "partial_image_index": 0}
    assert second.body["usage"] == {"output_tokens": 296}


@pytest.mark.parametrize("between", [b": ping\n\n", b"retry: 100\n\n", b"data: [DONE]\n\n", b"data:\n\n", b"\n\n\n"])
def test_what_is_no_json_object_is_passed_over(tmp_path: Path, between: bytes) -> None:
    assert contents(split(between + WHOLE + between, tmp_path, 5)) == [PREVIEW, IMAGE]


def test_data_on_several_lines_is_one_event(tmp_path: Path) -> None:
    encoded = base64.b64encode(IMAGE).decode()
    stream = f'data: {{"type": "image_edit.completed",\ndata:\t"b64_json": "{encoded}"\ndata: }}\n\n'
    assert contents(split(stream.encode(), tmp_path, 11)) == [IMAGE]


def test_the_image_counts_even_without_the_blank_line_after_it(tmp_path: Path) -> None:
    assert contents(split(WHOLE.rstrip(b"\n"), tmp_path)) == [PREVIEW, IMAGE]


@pytest.mark.parametrize("bad", ["*** no base64 ***", "QUJD=QUJD"])
def test_a_bad_preview_is_passed_over(tmp_path: Path, bad: str) -> None:
    (only,) = split(
        event("image_edit.partial_image", bad) + WHOLE[WHOLE.index(b"event: image_generation.c") :], tmp_path
    )
    assert contents([only]) == [IMAGE]


def test_a_preview_that_is_cut_off_is_no_event(tmp_path: Path) -> None:
    assert split(WHOLE[:100], tmp_path, 10) == []


@pytest.mark.parametrize("stream", [WHOLE[:-500], event("image_generation.completed", "***")])
def test_an_image_that_is_cut_off_or_broken_is_told(tmp_path: Path, stream: bytes) -> None:
    with pytest.raises(BadOutput):
        split(stream, tmp_path)


def test_a_line_without_end_that_is_no_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadOutput, match="too long a line"):
        split(b": " + b"x" * 100_000, tmp_path, 1000)


def test_an_error_comes_out_as_it_is(tmp_path: Path) -> None:
    error: Mapping[str, object] = {"type": "error", "error": {"code": "moderation_blocked", "message": "No."}}
    (only,) = split(f"event: error\ndata: {json.dumps(error)}\n\n".encode(), tmp_path)
    assert (only.body, only.files) == (error, ())


def test_memory_does_not_grow_with_the_size_of_the_image(tmp_path: Path) -> None:
    chunk = base64.b64encode(bytes(49_152))
    splitter = EventSplitter(tmp_path)
    tracemalloc.start()
    try:
        assert list(splitter.feed(b'event: image_edit.completed\ndata: {"b64_json": "')) == []
        for _ in range(480):
            assert list(splitter.feed(chunk)) == []
        (answer,) = splitter.feed(b'"}\n\n')
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert answer.files[0].stat().st_size == 480 * 49_152, "about 30 MB of base64"
    assert peak < 2_000_000
