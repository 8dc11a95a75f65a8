"""An answer is split into files and a little JSON, however the network cuts it up."""

from __future__ import annotations

import base64
import json
import random
import re
import tracemalloc
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from picture_kit import jpeg, png, webp

from imagequeue.errors import BadOutput
from worker.answers import Answer, AnswerSplitter, ImageKey

IMAGES = (bytes(range(190, 256)), b"\xff\xfe\xfd" * 11 + b"\x00", b"one")
BODY: Mapping[str, object] = {
    "created": 1,
    "data": [{"b64_json": base64.b64encode(image).decode(), "url": None} for image in IMAGES],
    "note": 'a quoted "b64_json": "AAAA" and a é',
    "usage": {"output_tokens": 196},
}
EMPTIED = {**BODY, "data": [{"b64_json": "", "url": None} for _ in IMAGES]}
PLAIN = json.dumps(BODY).encode()
SHAPES = {
    "plain": PLAIN,
    "compact": json.dumps(BODY, separators=(",", ":")).encode(),
    "indented": json.dumps(BODY, indent=4).encode(),
    "spaces around the colon": re.sub(rb'(?<!\\)"b64_json":', b'"b64_json" \n\t: \r\n', PLAIN),
    "escaped slashes": PLAIN.replace(b"/", b"\\/"),
}


def split(folder: Path, chunks: Iterable[bytes], key: ImageKey = "b64_json") -> Answer:
    """Feed all chunks and finish."""
    splitter = AnswerSplitter(folder, key)
    try:
        for chunk in chunks:
            splitter.feed(chunk)
        return splitter.finish()
    finally:
        splitter.close()


