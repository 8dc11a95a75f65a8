"""Every line of a manifest becomes a checked request, or is told with its number, field and rule."""

from __future__ import annotations

import io
import json
import tracemalloc

import pytest
from manifest_kit import LIMITS, faults, good, jsonl, read

from imagequeue.errors import InvalidRequest
from imagequeue.manifests.lines import MAX_LINES, BadLine, ManifestLine
from imagequeue.manifests.reading import ManifestKind, read_manifest
from imagequeue.manifests.templates import Template
from imagequeue.requests import EditRequest, GenerateRequest


def test_lines_become_requests_in_their_order_with_names_of_their_own_or_by_their_number() -> None:
    first, second, third = good(
        read(
            jsonl(
                {"prompt": "A cat"},
                {"custom_id": "dog", "prompt": "A dog", "size": "1024X1024", "n": 2},
                {"type": "edit", "prompt": "A hat", "images": ["job:job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z/0"]},
            )
        )
    )
    assert (first.number, first.line, first.custom_id) == (0, 1, "line-00001")
    assert first.request == GenerateRequest(prompt="A cat")
    assert (second.custom_id, second.request.size, second.request.n) == ("dog", "1024x1024", 2)
    assert isinstance(third.request, EditRequest)


def test_blank_lines_a_byte_order_mark_and_any_line_ends_are_forgiven() -> None:
    lines = good(read(b'\xef\xbb\xbf{"prompt": "A"}\r\n\r\n   \n{"prompt": "B"}'))
    assert [(line.number, line.line, line.custom_id) for line in lines] == [(0, 1, "line-00001"), (1, 4, "line-00002")]


@pytest.mark.parametrize(
    ("line", "field", "rule"),
    [
        (b"not json", "line", "must be a JSON object"),
        (b'{"prompt": NaN}', "line", "must be a JSON object"),
        (b'{"prompt": "\xff"}', "line", "must be a JSON object"),
        (b'{"prompt": ' + b"[" * 50 + b"]" * 50 + b"}", "line", "must be a JSON object"),
        (b"[1]", "line", "must be a JSON object"),
        (b'{"prompt": "A", "prompt": "B"}', "prompt", "may be given once"),
        (b'{"prompt": "\\ud800"}', "prompt", "must be valid Unicode (a lone surrogate was found)"),
        (b'{"prompt": "a\\u0000b"}', "prompt", "must not contain the NUL character"),
        (b'{"prompt": "A", "seed": 1}', "seed", "is not a field of this request"),
        (b'{"type": "turn", "prompt": "A"}', "type", "must be one of generate, edit"),
        (b'{"prompt": "A", "custom_id": 7}', "custom_id", "must be a text of 1 to 128 printable characters"),
        (b'{"prompt": "A", "custom_id": "\\ud800"}', "custom_id", "must be a text of 1 to 128 printable characters"),
        (b'{"prompt": "A", "custom_id": ""}', "custom_id", "must be a text of 1 to 128 printable characters"),
        (b'{"prompt": "' + b"A" * LIMITS.plain + b'"}', "line", "may have 100,000 bytes besides data: URLs"),
        (b'{"prompt": "' + b"A" * LIMITS.with_images + b'"}', "line", "may have 1,000,000 bytes"),
    ],
)
def test_a_bad_line_is_told_and_its_neighbours_are_read(line: bytes, field: str, rule: str) -> None:
    lines = read(b'{"prompt": "before"}\n' + line + b'\n{"prompt": "after"}\n')
    [(number, found, words)] = faults(lines)
    assert (number, found) == (2, field)
    assert words.startswith(rule)
    assert [read.custom_id for read in lines if isinstance(read, ManifestLine)] == ["line-00001", "line-00003"]


def test_every_rule_that_a_line_breaks_is_told() -> None:
    lines = read(jsonl({"prompt": "", "n": 11, "custom_id": "x" * 200, "size": "1000x1000"}))
    assert [field for _, field, _ in faults(lines)] == ["custom_id", "prompt", "size", "n"]


