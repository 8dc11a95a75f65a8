"""Edits over real HTTP: the images that they name, those that are refused, and bodies that carry them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.client import HTTPConnection

import picture_kit as kit
import pytest
from api_kit import RunningApi, StandInWorker, assert_documented, data_url, refused, succeed, upload

from imagequeue.input_images import MAX_INPUT_BYTES
from sandbox.stack.ports import HOST

EDIT = {"type": "edit", "prompt": "Add a red boat"}
JSON_TYPE = {"Content-Type": "application/json"}


def test_an_edit_takes_every_source_that_a_client_may_name_and_stores_none_of_the_bytes(
    api: RunningApi, worker: StandInWorker
) -> None:
    made = api.submit()
    succeed(worker, made, kit.png(size=(80, 60)))
    sources = [
        upload(api),
        data_url(kit.jpeg()).replace("png", "jpeg", 1),
        f"job:{made}/0",
        "https://example.com/a.png",
    ]
    answer = api.http.post("/v1/jobs", json={**EDIT, "images": sources, "mask": data_url(kit.mask()), "n": 2})
    job = answer.json()
    assert (answer.status_code, job["type"], job["request"]["n"]) == (202, "edit", 2)
    kept = job["request"]["images"]
    assert kept[0] == sources[0]
    assert [source.partition(":")[0] for source in [*kept, job["request"]["mask"]]] == [
        *("upload", "upload", "upload", "https", "upload"),
    ]
    assert_documented(api.http.get("/openapi.json").json(), "JobView", job)


@pytest.mark.parametrize(
    ("fields", "code", "told"),
    [
        ({"images": ["/etc/passwd"]}, "input_bad_source", "images[0]"),
        ({"images": ["file:///etc/passwd"]}, "input_bad_source", "images[0]"),
        ({"images": [data_url(), "upload:" + "0" * 64]}, "input_missing", "images[1]"),
        ({"images": ["job:job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z/0"]}, "input_missing", "/v1/jobs/job_"),
        ({"images": ["http://127.0.0.1/a.png"]}, "url_forbidden", "images[0]"),
        ({"images": [data_url(b"text")]}, "input_not_an_image", "images[0]"),
        ({"images": ["data:image/png;base64,####"]}, "input_bad_source", "data: URL"),
        ({"images": [data_url()], "mask": data_url()}, "mask_without_alpha", "mask"),
        ({"images": [data_url()], "mask": data_url(kit.mask((32, 32)))}, "mask_size_mismatch", "mask"),
        ({"images": [data_url()], "mask": data_url(kit.mask(alpha=9))}, "mask_opaque", "mask"),
        ({"images": []}, "invalid_request", "images"),
        ({"images": [data_url()] * 9}, "invalid_request", "images"),
        ({"images": data_url()}, "invalid_request", "images"),
        ({}, "invalid_request", "images"),
        ({"images": [data_url()], "colour": "red"}, "invalid_request", "colour"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/sessions"])
def test_images_that_cannot_be_used_are_refused_before_anything_is_stored(
    api: RunningApi, path: str, fields: Mapping[str, object], code: str, told: str
) -> None:
    newest = [api.http.get(listed, params={"limit": "1"}).json() for listed in ("/v1/jobs", "/v1/sessions")]
    body = {**(EDIT if path == "/v1/jobs" else {"prompt": "x"}), **fields}
    assert told in refused(api.http.post(path, json=body), code)["detail"]
    assert newest == [api.http.get(listed, params={"limit": "1"}).json() for listed in ("/v1/jobs", "/v1/sessions")]


def edit_body(image: str) -> bytes:
    """An edit of one image."""
    return json.dumps({**EDIT, "images": [image]}).encode()


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/sessions"])
def test_the_largest_image_comes_in_a_data_url_whole_or_in_chunks(api: RunningApi, path: str) -> None:
    body = edit_body(data_url(kit.padded_png(MAX_INPUT_BYTES - 1)))
    if path == "/v1/sessions":
        body = body.replace(b'"type": "edit", ', b"")

    def chunks() -> Iterator[bytes]:
        yield from (body[start : start + 65_536] for start in range(0, len(body), 65_536))

    for content in (body, chunks()):
        answer = api.http.post(path, content=content, headers=JSON_TYPE)
        assert answer.status_code == 202, answer.text
        assert len(answer.content) < 4000


@pytest.mark.parametrize(
    ("image", "code", "told"),
    [
        (data_url(kit.padded_png(MAX_INPUT_BYTES)), "input_too_large", "images[0]"),
        (f"data:image/png;base64,{'A' * 67_108_864}", "body_too_large", "POST /v1/uploads"),
        (f"data:image/png;base64,{'A' * 80_000_000}", "body_too_large", "POST /v1/uploads"),
    ],
    ids=["an image of 50 MB", "a body just too large", "a body of 80 MB"],
)
def test_an_image_that_is_too_large_is_refused_and_the_client_told(
    api: RunningApi, image: str, code: str, told: str
) -> None:
    # Unlike httpx2, this client looks for an answer only after it has sent all.
    connection = HTTPConnection(HOST, api.settings.api_port, timeout=60)
    with closing(connection):
        connection.request("POST", "/v1/jobs", edit_body(image), JSON_TYPE)
        answer = connection.getresponse()
        problem = json.loads(answer.read())
    assert (answer.status, problem["code"]) == (413, code)
    assert told in problem["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"[]," * 700_000 + b"[]]",
        b'{"prompt": "' + b"a" * 2_000_000 + b'"}',
        b'{"images": [' + b'"data:",' * 300_000 + b'"data:"]}',
        b'{"a":"data:' + b'\\"data:' * 300_000 + b'"}',
    ],
    ids=["arrays", "a prompt", "many tiny data URLs", "data URLs with quotes"],
)
def test_only_data_urls_may_exceed_the_limit_of_a_body(api: RunningApi, body: bytes) -> None:
    answer = api.http.post("/v1/jobs", content=body, headers=JSON_TYPE)
    assert "besides data: URLs" in refused(answer, "body_too_large")["detail"]


def test_a_data_url_with_escaped_slashes_is_one_too(api: RunningApi) -> None:
    large = kit.padded_png(2_000_000)
    body = edit_body(data_url(large)).replace(b"/", b"\\/")
    assert api.http.post("/v1/jobs", content=body, headers=JSON_TYPE).status_code == 202