def pieces(data: bytes, size: int) -> list[bytes]:
    """The data in chunks of `size` bytes."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def assert_is_whole(answer: Answer) -> None:
    """The answer has all images, in order, and all that is not image."""
    assert tuple(file.read_bytes() for file in answer.files) == IMAGES
    assert answer.body == EMPTIED


@pytest.mark.parametrize("shape", SHAPES)
def test_every_size_of_chunk_gives_the_same_files_and_json(tmp_path: Path, shape: str) -> None:
    data = SHAPES[shape]
    for size in range(1, len(data) + 1):
        assert_is_whole(split(tmp_path, pieces(data, size)))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_cut_at_any_byte_changes_nothing(tmp_path: Path, shape: str) -> None:
    data = SHAPES[shape]
    for cut in range(len(data) + 1):
        assert_is_whole(split(tmp_path, [data[:cut], data[cut:]]))


def test_random_cuts_change_nothing(tmp_path: Path) -> None:
    dice = random.Random(7)
    data = SHAPES["escaped slashes"]
    for _ in range(300):
        cuts = sorted(dice.choices(range(len(data)), k=dice.randrange(2, 20)))
        edges = zip([0, *cuts], [*cuts, len(data)], strict=True)
        assert_is_whole(split(tmp_path, [data[start:end] for start, end in edges]))


def test_the_shape_with_escapes_really_has_them() -> None:
    assert b"\\/" in SHAPES["escaped slashes"]
    assert SHAPES["spaces around the colon"] != PLAIN


@pytest.mark.parametrize(
    ("text", "body"),
    [
        (b'{"data": [{"b64_json": null}]}', {"data": [{"b64_json": None}]}),
        (b'{"data": []}', {"data": []}),
        (b"{}", {}),
        (b'{"data": [{"b64_json": 7}]}', {"data": [{"b64_json": 7}]}),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_an_answer_without_image_data_gives_no_files(
    tmp_path: Path, text: bytes, body: dict[str, object], size: int
) -> None:
    answer = split(tmp_path, pieces(text, size))
    assert (answer.body, answer.files) == (body, ())


def test_an_empty_image_gives_an_empty_file(tmp_path: Path) -> None:
    answer = split(tmp_path, [b'{"data": [{"b64_json": ""}]}'])
    assert [file.read_bytes() for file in answer.files] == [b""]


@pytest.mark.parametrize(
    "encoded",
    [
        b"QUJD!UJD",
        b"QUJ",
        b"QUJDR",
        b"QQ=",
        b"QUJD=",
        b"QQ==QUJDQUJDQUJD",
        b"QUJDQUJD=QUJDQUJD",
        b"====",
        b"QUJD QUJD",
        b"QU\\nJD",
        b"\xc3\xa9\xc3\xa9",
    ],
)
def test_broken_base64_is_refused_wherever_it_is_cut(tmp_path: Path, encoded: bytes) -> None:
    data = b'{"data": [{"b64_json": "' + encoded + b'"}]}'
    for size in range(1, len(data) + 1):
        with pytest.raises(BadOutput, match="Image 0 in OpenAI's answer is not base64"):
            split(tmp_path, pieces(data, size))


def test_an_answer_truncated_at_any_byte_is_refused(tmp_path: Path) -> None:
    for end in range(len(PLAIN)):
        with pytest.raises(BadOutput, match=r"ends inside an image|is not JSON"):
            split(tmp_path, pieces(PLAIN[:end], 50))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is not JSON"),
        (b"<html>Bad gateway</html>", "is not JSON"),
        (b"\xff\xfe\xfa", "is not JSON"),
        (b"[" * 400_000, "is not JSON"),
        (b'["an array"]', "not a JSON object"),
        (b"null", "not a JSON object"),
        (PLAIN + b"{}", "is not JSON"),
    ],
)
def test_what_is_not_a_json_object_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(BadOutput, match=reason):
        split(tmp_path, [data])


def test_an_endless_text_is_refused_before_it_ends(tmp_path: Path) -> None:
    splitter = AnswerSplitter(tmp_path)
    with pytest.raises(BadOutput, match="too much text"):
        while True:
            splitter.feed(b'"no image", ' * 10_000)


def test_closing_twice_and_after_an_interruption_is_fine(tmp_path: Path) -> None:
    splitter = AnswerSplitter(tmp_path)
    splitter.feed(b'{"data": [{"b64_json": "QUJDQUJDQUJD')
    splitter.close()
    splitter.close()
    assert b"ABCABCABC".startswith((tmp_path / "0").read_bytes())


def test_memory_does_not_grow_with_the_size_of_the_answer(tmp_path: Path) -> None:
    chunk = base64.b64encode(bytes(196_608))
    splitter = AnswerSplitter(tmp_path)
    tracemalloc.start()
    try:
        splitter.feed(b'{"data": [{"b64_json": "')
        for _ in range(120):
            splitter.feed(chunk)
        splitter.feed(b'"}]}')
        answer = splitter.finish()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert answer.files[0].stat().st_size == 120 * 196_608, "about 30 MB of base64"
    assert peak < 4_000_000


PAINTED = {"PNG": png(), "JPEG": jpeg(), "WebP": webp()}
"""Image files, as the Responses API gives them under `result`."""


def responses_body(results: Iterable[object]) -> dict[str, object]:
    """An answer of the Responses API, with a text and a tool that use the word too."""
    calls = [{"type": "image_generation_call", "result": result, "status": "completed"} for result in results]
    words = [{"type": "message", "result": "ok", "text": '"result": "iVBORw0KGgo'}, {"result": {"result": "/9k="}}]
    return {"output": [words[0], *calls, words[1]], "usage": {"output_tokens": 6}}


@pytest.mark.parametrize("escaped", [False, True])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", " :\n ")])
def test_only_image_files_are_taken_out_of_results_wherever_the_answer_is_cut(
    tmp_path: Path, separators: tuple[str, str], escaped: bool
) -> None:
    encoded = [base64.b64encode(image).decode() for image in PAINTED.values()]
    data = json.dumps(responses_body(encoded), separators=separators).encode()
    data = data.replace(b"/", b"\\/") if escaped else data
    for size in (*range(1, 100), len(data)):
        answer = split(tmp_path, pieces(data, size), "result")
        assert [file.read_bytes() for file in answer.files] == list(PAINTED.values())
        assert answer.body == responses_body([""] * 3)


@pytest.mark.parametrize("result", [None, "", "*** this is not base64 ***", "bm90IGFuIGltYWdl", 7])
@pytest.mark.parametrize("size", [1, 1000])
def test_results_that_are_no_image_files_stay_in_the_text(tmp_path: Path, result: object, size: int) -> None:
    body = responses_body([result])
    answer = split(tmp_path, pieces(json.dumps(body).encode(), size), "result")
    assert (answer.body, answer.files) == (body, ())


def test_an_image_file_in_results_that_breaks_off_is_refused(tmp_path: Path) -> None:
    broken = base64.b64encode(PAINTED["PNG"]).decode()[:40] + "***"
    with pytest.raises(BadOutput, match="Image 0 in OpenAI's answer is not base64"):
        split(tmp_path, [json.dumps(responses_body([broken])).encode()], "result")
