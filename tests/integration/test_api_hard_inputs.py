"""Requests that are wrong, ambiguous or hostile: each gets its status and its stable code, and none a crash."""

from __future__ import annotations

import json
import socket
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import httpx2
import pytest
from api_kit import BODY, RunningApi

from sandbox.stack.ports import HOST

JSON = {"Content-Type": "application/json"}
SOME_ID = "job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z"
MAX_BODY = 1_048_576


@dataclass(frozen=True)
class Hard:
    """One request and what answers it."""

    name: str
    status: int
    code: str
    path: str = "/v1/jobs"
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=lambda: dict(JSON))
    method: str = ""

    @property
    def verb(self) -> str:
        """The method: POST with a body, GET without, if none is given."""
        return self.method or ("GET" if self.content is None else "POST")


def prompt(value: str) -> bytes:
    """A body with this JSON text as its prompt."""
    return b'{"prompt": ' + value.encode() + b"}"


def with_field(name: str, value: object) -> bytes:
    """A good body with one more field."""
    return json.dumps({**BODY, name: value}).encode()


MALFORMED = [
    Hard("no body", 400, "malformed_json", content=b""),
    Hard("blank body", 400, "malformed_json", content=b"   "),
    Hard("cut off", 400, "malformed_json", content=b'{"prompt": "a'),
    Hard("trailing comma", 400, "malformed_json", content=b'{"prompt": "a",}'),
    Hard("two documents", 400, "malformed_json", content=b'{"prompt": "a"}{}'),
    Hard("single quotes", 400, "malformed_json", content=b"{'prompt': 'a'}"),
    Hard("a comment", 400, "malformed_json", content=b'{"prompt": "a"} // x'),
    Hard("NaN", 400, "malformed_json", content=b'{"prompt": "a", "n": NaN}'),
    Hard("Infinity", 400, "malformed_json", content=b'{"prompt": "a", "n": Infinity}'),
    Hard("-Infinity", 400, "malformed_json", content=b'{"prompt": "a", "n": -Infinity}'),
    Hard("5,000 digits", 400, "malformed_json", content=b'{"prompt": "a", "n": ' + b"1" * 5000 + b"}"),
    Hard("nested 100,000 arrays", 400, "malformed_json", content=prompt("[" * 100_000 + "]" * 100_000)),
    Hard("nested 900 arrays", 400, "malformed_json", content=prompt("[" * 900 + "]" * 900)),
    Hard("nested 900 objects", 400, "malformed_json", content=prompt('{"a":' * 900 + "1" + "}" * 900)),
    Hard("UTF-16", 400, "malformed_json", content='{"prompt": "a"}'.encode("utf-16")),
    Hard("Latin-1", 400, "malformed_json", content='{"prompt": "é"}'.encode("latin-1")),
    Hard("byte order mark", 400, "malformed_json", content=b'\xef\xbb\xbf{"prompt": "a"}'),
    Hard("raw NUL", 400, "malformed_json", content=b'{"prompt": "a\x00b"}'),
    Hard("raw line feed in a string", 400, "malformed_json", content=b'{"prompt": "a\nb"}'),
]
NOT_A_REQUEST = [
    Hard("an array", 400, "invalid_request", content=b'[{"prompt": "a"}]'),
    Hard("a string", 400, "invalid_request", content=b'"{\\"prompt\\": \\"a\\"}"'),
    Hard("a number", 400, "invalid_request", content=b"7"),
    Hard("null", 400, "invalid_request", content=b"null"),
    Hard("true", 400, "invalid_request", content=b"true"),
    Hard("an empty object", 400, "invalid_request", content=b"{}"),
    Hard("a key twice", 400, "invalid_request", content=b'{"prompt": "a", "prompt": "b"}'),
    Hard("a key twice deep inside", 400, "invalid_request", content=b'{"prompt": "a", "x": [{"y": 1, "y": 2}]}'),
    Hard("a key twice in escapes", 400, "invalid_request", content=b'{"prompt": "a", "\\u0070rompt": "b"}'),
    Hard("a broken key twice", 400, "invalid_request", content=b'{"\\ud800": 1, "\\ud800": 2}'),
    Hard("an unknown field", 400, "invalid_request", content=with_field("promt", "b")),
    Hard("an unknown field without a name", 400, "invalid_request", content=with_field("", "b")),
    Hard("an unknown field that is no Unicode", 400, "invalid_request", content=with_field("\ud800", "b")),
    Hard("an unknown field of 500 KB", 400, "invalid_request", content=with_field("x" * 500_000, 1)),
    Hard("__class__", 400, "invalid_request", content=with_field("__class__", "os")),
    Hard("prompt null", 400, "invalid_request", content=prompt("null")),
    Hard("prompt of spaces", 400, "invalid_request", content=prompt('"  \\t "')),
    Hard("prompt a list", 400, "invalid_request", content=prompt('["a"]')),
    Hard("prompt of 32,001 characters", 400, "invalid_request", content=prompt(json.dumps("a" * 32_001))),
    Hard("prompt with half a surrogate", 400, "invalid_request", content=prompt('"a \\ud800 b"')),
    Hard("prompt with NUL", 400, "invalid_request", content=prompt('"a\\u0000b"')),
    Hard("n is 0", 400, "invalid_request", content=with_field("n", 0)),
    Hard("n is 11", 400, "invalid_request", content=with_field("n", 11)),
    Hard("n is true", 400, "invalid_request", content=with_field("n", True)),
    Hard("n is a text", 400, "invalid_request", content=with_field("n", "2")),
    Hard("n is 1.5", 400, "invalid_request", content=with_field("n", 1.5)),
    Hard("n is 1e999", 400, "invalid_request", content=b'{"prompt": "a", "n": 1e999}'),
    Hard("n of 4,000 digits", 400, "invalid_request", content=b'{"prompt": "a", "n": ' + b"1" * 4000 + b"}"),
    Hard("a size off the grid", 400, "invalid_request", content=with_field("size", "1000x1000")),
    Hard("a size with huge numbers", 400, "invalid_request", content=with_field("size", f"{'9' * 30}x1024")),
    Hard("a transparent background", 400, "invalid_request", content=with_field("background", "transparent")),
    Hard("another type", 400, "invalid_request", content=with_field("type", "video")),
    Hard("compression of 101", 400, "invalid_request", content=with_field("output_compression", 101)),
]
NOT_PLAIN_JSON = [
    Hard("no Content-Type", 415, "unsupported_media_type", content=b"{}", headers={}),
    Hard("text/plain", 415, "unsupported_media_type", content=b"{}", headers={"Content-Type": "text/plain"}),
    Hard("a form", 415, "unsupported_media_type", content=b"prompt=a", headers={"Content-Type": "multipart/form-data"}),
    Hard("problem+json", 415, "unsupported_media_type", content=b"{}", headers={"Content-Type": "application/x+json"}),
    Hard("gzip", 415, "unsupported_media_type", content=b"\x1f\x8b", headers={**JSON, "Content-Encoding": "gzip"}),
    Hard("one byte too long", 413, "body_too_large", content=b" " * (MAX_BODY + 1)),
    Hard("twice too long", 413, "body_too_large", content=prompt(json.dumps("a" * 2 * MAX_BODY))),
]
QUERIES = [
    Hard("wait a word", 400, "invalid_request", f"/v1/jobs/{SOME_ID}?wait=soon"),
    Hard("wait negative", 400, "invalid_request", f"/v1/jobs/{SOME_ID}?wait=-1"),
    Hard("wait NaN", 400, "invalid_request", f"/v1/jobs/{SOME_ID}?wait=nan"),
    Hard("wait infinite", 400, "invalid_request", f"/v1/jobs/{SOME_ID}?wait=inf"),
    Hard("wait 1e3", 400, "invalid_request", f"/v1/jobs/{SOME_ID}?wait=1e3"),
    Hard("wait empty", 400, "invalid_request", f"/v1/jobs/{SOME_ID}?wait="),
    Hard("wait in other digits", 400, "invalid_request", f"/v1/jobs/{SOME_ID}?wait=%D9%A3"),
    Hard("wait of 3,000 digits", 400, "invalid_request", f"/v1/jobs/{SOME_ID}?wait={'9' * 3000}"),
    Hard("wait twice", 400, "invalid_request", f"/v1/jobs/{SOME_ID}?wait=1&wait=2"),
    Hard("wait twice alike", 400, "invalid_request", f"/v1/jobs/{SOME_ID}?wait=1&wait=1"),
    Hard("wait misspelt", 400, "invalid_request", f"/v1/jobs/{SOME_ID}?Wait=1"),
    Hard("wait where there is none", 400, "invalid_request", "/v1/jobs?wait=1", content=b'{"prompt": "a"}'),
    Hard("limit 0", 400, "invalid_request", "/v1/jobs?limit=0"),
    Hard("limit 101", 400, "invalid_request", "/v1/jobs?limit=101"),
    Hard("limit a word", 400, "invalid_request", "/v1/jobs?limit=all"),
    Hard("limit of 3,000 digits", 400, "invalid_request", f"/v1/jobs?limit={'9' * 3000}"),
    Hard("an unknown state", 400, "invalid_request", "/v1/jobs?state=done"),
    Hard("an empty state", 400, "invalid_request", "/v1/jobs?state="),
    Hard("a state twice", 400, "invalid_request", "/v1/jobs?state=queued&state=failed"),
    Hard("an unknown type", 400, "invalid_request", "/v1/jobs?type=video"),
    Hard("an unknown parameter", 400, "invalid_request", "/v1/jobs?owner=root"),
    Hard("an empty cursor", 400, "invalid_request", "/v1/jobs?cursor="),
    Hard("a cursor of another make", 400, "invalid_request", "/v1/jobs?cursor=[job_"),
    Hard("no ids", 400, "invalid_request", "/v1/jobs?ids="),
    Hard("101 ids", 400, "invalid_request", f"/v1/jobs?ids={','.join([SOME_ID] * 101)}"),
    Hard("ids and a state", 400, "invalid_request", f"/v1/jobs?ids={SOME_ID}&state=queued"),
    Hard("a parameter of broken UTF-8", 400, "invalid_request", "/v1/jobs?state=%ff%fe"),
    Hard("a parameter with NUL", 400, "invalid_request", "/v1/jobs?state=queued%00"),
    Hard("a day in seconds", 400, "invalid_request", "/v1/usage?to=0"),
    Hard("an unknown variant", 400, "invalid_request", f"/v1/jobs/{SOME_ID}/images/0?variant=thumb"),
]
PATHS = [
    Hard("nothing there", 404, "not_found", "/v1/nothing"),
    Hard("the root of the version", 404, "not_found", "/v1"),
    Hard("a slash at the end", 404, "not_found", "/v1/jobs/"),
    Hard("two slashes", 404, "not_found", "/v1//jobs"),
    Hard("another version", 404, "not_found", "/v2/jobs"),
    Hard("no such job", 404, "job_not_found", f"/v1/jobs/{SOME_ID}"),
    Hard("no job's id", 404, "job_not_found", "/v1/jobs/42"),
    Hard("an id in small letters", 404, "job_not_found", f"/v1/jobs/{SOME_ID.lower()}"),
    Hard("an id with NUL", 404, "job_not_found", f"/v1/jobs/{SOME_ID}%00"),
    Hard("an id with a line feed", 404, "job_not_found", f"/v1/jobs/{SOME_ID}%0A"),
    Hard("an id with dots", 404, "job_not_found", "/v1/jobs/..%2E"),
    Hard("an id that climbs", 404, "not_found", "/v1/jobs/..%2F..%2Fetc%2Fpasswd"),
    Hard("an id that names another key", 404, "job_not_found", f"/v1/jobs/{SOME_ID}:events"),
    Hard("an id of broken UTF-8", 404, "job_not_found", "/v1/jobs/%ff%fe"),
    Hard("an id of 3,000 letters", 404, "job_not_found", f"/v1/jobs/{'A' * 3000}"),
    Hard("cancelling no such job", 404, "job_not_found", f"/v1/jobs/{SOME_ID}/cancel", content=b""),
    Hard("an image of no such job", 404, "job_not_found", f"/v1/jobs/{SOME_ID}/images/0"),
    Hard("an image's index negative", 404, "not_found", f"/v1/jobs/{SOME_ID}/images/-1"),
    Hard("an image's index a word", 404, "not_found", f"/v1/jobs/{SOME_ID}/images/first"),
    Hard("an image's index of 3,000 digits", 404, "not_found", f"/v1/jobs/{SOME_ID}/images/{'9' * 3000}"),
    Hard("no such problem", 404, "not_found", "/problems/none"),
    Hard("deleting all jobs", 405, "method_not_allowed", "/v1/jobs", method="DELETE"),
    Hard("replacing a job", 405, "method_not_allowed", f"/v1/jobs/{SOME_ID}", method="PUT", content=b"{}"),
    Hard("cancelling by GET", 405, "method_not_allowed", f"/v1/jobs/{SOME_ID}/cancel"),
    Hard("a method of another make", 405, "method_not_allowed", "/v1/jobs", method="BREW"),
]
ALL = [*MALFORMED, *NOT_A_REQUEST, *NOT_PLAIN_JSON, *QUERIES, *PATHS]


