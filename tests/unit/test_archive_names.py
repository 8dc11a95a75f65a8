"""Names in archives: what anybody may call a line becomes a file that every system can unpack, each its own."""

from __future__ import annotations

import pytest

from imagequeue.archive_names import LONGEST, UniqueNames, safe_name


@pytest.mark.parametrize(
    ("text", "name"),
    {
        "poster-17": "poster-17",
        "Ein Fuchs, im Schnee": "Ein Fuchs, im Schnee",
        "日本の灯台": "日本の灯台",
        "e\u0301te\u0301": "été",
        "../../etc/passwd": "etc-passwd",
        "/etc/passwd": "etc-passwd",
        "C:\\Windows\\x": "C--Windows-x",
        "..": "_",
        "": "_",
        " \t\n": "_",
        "-rf": "rf",
        "~root": "root",
        ".hidden": "hidden",
        "ends with dots. . ": "ends with dots",
        "a\x00b\u202ec": "a-b-c",
        'what? "this" <one>|*': "what- -this- -one---",
        "CON": "_CON",
        "nul.txt": "_nul.txt",
        "com1": "_com1",
        "console": "console",
    }.items(),
)
def test_a_text_becomes_a_name_without_a_path(text: str, name: str) -> None:
    assert safe_name(text) == name


@pytest.mark.parametrize("letter", ["a", "é", "灯", "😀"])
def test_a_long_text_is_cut_between_letters(letter: str) -> None:
    name = safe_name(letter * 200)
    assert LONGEST - 4 < len(name.encode()) <= LONGEST
    assert set(name) == {letter}


def test_a_lone_surrogate_does_no_harm() -> None:
    assert safe_name("a\ud800b").encode()


def test_names_differ_where_case_and_composition_do_not_count() -> None:
    names = UniqueNames(["index.jsonl"])
    taken = [names.take(stem, ".png") for stem in ("a", "A", "a~2", "ﬁ", "fi", "Straße", "STRASSE")]
    assert taken == ["a.png", "A~2.png", "a~2~2.png", "ﬁ.png", "fi~2.png", "Straße.png", "STRASSE~2.png"]
    assert names.take("INDEX", ".jsonl") == "INDEX~2.jsonl"
