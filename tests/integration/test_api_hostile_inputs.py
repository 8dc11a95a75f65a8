"""Requests byte by byte, URLs that lead inside, and images that are none: refused, and nothing stored or spent.

What can be said with an ordinary client is in test_api_hard_inputs.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final

import picture_kit as kit
import pytest
from api_kit import RunningApi, data_url
from fleet_kit import Fleet
from hostile_kit import FORBIDDEN_URLS, RawAnswer, raw_answer

PROMPT: Final = "Hostile input"
BODY: Final = b'{"prompt": "Hostile input"}'
SERVERS_OWN: Final = None
"""The HTTP server refuses before the application is asked: the status counts, there is no code."""


@dataclass(frozen=True)
class Raw:
    """A request, and how it is refused."""

    name: str
    status: int
    code: str | None
    request: bytes


def post(*headers: bytes, body: bytes = BODY, host: bytes | None = b"Host: localhost", length: bool = True) -> bytes:
    """A submit with these headers besides the usual ones."""
    usual = [b"Content-Type: application/json", b"Connection: close"]
    if host is not None:
        usual.append(host)
    if length:
        usual.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([b"POST /v1/jobs HTTP/1.1", *usual, *headers]) + b"\r\n\r\n" + body


def sized(length: bytes) -> bytes:
    """A submit with this Content-Length."""
    return post(b"Content-Length: " + length, length=False)


def coded(*codings: bytes, body: bytes = b"0\r\n\r\n") -> bytes:
    """A submit with these Transfer-Encodings."""
    return post(*(b"Transfer-Encoding: " + coding for coding in codings), body=body, length=False)


def line(first: bytes) -> bytes:
    """A request without a body that begins so."""
    return first + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def get(path: bytes) -> bytes:
    """A look at this path, as it is."""
    return line(b"GET " + path + b" HTTP/1.1")


LENGTHS = [
    Raw("negative length", 400, SERVERS_OWN, sized(b"-1")),
    Raw("length with a plus", 400, SERVERS_OWN, sized(b"+27")),
    Raw("hexadecimal length", 400, SERVERS_OWN, sized(b"0x1b")),
    Raw("length a word", 400, SERVERS_OWN, sized(b"ten")),
    Raw("length of 400 digits", 413, "body_too_large", sized(b"9" * 400)),
    Raw("two lengths", 400, SERVERS_OWN, post(b"Content-Length: 3")),
    Raw("a list of lengths", 400, SERVERS_OWN, sized(b"27, 27")),
    Raw("less than announced", 400, "bad_request", sized(b"50")),
    Raw("length and chunks", 400, SERVERS_OWN, post(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    Raw("chunked twice", 400, SERVERS_OWN, coded(b"chunked", b"chunked")),
    Raw("unknown coding", 501, SERVERS_OWN, coded(b"xchunked")),
    Raw("coding behind a tab", 400, SERVERS_OWN, coded(b"\x0bchunked")),
    Raw("compressed and chunked", 400, "malformed_json", coded(b"gzip, chunked")),
    Raw("negative chunk", 400, "bad_request", coded(b"chunked", body=b"-1\r\n\r\n")),
    Raw("chunk without an end", 400, "bad_request", coded(b"chunked", body=b"ffffffffffffffffff\r\nabc")),
    Raw("gzip", 415, "unsupported_media_type", post(b"Content-Encoding: gzip")),
    Raw("identity", 415, "unsupported_media_type", post(b"Content-Encoding: identity")),
]
HEADERS = [
    Raw("space before a colon", 400, SERVERS_OWN, post(b"X-A : 1")),
    Raw("folded header", 400, SERVERS_OWN, post(b"X-A: 1\r\n 2")),
    Raw("NUL in a header", 400, SERVERS_OWN, post(b"X-A: a\x00b")),
    Raw("carriage return in a header", 400, SERVERS_OWN, post(b"X-A: a\rb")),
    Raw("lines without carriage returns", 400, SERVERS_OWN, b"POST /v1/jobs HTTP/1.1\nHost: localhost\n\n"),
    Raw("header of 20,000 bytes", 431, SERVERS_OWN, post(b"X-A: " + b"a" * 20_000)),
    Raw("200 headers", 431, SERVERS_OWN, post(*(b"X-%d: 1" % number for number in range(200)))),
    Raw("Idempotency-Key of 7,000 bytes", 400, "invalid_request", post(b"Idempotency-Key: " + b"a" * 7000)),
    Raw("Idempotency-Key that is no ASCII", 400, "invalid_request", post(b"Idempotency-Key: \xff")),
    Raw("empty Idempotency-Key", 400, "invalid_request", post(b"Idempotency-Key:")),
    Raw("an expectation", 417, SERVERS_OWN, post(b"Expect: something")),
    Raw("another scheme of keys", 401, "unauthorized", post(b"Authorization: Basic eDp5")),
    Raw("a key that is no ASCII", 401, "unauthorized", post(b"Authorization: Bearer \xff\xfe")),
    Raw("no host", 400, "bad_request", post(host=None)),
    Raw("empty host", 400, "bad_request", post(host=b"Host:")),
    Raw("two hosts", 400, SERVERS_OWN, post(b"Host: y")),
    Raw("host with a space", 400, "bad_request", post(host=b"Host: a b")),
    Raw("host with a path", 400, "bad_request", post(host=b"Host: x/../y")),
    Raw("host with a user", 400, "bad_request", post(host=b"Host: user@x")),
    Raw("host of somebody else", 421, "wrong_host", post(host=b"Host: imagequeue.example.com")),
    Raw("host that begins as ours", 421, "wrong_host", post(host=b"Host: localhost.example.com:8080")),
    Raw("host of another machine", 421, "wrong_host", post(host=b"Host: [::2]:8080")),
    Raw("host that is no ASCII", 400, "bad_request", post(host=b"Host: \xc3\xb6")),
]
LINES = [
    Raw("HTTP/0.9", 400, SERVERS_OWN, b"GET /v1/jobs\r\n\r\n"),
    Raw("HTTP/2.0", 400, SERVERS_OWN, line(b"GET /v1/jobs HTTP/2.0")),
    Raw("HTTP/x", 400, SERVERS_OWN, line(b"GET /v1/jobs HTTP/x")),
    Raw("preface of HTTP/2", 400, SERVERS_OWN, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Raw("noise", 400, SERVERS_OWN, b"\x00\x01\x02\r\n\r\n"),
    Raw("method with a space", 400, SERVERS_OWN, line(b"GE T /v1/jobs HTTP/1.1")),
    Raw("method in small letters", 400, SERVERS_OWN, line(b"post /v1/jobs HTTP/1.1")),
    Raw("path of 9,000 bytes", 414, SERVERS_OWN, get(b"/v1/jobs/" + b"a" * 9000)),
    Raw("another server's address", 404, "not_found", get(b"http://169.254.169.254/latest/meta-data/")),
    Raw("asterisk", 404, "not_found", line(b"OPTIONS * HTTP/1.1")),
    Raw("a tunnel", 404, "not_found", line(b"CONNECT 127.0.0.1:22 HTTP/1.1")),
    Raw("TRACE", 405, "method_not_allowed", line(b"TRACE /v1/jobs HTTP/1.1")),
    Raw("dots", 404, "not_found", get(b"/v1/jobs/../keys")),
    Raw("escaped dots", 404, "not_found", get(b"/v1/jobs/%2e%2e/keys")),
    Raw("escaped slash", 404, "not_found", get(b"/v1/jobs/%2e%2e%2fkeys")),
    Raw("twice escaped dots", 404, "job_not_found", get(b"/v1/jobs/%252e%252e")),
    Raw("escaped NUL", 404, "job_not_found", get(b"/v1/jobs/job_%00")),
    Raw("two slashes before all", 404, "not_found", get(b"//v1/jobs")),
    Raw("three slashes before all", 404, "not_found", get(b"///v1/keys")),
    Raw("backslash", 404, "not_found", get(b"/v1\\jobs")),
    Raw("bytes of UTF-8", 400, SERVERS_OWN, get("/v1/jobs/jöb".encode())),
    Raw("bytes of Latin-1", 400, SERVERS_OWN, get(b"/v1/jobs/j\xf6b")),
    Raw("overlong slash", 404, "job_not_found", get(b"/v1/jobs/%c0%af")),
    Raw("full-width dots", 404, "job_not_found", get(b"/v1/jobs/%EF%BC%8E%EF%BC%8E")),
    Raw("right-to-left override", 404, "job_not_found", get(b"/v1/jobs/%E2%80%AE")),
    Raw("broken escape", 404, "job_not_found", get(b"/v1/jobs/%zz")),
    Raw("path parameters", 404, "not_found", get(b"/v1/jobs;a=b")),
]
RAW = [*LENGTHS, *HEADERS, *LINES]
CODES_OF_URLS = {
    **dict.fromkeys(FORBIDDEN_URLS, "url_forbidden"),
    **{url: "input_bad_source" for url in FORBIDDEN_URLS if not url.startswith("http:/")},
    "": "invalid_request",
}
IMAGES = {
    "empty": (b"", "input_empty"),
    "text": (b"just text", "input_not_an_image"),
    "HTML": (kit.HTML, "input_wrong_type"),
    "SVG": (kit.SVG, "input_wrong_type"),
    "ZIP": (kit.ZIP, "input_wrong_type"),
    "GIF": (kit.encoded("GIF", "L"), "input_wrong_type"),
    "TIFF": (kit.encoded("TIFF"), "input_wrong_type"),
    "cut off": (kit.png()[:-20], "input_truncated"),
    "only a signature": (kit.PNG_SIGNATURE, "input_truncated"),
    "a ZIP behind": (kit.png() + kit.ZIP, "input_polyglot"),
    "HTML behind": (kit.png() + kit.HTML, "input_polyglot"),
    "30,000 by 30,000 pixels": (kit.header_only_png(30_000, 30_000), "input_bomb"),
    "no pixels": (kit.header_only_png(0, 9), "input_zero_size"),
    "animated": (kit.animated("PNG"), "input_animated"),
    "a JPEG's label": (kit.jpeg(), "input_mislabelled"),
}
SOURCES = {
    "base64 that is none": "data:image/png;base64,!!!!",
    "no base64": "data:image/png,abc",
    "no data": "data:image/png;base64,",
    "half a data: URL": "data:",
    "another's upload in capitals": f"upload:{'A' * 64}",
    "a short hash": "upload:abc",
    "a hash that climbs": "upload:../../records/job_1",
    "a job's image that climbs": "job:job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z/../0",
    "a negative index": "job:job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z/-1",
    "a file of the server": "file:///etc/passwd",
    "a path of Windows": "C:\\Windows\\win.ini",
    "an object of S3": "s3://imagequeue/records/job_1",
}


@pytest.mark.parametrize("raw", RAW, ids=lambda raw: raw.name)
def test_bytes_that_are_no_good_request_get_their_status_and_code(fleet_api: RunningApi, raw: Raw) -> None:
    answer = sent(fleet_api, raw.request)
    assert (answer.status, answer.code) == (raw.status, raw.code), answer
    assert len(answer.body) < 20_000
    assert_nothing_made(fleet_api)


@pytest.mark.parametrize("url", FORBIDDEN_URLS, ids=lambda url: repr(url)[:50])
def test_a_url_that_leads_inside_is_refused_by_the_submit(fleet_api: RunningApi, url: str) -> None:
    body = {"type": "edit", "prompt": PROMPT, "images": [data_url(), url]}
    answer = fleet_api.http.post("/v1/jobs", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, CODES_OF_URLS[url])
    assert "secret" not in answer.text
    assert_nothing_made(fleet_api)


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_that_is_none_is_refused_by_upload_and_submit(fleet_api: RunningApi, name: str) -> None:
    content, code = IMAGES[name]
    uploaded = fleet_api.http.post("/v1/uploads", content=content, headers={"Content-Type": "image/png"})
    inline = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    submitted = fleet_api.http.post("/v1/jobs", json={"type": "edit", "prompt": PROMPT, "images": [inline]})
    assert (uploaded.json()["code"], submitted.json()["code"]) == (code, code)
    assert_nothing_made(fleet_api)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_a_source_that_names_no_image_is_refused(fleet_api: RunningApi, source: str) -> None:
    answer = fleet_api.http.post("/v1/jobs", json={"type": "edit", "prompt": PROMPT, "images": [source]})
    assert 400 <= answer.status_code < 500
    assert answer.json()["code"].startswith("input_"), answer.text
    assert_nothing_made(fleet_api)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a\r\nSet-Cookie: x=1", "a-Set-Cookie-x-1"),
        ("\u202egnp.exe", "gnp-exe"),
        ("../../etc/passwd", "etc-passwd"),
        ('x"; filename="y', "x-filename-y"),
        ("\0\0", None),
    ],
    ids=["line feed", "right-to-left override", "path", "quotes", "NUL"],
)
def test_a_label_becomes_a_plain_one(api: RunningApi, given: str, kept: str | None) -> None:
    answer = api.http.post("/v1/jobs", json={"prompt": PROMPT, "filename_prefix": given})
    assert (answer.status_code, answer.json()["request"]["filename_prefix"]) == (202, kept)


def test_openai_was_never_asked(fleet_api: RunningApi, shared_fleet: Fleet) -> None:
    for raw in RAW:
        sent(fleet_api, raw.request)
    assert_nothing_made(fleet_api)
    assert shared_fleet.sandbox.calls_beginning(PROMPT) == []


def sent(api: RunningApi, request: bytes) -> RawAnswer:
    """What the API says to these bytes."""
    return raw_answer(api.settings.api_port, request)


def assert_nothing_made(api: RunningApi) -> None:
    """No job of ours is there."""
    jobs = api.http.get("/v1/jobs", params={"limit": "5"}).json()["jobs"]
    assert [job["id"] for job in jobs if job["request"]["prompt"] == PROMPT] == []