@pytest.mark.parametrize("hard", ALL, ids=lambda hard: hard.name)
def test_a_hard_request_gets_its_status_and_code(http: httpx2.Client, hard: Hard) -> None:
    answer = http.request(hard.verb, hard.path, content=hard.content, headers=hard.headers)
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (hard.status, hard.code), problem
    assert len(answer.content) < 20_000
    if hard.code == "invalid_request":
        assert all(problem["errors"][0][part] for part in ("field", "rule", "given", "example")), problem


def test_nothing_of_it_was_stored(empty_api: RunningApi) -> None:
    for hard in ALL:
        empty_api.http.request(hard.verb, hard.path, content=hard.content, headers=hard.headers)
    assert empty_api.http.get("/v1/jobs").json() == {"jobs": [], "next_cursor": None}


@pytest.mark.parametrize("length", [MAX_BODY + 1, 3 * MAX_BODY], ids=["one byte more", "three times"])
def test_a_chunked_body_that_is_too_long_is_refused_and_not_cut_off(http: httpx2.Client, length: int) -> None:
    def chunks() -> Generator[bytes]:
        yield json.dumps(BODY).encode()
        rest = length - len(json.dumps(BODY))
        for start in range(0, rest, 65_536):
            yield b" " * min(65_536, rest - start)

    answer = http.post("/v1/jobs", content=chunks(), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/nothing", f"/v1/jobs/{SOME_ID}/cancel"])
def test_a_connection_serves_on_after_a_body_that_nobody_read(api: RunningApi, path: str) -> None:
    with httpx2.Client(base_url=api.url, limits=httpx2.Limits(max_connections=1), trust_env=False) as client:
        first = client.post(path, content=b" " * 8 * MAX_BODY, headers={"Content-Type": "text/plain"})
        second = client.get("/healthz")
        assert first.status_code in (404, 415)
        assert second.status_code == 200
        assert first.extensions["network_stream"].get_extra_info("client_addr") == second.extensions[
            "network_stream"
        ].get_extra_info("client_addr")


@pytest.mark.parametrize("body", [b"zz\r\n{}\r\n0\r\n\r\n", b"5\r\n{}"], ids=["no chunk size", "cut off"])
def test_a_broken_chunked_body_is_refused(api: RunningApi, body: bytes) -> None:
    headers = b"Host: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    head = b"POST /v1/jobs HTTP/1.1\r\n" + headers
    with socket.create_connection((HOST, api.settings.api_port), timeout=30) as connection:
        connection.sendall(head + body)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"bad_request"' in answer


def test_a_chunked_body_is_read_to_its_end(http: httpx2.Client) -> None:
    def chunks() -> Iterator[bytes]:
        yield from (b'{"prompt": "', b"a lighthouse", b'"}')

    answer = http.post("/v1/jobs", content=chunks(), headers=JSON)
    assert (answer.status_code, answer.json()["request"]["prompt"]) == (202, "a lighthouse")


@pytest.mark.parametrize(
    "content",
    [
        b" \r\n" + json.dumps(BODY).encode() + b"\n\t ",
        prompt(json.dumps("a" * 32_000)),
        prompt('"\\ud83d\\ude00"'),
        prompt('"日本語 🗼"'),
        json.dumps(BODY).encode().ljust(MAX_BODY),
    ],
    ids=["white space", "longest prompt", "a pair of surrogates", "no ASCII", "largest body"],
)
def test_an_unusual_but_right_body_is_taken(http: httpx2.Client, content: bytes) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert http.post("/v1/jobs", content=content, headers=headers).status_code == 202


def test_many_broken_rules_cost_few_explanations(http: httpx2.Client) -> None:
    body = json.dumps({f"f{number}": 1 for number in range(80_000)}).encode()
    assert len(body) < MAX_BODY
    answer = http.post("/v1/jobs", content=body, headers=JSON)
    assert answer.status_code == 400
    assert 1 < len(answer.json()["errors"]) <= 20


def test_every_rule_that_is_broken_is_named(http: httpx2.Client) -> None:
    problem = http.post("/v1/jobs", json={"prompt": "", "n": 0, "size": "7x7", "colour": "red"}).json()
    assert [error["field"] for error in problem["errors"]] == ["prompt", "size", "n", "colour"]
    assert problem["detail"].startswith("prompt: ")
    assert "3 more" in problem["detail"]


def test_a_refused_size_names_one_that_passes(http: httpx2.Client) -> None:
    [error] = http.post("/v1/jobs", json={**BODY, "size": "1000x1000"}).json()["errors"]
    assert http.post("/v1/jobs", json={**BODY, "size": error["example"]}).status_code == 202


def test_a_refused_wait_names_field_limit_and_example(http: httpx2.Client) -> None:
    [error] = http.get(f"/v1/jobs/{SOME_ID}?wait=long").json()["errors"]
    assert error == {
        "field": "wait",
        "rule": "must be a number of seconds from 0 to 90; more counts as 90",
        "given": "long",
        "example": "30",
    }


def test_wrong_methods_name_the_right_ones(http: httpx2.Client) -> None:
    allowed = http.delete("/v1/jobs").headers["Allow"]
    assert {"GET", "POST"} <= set(allowed.split(", "))
