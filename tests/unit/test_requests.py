"""What may be asked for, what is refused with which words, and that every refusal shows the way out."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from typing import Any, cast

import pytest

from imagequeue.errors import InvalidRequest, Violation
from imagequeue.requests import GenerateRequest, ignored_settings, parse_request
from imagequeue.sizes import PRESET_SIZES, parse_size

PROMPT = "A lighthouse at dawn"
MIN_PIXELS, MAX_PIXELS = 655_360, 8_294_400

ALLOWED_SIZES = {
    "auto": "auto",
    "AUTO": "auto",
    " Auto ": "auto",
    "1024x1024": "1024x1024",
    "1536x1024": "1536x1024",
    "1024x1536": "1024x1536",
    "1024X1024": "1024x1024",
    " 1536 × 1024 ": "1536x1024",
    "01024x1024": "1024x1024",
    "640x1024": "640x1024",  # exactly the fewest pixels
    "3840x2160": "3840x2160",  # exactly the most pixels, and the longest edge
    "2160x3840": "2160x3840",
    "2880x2880": "2880x2880",
    "1440x480": "1440x480",  # exactly 3:1
    "480x1440": "480x1440",
    "3840x1280": "3840x1280",
}

REFUSED_SIZES = {
    "": "must be 'auto' or WIDTHxHEIGHT in pixels",
    "large": "must be 'auto' or WIDTHxHEIGHT in pixels",
    "1024": "must be 'auto' or WIDTHxHEIGHT in pixels",
    "1024x": "must be 'auto' or WIDTHxHEIGHT in pixels",
    "1024x1024x1024": "must be 'auto' or WIDTHxHEIGHT in pixels",
    "-1024x1024": "must be 'auto' or WIDTHxHEIGHT in pixels",
    "1024.0x1024": "must be 'auto' or WIDTHxHEIGHT in pixels",
    "16:9": "must be 'auto' or WIDTHxHEIGHT in pixels",
    "1000x1000": "both edges must be multiples of 16",
    "1024x1025": "both edges must be multiples of 16",
    "1920x1080": "both edges must be multiples of 16",
    "3856x1600": "no edge may be longer than 3840 pixels",
    "1600x3856": "no edge may be longer than 3840 pixels",
    "999999984x16": "no edge may be longer than 3840 pixels",
    "3840x1264": "the aspect ratio must lie within 1:3 and 3:1",
    "496x1504": "the aspect ratio must lie within 1:3 and 3:1",
    "0x1024": "the aspect ratio must lie within 1:3 and 3:1",
    "0x0": "width × height must lie within 655,360 and 8,294,400 pixels",
    "512x512": "width × height must lie within 655,360 and 8,294,400 pixels",
    "640x1008": "width × height must lie within 655,360 and 8,294,400 pixels",
    "3840x2176": "width × height must lie within 655,360 and 8,294,400 pixels",
    "3840x3840": "width × height must lie within 655,360 and 8,294,400 pixels",
}

# Field, value, what is given as the refusal shows it, and a part of the rule.
REFUSED_FIELDS: list[tuple[str, object, str, str]] = [
    ("prompt", "", "an empty text", "at least 1 character"),
    ("prompt", "   ", "   ", "must not be blank"),
    ("prompt", "a" * 32_001, "(32,001 characters)", "at most 32000 characters"),
    ("prompt", 5, "5", "valid string"),
    ("prompt", None, "None", "valid string"),
    ("prompt", "half \ud83d of a pair", "\\ud83d", "Unicode"),
    ("prompt", "a\x00b", "a", "NUL character"),
    ("size", 1024, "1024", "valid string"),
    ("size", None, "None", "valid string"),
    ("size", "1" * 41, "1111", "at most 40 characters"),
    ("quality", "ultra", "ultra", "'auto', 'low', 'medium' or 'high'"),
    ("quality", "hd", "hd", "'auto', 'low', 'medium' or 'high'"),
    ("quality", 3, "3", "'auto', 'low', 'medium' or 'high'"),
    ("n", 0, "0", "greater than or equal to 1"),
    ("n", -1, "-1", "greater than or equal to 1"),
    ("n", 11, "11", "less than or equal to 10"),
    ("n", True, "True", "valid integer"),
    ("n", "2", "2", "valid integer"),
    ("n", 1.5, "1.5", "valid integer"),
    ("n", None, "None", "valid integer"),
    ("background", "transparent", "transparent", "does not support transparent backgrounds"),
    ("background", " Transparent", "transparent", "does not support transparent backgrounds"),
    ("background", "red", "red", "'auto' or 'opaque'"),
    ("output_format", "gif", "gif", "'png', 'jpeg' or 'webp'"),
    ("output_format", "jpg", "jpg", "'png', 'jpeg' or 'webp'"),
    ("output_compression", 101, "101", "less than or equal to 100"),
    ("output_compression", -1, "-1", "greater than or equal to 0"),
    ("output_compression", "85", "85", "valid integer"),
    ("output_compression", 85.5, "85.5", "valid integer"),
    ("moderation", "none", "none", "'auto' or 'low'"),
    ("filename_prefix", "x" * 1001, "(1,001 characters)", "at most 1000 characters"),
    ("filename_prefix", ["a"], "['a']", "valid string"),
    ("user", "", "an empty text", "at least 1 character"),
    ("user", "u" * 257, "(257 characters)", "at most 256 characters"),
    ("partial_images", 4, "4", "less than or equal to 3"),
    ("partial_images", -1, "-1", "greater than or equal to 0"),
    ("partial_images", True, "True", "valid integer"),
    ("partial_images", None, "None", "valid integer"),
    ("type", "video", "video", "must be one of generate, edit"),
]

# The texts of the contract, transcribed from its published parameter tables.
CONTRACT_TEXTS = {
    "prompt": "Image description. gpt-image-2 handles very detailed prompts; use ALL CAPS or quote literal text you "
    "want rendered verbatim.",
    "size": 'Output dimensions. "auto" (default), one of the presets "1024x1024", "1536x1024", "1024x1536", or a '
    'custom "WxH" where both edges are multiples of 16, max edge ≤ 3840px, aspect ratio within 1:3–3:1, and total '
    "pixels 655,360–8,294,400. Outputs above 2K are beta.",
    "n": "How many images to generate (1–10). Each counts toward rate limits and cost.",
    "background": 'Background behavior. "opaque" forces a filled background; "auto" lets the model pick. gpt-image-2 '
    "does NOT support transparent backgrounds — use a different model for that.",
    "output_format": 'File format. "png" (default, lossless), "jpeg" (smaller, lossy), "webp" (best compression). '
    "When omitted on continue_edit_session, the session's current format is kept.",
    "output_compression": "Compression level 0–100 for jpeg/webp outputs. Ignored for png. Defaults to 100 (minimal "
    "compression).",
    "filename_prefix": "Short label appended to the generated filename so you can find it later (e.g. "
    '"hero-banner"). Letters/digits/hyphens only; auto-sanitized.',
    "user": "Optional end-user identifier forwarded to OpenAI for abuse monitoring. Pass a stable hashed user ID, not "
    "PII.",
}
DEFAULTS = {"size": "auto", "quality": "auto", "background": "auto"}


def refusal(**fields: object) -> Violation:
    """The one violation of a request with these fields."""
    with pytest.raises(InvalidRequest) as caught:
        parse_request({"prompt": PROMPT} | fields)
    (violation,) = caught.value.violations
    assert str(violation) in str(caught.value)
    return violation


def assert_example_passes(violation: Violation) -> None:
    """Submit the example that a refusal gives."""
    example: object = violation.example
    if violation.field in ("n", "output_compression", "partial_images"):
        example = int(violation.example)
    parse_request({"prompt": PROMPT, violation.field: example})


@pytest.mark.parametrize(("given", "canonical"), ALLOWED_SIZES.items())
def test_an_allowed_size_is_taken_in_its_canonical_form(given: str, canonical: str) -> None:
    assert parse_request({"prompt": PROMPT, "size": given}).size == canonical


@pytest.mark.parametrize(("given", "rule"), REFUSED_SIZES.items())
def test_a_refused_size_names_field_rule_given_and_an_example_that_passes(given: str, rule: str) -> None:
    violation = refusal(size=given)
    assert (violation.field, violation.rule, violation.given) == ("size", rule, given or "an empty text")
    assert_example_passes(violation)


def test_every_size_obeys_the_published_rules_and_every_refusal_s_example_passes() -> None:
    edges = [*range(0, 4000, 144), 16, 479, 480, 655, 816, 2160, 3840, 3856, 10**9 - 1]
    chooser = random.Random(1)
    drawn = [(chooser.randrange(0, 5000, 16), chooser.randrange(0, 5000, 16)) for _ in range(1000)]
    for width, height in [*itertools.product(edges, edges), *drawn]:
        allowed = (
            width % 16 == height % 16 == 0
            and max(width, height) <= 3840
            and max(width, height) <= 3 * min(width, height)
            and MIN_PIXELS <= width * height <= MAX_PIXELS
        )
        size = f"{width}x{height}"
        if allowed:
            assert parse_request({"prompt": PROMPT, "size": size}).size == size
        else:
            assert_example_passes(refusal(size=size))


@pytest.mark.parametrize(("width", "height"), [(1000, 1000), (1920, 1080), (1080, 1920), (3000, 2000)])
def test_the_example_is_about_as_large_and_of_about_the_same_shape(width: int, height: int) -> None:
    size = parse_size(refusal(size=f"{width}x{height}").example)
    assert size is not None
    assert abs(size[0] - width) <= 48
    assert abs(size[1] - height) <= 48


@pytest.mark.parametrize(("field", "value", "given", "rule"), REFUSED_FIELDS)
def test_a_refusal_names_field_rule_given_and_an_example_that_passes(
    field: str, value: object, given: str, rule: str
) -> None:
    violation = refusal(**{field: value})
    assert violation.field == field
    assert rule in violation.rule
    assert given in violation.given
    assert len(violation.given) < 120
    violation.given.encode()  # can be sent
    assert_example_passes(violation)


def test_a_missing_prompt_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_request({})
    (violation,) = caught.value.violations
    assert (violation.field, violation.rule, violation.given) == ("prompt", "Field required", "nothing")
    assert_example_passes(violation)


def test_an_unknown_field_is_refused_with_the_fields_that_exist() -> None:
    violation = refusal(style="vivid")
    assert (violation.field, violation.rule) == ("style", "is not a field of this request")
    assert violation.example.split(", ") == list(GenerateRequest.model_fields)


def test_all_broken_rules_are_told_at_once() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_request({"prompt": "", "size": "7x7", "n": 99, "quality": "best", "seed": 1})
    assert {violation.field for violation in caught.value.violations} == {"prompt", "size", "n", "quality", "seed"}


def test_a_flood_of_unknown_fields_is_answered_briefly() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_request({"prompt": PROMPT} | {f"field-{number}": number for number in range(5000)})
    assert 1 <= len(caught.value.violations) <= 20


def test_choices_are_taken_in_any_case_and_with_blanks() -> None:
    request = parse_request(
        {"prompt": PROMPT, "quality": " HIGH ", "background": "Opaque", "output_format": "WEBP", "moderation": "Low"}
    )
    assert (request.quality, request.background, request.output_format) == ("high", "opaque", "webp")
    assert isinstance(request, GenerateRequest)
    assert request.moderation == "low"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("hero-banner", "hero-banner"),
        ("Héro Banner!!", "Hero-Banner"),
        ("../../etc/passwd", "etc-passwd"),
        ("a" * 80, "a" * 60),
        ("a" * 59 + " b", "a" * 59),
        ("灯台", None),
        ("---", None),
        ("", None),
    ],
)
def test_a_filename_prefix_keeps_letters_digits_and_hyphens(given: str, kept: str | None) -> None:
    request = parse_request({"prompt": PROMPT, "filename_prefix": given})
    assert request.filename_prefix == kept
    assert GenerateRequest.model_validate(request.model_dump()) == request


@pytest.mark.parametrize("prompt", ["x", "a" * 32_000, "灯台 🌅\nline two\t“quoted”", " spaced "])
def test_a_prompt_is_kept_to_the_letter(prompt: str) -> None:
    assert parse_request({"prompt": prompt}).prompt == prompt


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"output_compression": 50}, ["output_compression is ignored for png."]),
        ({"output_compression": 50, "output_format": "webp"}, []),
        ({}, []),
    ],
)
def test_what_will_not_be_done_is_noted(fields: Mapping[str, object], expected: list[str]) -> None:
    assert ignored_settings(parse_request({"prompt": PROMPT, **fields})) == expected


@pytest.mark.parametrize("size", PRESET_SIZES)
def test_a_canonical_size_is_read_as_width_and_height(size: str) -> None:
    width, height = size.split("x")
    assert parse_size(size) == (int(width), int(height))
    assert parse_size("auto") is None


@pytest.mark.parametrize(("field", "text"), CONTRACT_TEXTS.items())
def test_descriptions_are_those_of_the_contract(field: str, text: str) -> None:
    assert described(field) == text


@pytest.mark.parametrize("field", GenerateRequest.model_fields)
def test_every_field_has_a_description_and_an_example_that_passes(field: str) -> None:
    schema = cast("dict[str, Any]", GenerateRequest.model_json_schema()["properties"][field])
    options = cast("list[dict[str, Any]]", [schema, *schema.get("anyOf", [])])
    assert described(field)
    (example,) = next(option["examples"] for option in options if "examples" in option)
    parse_request({"prompt": PROMPT, field: example})


@pytest.mark.parametrize("kind", [{}, {"type": "edit", "images": ["upload:" + "0" * 64]}])
def test_previews_are_of_one_image_only(kind: Mapping[str, object]) -> None:
    violation = refusal(**kind, n=2, partial_images=1)
    assert (violation.field, violation.given, violation.example) == ("n", "2", "1")
    assert violation.rule == "must be 1 with partial_images: OpenAI streams one image only"
    assert parse_request({"prompt": PROMPT, **kind, "n": 2, "partial_images": 0}).n == 2
    assert parse_request({"prompt": PROMPT, **kind, "partial_images": 3}).partial_images == 3


def test_defaults_are_those_of_the_contract() -> None:
    request = parse_request({"prompt": PROMPT})
    assert isinstance(request, GenerateRequest)
    assert {name: getattr(request, name) for name in DEFAULTS} == DEFAULTS
    assert (request.n, request.output_format, request.output_compression) == (1, "png", None)
    assert request.partial_images == 0
    assert (request.moderation, request.filename_prefix, request.user) == ("auto", None, None)


def described(field: str) -> str:
    """A field's description as clients see it."""
    schema = cast("dict[str, Any]", GenerateRequest.model_json_schema()["properties"][field])
    options = cast("list[dict[str, Any]]", [schema, *schema.get("anyOf", [])])
    return next(option["description"] for option in options if "description" in option)