def test_a_name_given_twice_is_told_with_the_line_that_had_it_first() -> None:
    lines = read(
        jsonl(
            {"prompt": "A", "custom_id": "line-00003"},
            {"prompt": "B", "custom_id": "b"},
            {"prompt": "C"},
            {"prompt": ""},
        )
        + jsonl({"prompt": "E", "custom_id": "b"})
    )
    rule = "must be unique within the manifest: line {} has the same"
    assert [fault for fault in faults(lines) if fault[1] == "custom_id"] == [
        (3, "custom_id", rule.format(1)),
        (5, "custom_id", rule.format(2)),
    ]


def test_a_manifest_needs_a_line_and_has_no_more_than_50_000() -> None:
    [empty] = read(b"\n \r\n")
    assert isinstance(empty, BadLine)
    assert empty.fatal
    lines = read(b'{"prompt":"A"}\n' * (MAX_LINES + 2))
    assert len(lines) == MAX_LINES + 1
    last = lines[-1]
    assert isinstance(last, BadLine)
    assert last.fatal
    assert faults([last]) == [(MAX_LINES + 1, "manifest", "may have at most 50,000 lines")]


def test_a_json_array_is_read_element_by_element() -> None:
    lines = read(b'\xef\xbb\xbf [ {"prompt": "A, {b} [\\"c\\\\"}, {"prompt": ""} ,\n{"prompt": "C"}]\n', "json")
    assert [line.request.prompt for line in lines if isinstance(line, ManifestLine)] == ['A, {b} ["c\\', "C"]
    assert [(line, field) for line, field, _ in faults(lines)] == [(2, "prompt")]


@pytest.mark.parametrize(
    ("array", "line", "given"),
    [
        (b'{"prompt": "A"}', 1, "'{' stands where '[' should"),
        (b'[{"prompt": "A"}', 2, "the end of the text stands where ',' or ']' should"),
        (b'[{"prompt": "A"}, {"prompt": "B', 2, "the text ends in the middle of a value"),
        (b'[{"prompt": "A"} {"prompt": "B"}]', 2, "'{' stands where ',' or ']' should"),
        (b'[{"prompt": "A"},]', 2, "']' stands where a value should"),
        (b'[{"prompt": "A"}] []', 2, "something follows the array"),
        (b"[" + b"1" * LIMITS.with_images * 2, 1, "a number or word does not end"),
    ],
)
def test_an_array_that_is_none_is_told_where_it_breaks_off(array: bytes, line: int, given: str) -> None:
    last = read(array, "json")[-1]
    assert isinstance(last, BadLine)
    assert last.fatal
    assert (last.line, last.violations[0].rule, last.violations[0].given) == (
        line,
        "must be a JSON array of objects",
        given,
    )


def test_elements_of_an_array_that_are_no_requests_are_bad_lines_each() -> None:
    long = b'{"prompt": "' + b"\\u0041" * LIMITS.with_images + b'"}'
    array = b'[1, "a", null, {"prompt": NaN}, {"a": 1, "a": 2}, {"a" 1}, ' + long + b', {"prompt": "fine"}]'
    lines = read(array, "json")
    assert [(line, field) for line, field, _ in faults(lines)] == [
        (1, "line"),
        (2, "line"),
        (3, "line"),
        (4, "line"),
        (5, "a"),
        (6, "line"),
        (7, "line"),
    ]
    assert isinstance(lines[-1], ManifestLine)


def test_a_table_has_a_request_in_each_row() -> None:
    table = (
        "\ufeffcustom_id,prompt,n,size,images,type\r\n"
        'a,"A cat, ""sitting""\non two lines",2,1024x1024,,\r\n'
        ",,,,,\r\n"
        "\r\n"
        'b,A hat,,,"upload:1 upload:2",edit\r\n'
        'c,A hat,,,"[""upload:1""]",edit\r\n'
    )
    first, second, third = good(read(table.encode(), "csv"))
    assert (first.line, first.custom_id, first.request.n) == (2, "a", 2)
    assert first.request.prompt == 'A cat, "sitting"\non two lines'
    assert (second.line, second.number) == (6, 1)
    assert isinstance(second.request, EditRequest)
    assert isinstance(third.request, EditRequest)
    assert (second.request.images, third.request.images) == (("upload:1", "upload:2"), ("upload:1",))


