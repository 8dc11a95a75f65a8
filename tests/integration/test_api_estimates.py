"""POST /v1/estimates takes a manifest in every form, tells every bad line, and changes nothing."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import httpx2
import pytest
from api_kit import RunningApi, assert_documented, refused
from keyed_kit import Person
from manifest_kit import jsonl

from imagequeue.api_answers import ApiProblem
from imagequeue.async_client import AsyncClient
from imagequeue.client import Client
from imagequeue.estimate_views import EstimateView
from imagequeue.store.connection import connect
from imagequeue.store.keys import Keys

PATH: Final = "/v1/estimates"
LOW: Final = {"prompt": "A cat", "size": "1024x1024", "quality": "low"}
JSONL: Final = {"Content-Type": "application/jsonl"}
CSV: Final = {"Content-Type": "text/csv; charset=utf-8"}


def estimate(api: RunningApi, body: object = None, **request: Any) -> dict[str, Any]:
    """The answer to a request that is good."""
    answer = api.http.post(PATH, json=body, **request) if body is not None else api.http.post(PATH, **request)
    assert answer.status_code == 200, answer.text
    assert_documented(api.http.get("/openapi.json").json(), "EstimateView", answer.json())
    return cast("dict[str, Any]", answer.json())


def ids(found: Mapping[str, Any]) -> list[str]:
    """The names of the first lines."""
    return [line["custom_id"] for line in found["preview"]]


def test_the_body_of_a_job_is_priced_as_the_job_itself(api: RunningApi) -> None:
    body = {**LOW, "n": 3}
    found = estimate(api, body)
    job = api.http.post("/v1/jobs", json=body).json()["estimate"]
    assert {name: found[name] for name in job} == job
    assert (found["lines"], found["images"], found["bound"]) == (1, 3, "one_call")
    assert refused(api.http.post(PATH, json={"prompt": ""}), "invalid_request")["errors"][0]["field"] == "prompt"


FORMS: Final[Mapping[str, Mapping[str, Any]]] = {
    "JSONL": {"content": jsonl({**LOW, "custom_id": "a"}, {**LOW, "custom_id": "b"}), "headers": JSONL},
    "NDJSON, chunked": {
        "content": iter([jsonl({**LOW, "custom_id": "a"}), jsonl({**LOW, "custom_id": "b"})]),
        "headers": {"Content-Type": "application/x-ndjson"},
    },
    "CSV": {
        "content": b"custom_id,prompt,size,quality\na,A cat,1024x1024,low\nb,A cat,1024x1024,low\n",
        "headers": CSV,
    },
    "an array": {"json": [{**LOW, "custom_id": "a"}, {**LOW, "custom_id": "b"}]},
    "lines": {"json": {"skip_invalid": False, "lines": [{**LOW, "custom_id": "a"}, {**LOW, "custom_id": "b"}]}},
    "a template": {
        "json": {
            "variables": [{"name": "a"}, {"name": "b"}],
            "template": {**LOW, "prompt": "A cat", "custom_id": "{name}"},
        }
    },
    "combinations": {
        "json": {"variables": {"name": ["a", "b"]}, "template": {**LOW, "custom_id": "{name}"}, "max_cost_usd": 1}
    },
    "a template beside a table": {
        "content": b"name\na\nb\n",
        "headers": CSV,
        "params": {"template": json.dumps({**LOW, "custom_id": "{name}"})},
    },
    "a form": {
        "files": {"file": ("m.jsonl", jsonl({**LOW, "custom_id": "a"}, {**LOW, "custom_id": "b"}))},
        "data": {"skip_invalid": "true", "max_cost_usd": "2.5"},
    },
    "a form with a table and a template": {
        "files": {"file": ("m.csv", b"name,quality\na,low\nb,low\n", "text/csv")},
        "data": {"template": json.dumps({"prompt": "A cat", "size": "1024x1024", "custom_id": "{name}"})},
    },
    "OpenAI's own": {
        "content": jsonl(
            *(
                {"custom_id": name, "method": "POST", "url": "/v1/images/generations", "body": LOW}
                for name in ("a", "b")
            )
        ),
        "headers": JSONL,
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_manifest_gives_the_same_figures(api: RunningApi, form: str) -> None:
    found = estimate(api, **FORMS[form])
    assert (found["lines"], found["images"], ids(found)) == (2, 2, ["a", "b"])
    assert (found["low_usd"], found["expected_usd"], found["high_usd"]) == (0.01178, 0.01178, 0.01178)
    assert found["preview"][0]["request"]["prompt"] == "A cat"
    assert (found["skipped_lines"], found["skipped"]) == (0, [])


def test_a_manifest_that_was_put_into_s3_is_used_by_its_name_and_by_its_owner_only(
    admin: Person, keyed_api: RunningApi
) -> None:
    first, second = admin.issue(owner="..", name="first"), admin.issue(name="second")
    for name, content in (
        ("spring.csv", b"name\na\nb\n"),
        ("spring.jsonl", jsonl({"name": "a"}, {"name": "b"})),
        ("spring.json", b'[{"name": "a"}, {"name": "b"}]'),
    ):
        put = keyed_api.http.put(f"/v1/manifests/{name}", content=content, headers=first.header)
        assert put.status_code == 201, put.text
        url = put.json()["manifest"]
        body = {"manifest": url, "template": {**LOW, "custom_id": "{name}"}}
        found = first.ask("POST", PATH, body)
        assert found.status_code == 200, found.text
        assert ids(found.json()) == ["a", "b"]
        refused(second.ask("POST", PATH, body), "manifest_not_found")
    bucket = keyed_api.settings.s3_bucket
    for wrong in (f"s3://{bucket}/manifests/../inputs/x.jsonl", "s3://other/x.jsonl", "/etc/passwd", "", f"{url}x"):
        refused(first.ask("POST", PATH, {"manifest": wrong}), "manifest_not_found")


@pytest.mark.parametrize("name", ["..", "a.txt", ".jsonl", "a%2Fb.jsonl", "a" * 101 + ".csv", "ü.csv"])
def test_a_manifest_is_not_kept_under_a_bad_name(api: RunningApi, name: str) -> None:
    answer = api.http.put(f"/v1/manifests/{name}", content=b"prompt\nA\n")
    assert answer.status_code in (400, 404), answer.text


def test_every_bad_line_is_told_in_one_answer_and_may_be_left_out(api: RunningApi) -> None:
    lines: list[object] = [{**LOW, "custom_id": "a"}, {"prompt": ""}, {**LOW, "custom_id": "a", "n": 0}, LOW]
    problem = refused(api.http.post(PATH, content=jsonl(*lines) + b"no\n", headers=JSONL), "invalid_manifest")
    assert_documented(api.http.get("/openapi.json").json(), "Problem", problem)
    assert problem["bad_lines"] == 3
    assert [(line["line"], line["field"]) for line in problem["lines"]] == [
        (2, "prompt"),
        (3, "custom_id"),
        (3, "n"),
        (5, "line"),
    ]
    assert all(line["rule"] and line["example"] for line in problem["lines"])
    found = estimate(api, content=jsonl(*lines), headers=JSONL, params={"skip_invalid": "true"})
    assert (found["lines"], found["skipped_lines"], ids(found)) == (2, 2, ["a", "line-00004"])
    assert [line["line"] for line in found["skipped"]] == [2, 3, 3]


def test_only_the_first_of_very_many_bad_lines_are_told(api: RunningApi) -> None:
    problem = refused(api.http.post(PATH, content=b"{}\n" * 1500, headers=JSONL), "invalid_manifest")
    assert (problem["bad_lines"], len(problem["lines"])) == (1500, 200)


@pytest.mark.parametrize("source", ["/etc/passwd", "file:///etc/passwd", "http://127.0.0.1/x.png", "data:image/png,x"])
def test_sources_and_webhooks_that_a_submit_would_refuse_are_bad_lines(api: RunningApi, source: str) -> None:
    edit = {"type": "edit", "prompt": "A hat", "images": ["https://example.com/a.png", source]}
    problem = refused(api.http.post(PATH, json={"lines": [edit]}), "invalid_manifest")
    assert [line["field"] for line in problem["lines"]] == ["images[1]"]
    hooked = {**LOW, "webhook": "http://127.0.0.1/"}
    problem = refused(api.http.post(PATH, json={"lines": [hooked]}), "invalid_manifest")
    assert [line["field"] for line in problem["lines"]] == ["webhook"]


REFUSED: Final[Mapping[str, tuple[Mapping[str, Any], str, str]]] = {
    "no lines": ({"json": {"max_cost_usd": 1, "lines": []}}, "invalid_manifest", "manifest"),
    "lines twice over": ({"json": {"lines": [LOW], "manifest": "s3://a/b.csv"}}, "invalid_request", "body"),
    "a template alone": ({"json": {"template": "A {cat}"}}, "invalid_request", "body"),
    "variables alone": ({"json": {"variables": [{"a": 1}]}}, "invalid_request", "template"),
    "lines that are none": ({"json": {"lines": "no"}}, "invalid_request", "lines"),
    "an unknown option": ({"json": {"lines": [LOW], "colour": 1}}, "invalid_request", "colour"),
    "an option of the wrong kind": ({"json": {"lines": [LOW], "window": 0}}, "invalid_request", "window"),
    "an option twice": (
        {"json": {"lines": [LOW], "window": 1}, "params": {"window": "2"}},
        "invalid_request",
        "window",
    ),
    "a name twice": (
        {"content": b'{"lines": [], "lines": []}', "headers": {"Content-Type": "application/json"}},
        "invalid_request",
        "lines",
    ),
    "a variable without values": (
        {"json": {"template": "{a}", "variables": {"a": []}}},
        "invalid_request",
        "variables.a",
    ),
    "a broken array": (
        {"content": b'{"lines": [{"prompt": "A"}', "headers": {"Content-Type": "application/json"}},
        "malformed_json",
        "",
    ),
    "something behind": (
        {"content": b'{"lines": []} {}', "headers": {"Content-Type": "application/json"}},
        "malformed_json",
        "",
    ),
    "another type": ({"content": b"prompt\n", "headers": {"Content-Type": "text/plain"}}, "unsupported_media_type", ""),
    "packed": (
        {"content": b"prompt\n", "headers": {"Content-Type": "text/csv", "Content-Encoding": "gzip"}},
        "unsupported_media_type",
        "",
    ),
    "a form without a file": ({"files": {"other": b"x"}}, "invalid_request", "file"),
    "lines beside a file": ({"files": {"file": b"x"}, "data": {"lines": "x"}}, "invalid_request", "lines"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_manifest_is_refused(api: RunningApi, case: str) -> None:
    request, code, field = REFUSED[case]
    problem = refused(api.http.post(PATH, **request), code)
    assert (problem.get("errors") or problem.get("lines") or [{"field": ""}])[0]["field"] == field


def test_a_body_that_is_too_long_is_refused_as_a_whole_or_by_the_line(api: RunningApi) -> None:
    body = b'{"template": "' + b"x" * 1_100_000 + b'", "variables": []}'
    refused(api.http.post(PATH, content=body, headers={"Content-Type": "application/json"}), "invalid_request")
    long_line = jsonl(LOW, {"prompt": "x" * 1_100_000}, LOW)
    problem = refused(api.http.post(PATH, content=long_line, headers=JSONL), "invalid_manifest")
    assert [(line["line"], line["field"]) for line in problem["lines"]] == [(2, "line")]


def test_more_bytes_than_the_setting_allows_are_refused(start_own_api: Any) -> None:
    api = start_own_api(IMAGEQUEUE_MAX_MANIFEST_BYTES="2000", IMAGEQUEUE_API_PROCESSES="1")
    assert api.http.post(PATH, content=jsonl(LOW), headers=JSONL).status_code == 200
    long = jsonl(*[LOW] * 100)
    refused(api.http.post(PATH, content=long, headers=JSONL), "body_too_large")
    refused(api.http.post(PATH, content=iter([long]), headers=JSONL), "body_too_large")
    refused(api.http.put("/v1/manifests/a.jsonl", content=long), "body_too_large")
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=a\r\n"
        "Content-Length: 10000000000\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", api.settings.api_port), timeout=30) as connection:
        connection.sendall(head.encode())
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answer:
            assert answer.readline().split()[1] == b"413"


def test_the_time_follows_the_limits_of_the_account_and_what_calls_took_lately(empty_api: RunningApi) -> None:
    client, keys = connect(empty_api.settings.redis_url), Keys(empty_api.settings.key_prefix)
    body = {"lines": [LOW] * 500}
    free = estimate(empty_api, body)
    assert (free["bound"], free["images_per_minute"]) == ("calls_at_once", None)
    assert any("No limit of images per minute is known" in note for note in free["notes"])
    client.hset(keys.durations, mapping={"gpt-image-2:low:usual": "6000:20"})
    assert estimate(empty_api, {"lines": [LOW]})["seconds"] == 6
    assert estimate(empty_api, {**body, "window": 10})["seconds"] == 300
    client.hset(keys.limiter, mapping={"limit_images": "20"})
    limited = estimate(empty_api, body)
    client.close()
    assert limited["summary"] == "500 images at 20 per minute: about 25 min, $2.94"
    assert (limited["seconds"], limited["bound"], limited["images_per_minute"]) == (1506, "images_per_minute", 20)
    economy = estimate(empty_api, {**body, "completion_window": "24h"})
    assert economy["summary"] == "500 images: within 24 h, $1.47"
    assert (economy["bound"], economy["expected_usd"]) == ("completion_window", limited["expected_usd"] / 2)


def test_what_exceeds_a_budget_is_told_before_anything_is_spent(admin: Person) -> None:
    person = admin.issue(limits={"daily_budget_usd": 0.03, "monthly_budget_usd": 100})
    person.submit(**LOW)
    lines = [LOW] * 10
    found = person.ask("POST", PATH, {"lines": lines, "max_cost_usd": 0.0059}).json()
    limits = {limit["name"]: limit for limit in found["limits"]}
    assert {name: (limit["exceeded"], limit["covered_lines"]) for name, limit in limits.items()} == {
        "max_cost_usd": ("certain", 1),
        "daily_budget_usd": ("certain", 4),
        "monthly_budget_usd": ("no", 10),
    }
    assert limits["daily_budget_usd"]["left_usd"] == pytest.approx(0.03 - 0.00589)
    open_size = person.ask("POST", PATH, {"lines": [{"prompt": "A cat"}], "max_cost_usd": 0.1}).json()
    assert open_size["limits"][0]["exceeded"] == "possible"


def test_nothing_is_left_on_the_servers_disk(narrow_api: RunningApi) -> None:
    estimate(narrow_api, {"lines": [LOW]})
    refused(narrow_api.http.post(PATH, content=b"x", headers=JSONL), "invalid_manifest")
    assert not list(narrow_api.settings.spool_dir.iterdir())


def test_a_client_that_hangs_up_in_the_middle_gets_no_estimate(api: RunningApi) -> None:
    def cut_off() -> Any:
        yield jsonl(LOW)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        api.http.post(PATH, content=cut_off(), headers=JSONL)
    with httpx2.Client(base_url=api.url) as client:
        assert client.post(PATH, json=LOW).status_code == 200


def test_the_clients_price_files_requests_and_what_they_put_there(api: RunningApi, tmp_path: Path) -> None:
    (tmp_path / "lines.jsonl").write_bytes(jsonl(LOW, LOW))
    (tmp_path / "values.csv").write_bytes(b"name\na\nb\n")
    template = {**LOW, "custom_id": "{name}"}

    async def asked() -> list[EstimateView]:
        async with AsyncClient(api.url) as client:
            kept = await client.manifests.put(tmp_path / "values.csv")
            return [
                await client.manifests.estimate(tmp_path / "lines.jsonl", skip_invalid=True),
                await client.manifests.estimate({"manifest": kept.manifest, "template": template}),
            ]

    with Client(api.url) as client:
        kept = client.manifests.put(tmp_path / "values.csv", "spring.csv")
        found = [
            client.manifests.estimate(tmp_path / "lines.jsonl", max_cost_usd=1),
            client.manifests.estimate(tmp_path / "values.csv", template=template),
            client.manifests.estimate([LOW, LOW], window=3),
            client.manifests.estimate({"manifest": kept.manifest, "template": template}),
            *asyncio.run(asked()),
        ]
        with pytest.raises(ApiProblem) as caught:
            client.manifests.estimate([{"prompt": ""}])
    assert {(one.lines, one.expected_usd) for one in found} == {(2, 0.01178)}
    assert caught.value.code == "invalid_manifest"
    assert [(line.line, line.field) for line in caught.value.lines] == [(1, "prompt")]