def test_a_table_says_true_and_false_as_spreadsheets_write_them() -> None:
    table = b"prompt,reuse\nA cat,TRUE\nA dog,false\nA fox,\nA hen,yes\n"
    lines = read(table, "csv")
    found = [line.request for line in lines if isinstance(line, ManifestLine)]
    assert [request.model_dump().get("reuse", False) for request in found] == [True, False, False]
    assert [(line, field) for line, field, _ in faults(lines)] == [(5, "reuse")]


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_table_may_be_separated_as_spreadsheets_do_elsewhere(mark: str) -> None:
    [line] = good(read(f"prompt{mark}n\nA cat, or two{mark}2\n".encode(), "csv"))
    assert (line.request.prompt, line.request.n) == ("A cat, or two", 2)


def test_bad_cells_are_told_with_the_line_on_which_their_row_begins() -> None:
    table = 'prompt,n,colour\n"two\nlines",eleven,\nB,11,\nC,1,red\nD,1,,more\nE,,\n'
    lines = read(table.encode(), "csv")
    assert [(line, field) for line, field, _ in faults(lines)] == [(2, "n"), (4, "n"), (5, "colour"), (6, "line")]
    assert [line.request.prompt for line in lines if isinstance(line, ManifestLine)] == ["E"]


@pytest.mark.parametrize(
    ("table", "line", "given"),
    [
        (b"prompt,size,prompt\nA,,B\n", 1, "the header names prompt twice"),
        (b"\n\nA\n", 1, "there is no header"),
        (b'prompt\nA\n"B\nC\n', 3, "unexpected end of data"),
        (b'prompt\nA\n"B"C\n', 3, "',' expected after '\"'"),
        (b"prompt\nA\nB\xe4r\n", 3, "byte 1 of the line is not UTF-8: save the table as 'CSV UTF-8'"),
        (b"prompt\n" + b"A" * 140_000, 2, "field larger than field limit (131072)"),
        (b"prompt\n" + b"A" * 1_100_000, 2, "a line has more than 1,048,576 bytes"),
    ],
)
def test_a_table_that_is_none_is_told_where_it_breaks_off(table: bytes, line: int, given: str) -> None:
    last = read(table, "csv")[-1]
    assert isinstance(last, BadLine)
    assert last.fatal
    assert last.line == line
    assert last.violations[0].given.startswith(given)


def test_lines_of_openais_batch_api_are_taken_as_they_are() -> None:
    generation = {"model": "gpt-image-2", "prompt": "A cat", "n": 2, "moderation": "low", "size": None}
    edit = {
        "prompt": "A hat",
        "images": [{"image_url": "upload:1"}],
        "mask": {"image_url": "upload:2"},
        "safety_identifier": "u",
    }
    first, second = good(
        read(
            jsonl(
                {"custom_id": "a", "method": "POST", "url": "/v1/images/generations", "body": generation},
                {"custom_id": "b", "method": "POST", "url": "/v1/images/edits", "body": edit},
            )
        )
    )
    assert (first.custom_id, first.request) == ("a", GenerateRequest(prompt="A cat", n=2, moderation="low"))
    assert second.request == EditRequest(type="edit", prompt="A hat", images=("upload:1",), mask="upload:2", user="u")


@pytest.mark.parametrize(
    ("changes", "body", "field"),
    [
        ({"method": "GET"}, {}, "method"),
        ({"url": "/v1/chat/completions"}, {}, "url"),
        ({"extra": 1}, {}, "extra"),
        ({"body": "no"}, {}, "body"),
        ({}, {"prompt": ""}, "body.prompt"),
        ({}, {"model": "dall-e-3"}, "body.model"),
        ({}, {"stream": True}, "body.stream"),
        ({}, {"partial_images": 1}, "body.partial_images"),
        ({}, {"style": "vivid"}, "body.style"),
        ({"url": "/v1/images/edits"}, {}, "body.images"),
        ({"url": "/v1/images/edits"}, {"images": [{"file_id": "file-1"}]}, "body.images[0]"),
        ({"url": "/v1/images/edits"}, {"images": [{"image_url": "upload:1"}], "moderation": "low"}, "body.moderation"),
    ],
)
def test_a_bad_line_of_openais_form_names_the_field_in_it(
    changes: dict[str, object], body: dict[str, object], field: str
) -> None:
    plain = {"custom_id": "a", "method": "POST", "url": "/v1/images/generations", "body": {"prompt": "A"} | body}
    [(line, found, _)] = faults(read(jsonl(plain | changes)))
    assert (line, found) == (1, field)


def test_a_template_makes_a_request_of_each_row_of_values() -> None:
    template = Template.parse(
        {"prompt": "A {animal} in {{braces}}, {style name}", "custom_id": "{animal}-{year}", "size": "1024x1024"}
    )
    table = b"animal,style name,year,size\ncat,oil,007,\ndog,ink {x},8,1536x1024\n"
    first, second = good(read(table, "csv", template))
    assert (first.custom_id, first.request.prompt, first.request.size) == (
        "cat-007",
        "A cat in {braces}, oil",
        "1024x1024",
    )
    assert (second.request.prompt, second.request.size) == ("A dog in {braces}, ink {x}", "1536x1024")


def test_values_that_do_not_fit_a_template_are_bad_lines() -> None:
    rows = jsonl({"animal": "cat"}, {"animals": "cat"}, {"animal": ["cat"]}, {"animal": 7, "seed": 1})
    assert faults(read(rows, "jsonl", Template.parse("A {animal}"))) == [
        (2, "animal", "must be given as a text or a number: the template has this placeholder"),
        (2, "animals", "is neither a placeholder of the template nor a field of a request"),
        (3, "animal", "must be given as a text or a number: the template has this placeholder"),
        (4, "seed", "is neither a placeholder of the template nor a field of a request"),
    ]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (7, "template"),
        ("A {", "template.prompt"),
        ("A }", "template.prompt"),
        ({"seed": 1}, "template.seed"),
        ("{}", "template.prompt"),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused_before_any_line_is_read(given: object, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Template.parse(given)
    assert refused.value.violations[0].field == field


def test_a_long_manifest_takes_little_memory() -> None:
    """An array of 25 MB is read in pieces, and no request is held."""
    element, count = b'{"custom_id": "%07d", "prompt": "' + b"x" * 5000 + b'"}', 5000
    array = b"[" + b",".join(element % number for number in range(count)) + b"]"
    tracemalloc.start()
    try:
        found = sum(isinstance(line, ManifestLine) for line in read_manifest(io.BytesIO(array), "json", LIMITS))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == count
    assert peak < 4_000_000


@pytest.mark.parametrize(
    ("manifest", "kind", "given"),
    [
        (b"[" * 300_000, "json", "a value has more than 32 levels"),
        (b"[[" + b"[]," * 100_000, "json", "a value has more than 32 levels or 10,000 brackets and quotes"),
        (b"[" + b"1" * 300_000, "json", "a number or word does not end"),
        (b'["' + b"\\" * 300_001, "json", "the text ends in the middle of a value"),
        (b"\n" * 300_000, "jsonl", "more"),
        (b"prompt\n" + b"\n" * 300_000, "csv", "more"),
    ],
    ids=["deep", "full of marks", "a long number", "full of escapes", "blank", "a blank table"],
)
def test_a_manifest_that_is_made_to_take_long_is_given_up(manifest: bytes, kind: ManifestKind, given: str) -> None:
    [line] = read(manifest, kind)
    assert isinstance(line, BadLine)
    assert line.fatal
    assert line.violations[0].given.startswith(given)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_where_the_text_is_cut_into_pieces_makes_no_difference(size: int) -> None:
    class Slow(io.BytesIO):
        def read(self, count: int | None = -1, /) -> bytes:
            return super().read(min(size, count) if count and count > 0 else size)

    prompts = ['A, {b} ["c\\', "\\\\", '"', "ü\u2028\n]", "x" * 50]
    array = json.dumps([{"prompt": prompt, "n": 2} for prompt in prompts], indent=1).encode()
    lines = good(list(read_manifest(Slow(array), "json", LIMITS)))
    assert [line.request.prompt for line in lines] == prompts
