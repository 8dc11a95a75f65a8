"""`POST /v1/uploads` over real HTTP: three ways in, and one table of everything that is refused."""

from __future__ import annotations

import hashlib
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import picture_kit as kit
import pytest
from api_kit import RunningApi, assert_documented

from api.problems import PROBLEM_TYPES
from imagequeue.errors import InputFault
from imagequeue.input_images import MAX_INPUT_BYTES
from imagequeue.inputs import InputStore
from imagequeue.objects import ObjectStore

Request = dict[str, Any]
"""Arguments for a POST to /v1/uploads."""
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def form(content: bytes, filename: str = "photo", declared: str = "application/octet-stream") -> Request:
    """The content as a form's file."""
    return {"files": {"file": (filename, content, declared)}}


def body(content: bytes | Iterator[bytes], declared: str = "image/png", **headers: str) -> Request:
    """The content as the whole body."""
    return {"content": content, "headers": {"Content-Type": declared, **headers}}


def multipart(content: bytes) -> Request:
    """A form written by hand."""
    return body(content, "multipart/form-data; boundary=b")


def part(headers: bytes = b'Content-Disposition: form-data; name="file"; filename="a.png"') -> bytes:
    """The start of a part."""
    return b"--b\r\n" + headers + b"\r\n\r\n"


def pieces(content: bytes) -> Iterator[bytes]:
    """The content as a chunked body."""
    yield from (content[start : start + 65_536] for start in range(0, len(content), 65_536))


REFUSED: list[tuple[str, Request, int, str]] = [
    ("empty file in a form", form(b""), 400, "input_empty"),
    ("empty body", body(b""), 400, "input_empty"),
    ("file of exactly 50 MB", form(kit.padded_png(MAX_INPUT_BYTES)), 413, "input_too_large"),
    ("body of exactly 50 MB", body(kit.padded_png(MAX_INPUT_BYTES)), 413, "input_too_large"),
    ("chunked body of 60 MB", body(pieces(bytes(60_000_000))), 413, "input_too_large"),
    ("form of 60 MB", form(bytes(60_000_000)), 413, "input_too_large"),
    ("text", form(b"just text"), 415, "input_not_an_image"),
    ("zeros", form(bytes(1000)), 415, "input_not_an_image"),
    ("text named .png", form(b"just text", "a.png", "image/png"), 415, "input_not_an_image"),
    ("a program", form(b"\x7fELF\2\1\1"), 415, "input_not_an_image"),
    ("GIF", form(kit.encoded("GIF", "L"), "a.gif", "image/gif"), 415, "input_wrong_type"),
    ("GIF named .png", form(kit.encoded("GIF", "L"), "a.png", "image/png"), 415, "input_wrong_type"),
    ("BMP", body(kit.encoded("BMP"), "image/bmp"), 415, "input_wrong_type"),
    ("TIFF", body(kit.encoded("TIFF"), "image/tiff"), 415, "input_wrong_type"),
    ("AVIF", body(kit.encoded("AVIF"), "image/avif"), 415, "input_wrong_type"),
    ("HEIC", body(b"\0\0\0\x18ftypheic\0\0\0\0", "image/heic"), 415, "input_wrong_type"),
    ("JPEG 2000", body(kit.encoded("JPEG2000"), "image/jp2"), 415, "input_wrong_type"),
    ("ICO", body(kit.encoded("ICO"), "image/x-icon"), 415, "input_wrong_type"),
    ("SVG", body(kit.SVG, "image/svg+xml"), 415, "input_wrong_type"),
    ("SVG named .png", form(kit.SVG, "a.png", "image/png"), 415, "input_wrong_type"),
    ("PDF", form(b"%PDF-1.7\n"), 415, "input_wrong_type"),
    ("HTML", form(kit.HTML, "a.png", "image/png"), 415, "input_wrong_type"),
    ("ZIP", form(kit.ZIP), 415, "input_wrong_type"),
    ("JPEG declared as PNG", form(kit.jpeg(), "a", "image/png"), 400, "input_mislabelled"),
    ("JPEG named .png", form(kit.jpeg(), "a.png"), 400, "input_mislabelled"),
    ("PNG declared as PNG, named .jpg", form(kit.png(), "a.jpg", "image/png"), 400, "input_mislabelled"),
    ("PNG declared as text", form(kit.png(), "a", "text/plain"), 400, "input_mislabelled"),
    ("WebP sent as image/jpeg", body(kit.webp(), "image/jpeg"), 400, "input_mislabelled"),
    ("PNG of no width", form(kit.header_only_png(0, 9)), 400, "input_zero_size"),
    ("JPEG of no height", form(kit.with_jpeg_size(kit.jpeg(), 9, 0)), 400, "input_zero_size"),
    ("PNG of 100 megapixels", form(kit.header_only_png(10_000, 10_000)), 400, "input_bomb"),
    ("PNG of 3.6 gigapixels", form(kit.header_only_png(60_000, 60_000)), 400, "input_bomb"),
    ("JPEG of 4.2 gigapixels", form(kit.with_jpeg_size(kit.jpeg(), 65_000, 65_000)), 400, "input_bomb"),
    ("WebP of 256 megapixels", form(kit.huge_webp(16_000, 16_000)), 400, "input_bomb"),
    ("PNG with 200 MB of zipped text", form(kit.with_comment_bomb()), 400, "input_truncated"),
    ("JPEG of 150 scans", form(kit.many_scans_jpeg(150)), 400, "input_truncated"),
    ("animated PNG", form(kit.animated("PNG")), 400, "input_animated"),
    ("animated WebP", form(kit.animated("WEBP")), 400, "input_animated"),
    ("half a PNG", form(kit.png()[:1500]), 400, "input_truncated"),
    ("PNG without its end", form(kit.png()[:-12]), 400, "input_truncated"),
    ("JPEG without its end", form(kit.jpeg()[:-2]), 400, "input_truncated"),
    ("half a WebP", form(kit.webp()[:500]), 400, "input_truncated"),
    ("only PNG's signature", form(kit.PNG_SIGNATURE), 400, "input_truncated"),
    ("PNG followed by a ZIP", form(kit.png() + kit.ZIP), 400, "input_polyglot"),
    ("PNG followed by HTML", form(kit.png() + kit.HTML), 400, "input_polyglot"),
    ("JPEG followed by a ZIP", form(kit.jpeg() + kit.ZIP), 400, "input_polyglot"),
    ("JPEG followed by a JPEG", form(kit.jpeg() + kit.jpeg()), 400, "input_polyglot"),
    ("WebP followed by HTML", form(kit.webp() + kit.HTML), 400, "input_polyglot"),
    ("urlencoded form", {"data": {"file": "1"}}, 415, "unsupported_media_type"),
    ("form with another name", {"files": {"image": ("a.png", kit.png())}}, 400, "invalid_request"),
    ("form with two files", {"files": [("file", ("a.png", kit.png()))] * 2}, 400, "invalid_request"),
    ("form with a file and a field", {**form(kit.png()), "data": {"a": "1"}}, 400, "invalid_request"),
    ("form whose file has no name", multipart(part(b'Content-Disposition: form-data; name="file"') + b"x\r\n--b--\r\n"),
     400, "invalid_request"),
    ("form that is empty", multipart(b"--b--\r\n"), 400, "invalid_request"),
    ("form cut off", multipart(part() + kit.png()), 400, "bad_request"),
    ("form without a boundary", body(kit.png(), "multipart/form-data"), 400, "bad_request"),
    ("form of 100 parts", multipart(part() * 100 + b"--b--\r\n"), 413, "body_too_large"),
    ("form with a field of 1 MB", {"data": {"file": "x" * 1_000_000}, "files": {"a": b""}}, 413, "body_too_large"),
    ("compressed body", body(kit.png(), **{"Content-Encoding": "gzip"}), 415, "unsupported_media_type"),
    ("text body", body(b"text", "text/plain"), 415, "unsupported_media_type"),
    ("untyped body", {"content": kit.png()}, 415, "unsupported_media_type"),
    ("announcement of nothing", {"json": {}}, 400, "invalid_request"),
    ("announcement without a hash", {"json": {"size_bytes": 1}}, 400, "invalid_request"),
    ("announcement of a short hash", {"json": {"sha256": "abc", "size_bytes": 1}}, 400, "invalid_request"),
    ("announcement of a path", {"json": {"sha256": f"../{SHA256}", "size_bytes": 1}}, 400, "invalid_request"),
    ("announcement of no bytes", {"json": {"sha256": SHA256, "size_bytes": 0}}, 400, "invalid_request"),
    ("announcement of 50 MB", {"json": {"sha256": SHA256, "size_bytes": MAX_INPUT_BYTES}}, 400, "invalid_request"),
    ("announcement of true bytes", {"json": {"sha256": SHA256, "size_bytes": True}}, 400, "invalid_request"),
    ("announcement of a key", {"json": {"sha256": SHA256, "size_bytes": 1, "key": "x"}}, 400, "invalid_request"),
    ("announcement cut off", body(b'{"sha256":', "application/json"), 400, "malformed_json"),
]  # fmt: skip


def digest(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("request_arguments", "mime_type"),
    [
        (form(kit.png(), "a.png", "image/png"), "image/png"),
        (form(kit.png()), "image/png"),
        (form(kit.jpeg(), "a.JPG", "image/jpeg"), "image/jpeg"),
        (form(kit.webp(), "ünï.webp"), "image/webp"),
        (form(kit.phone_jpeg(), "../../etc/a.jpeg", "image/jpg"), "image/jpeg"),
        (body(kit.png("RGBA")), "image/png"),
        (body(pieces(kit.webp(lossless=True)), "image/webp"), "image/webp"),
        (body(kit.jpeg(mode="L"), "image/jpeg; q=1"), "image/jpeg"),
    ],
    ids=["form", "form untyped", "form .JPG", "form .webp", "form path", "body", "body chunked", "body parameters"],
)
def test_an_upload_can_be_named_at_once(api: RunningApi, request_arguments: Request, mime_type: str) -> None:
    answer = api.http.post("/v1/uploads", **request_arguments)
    assert answer.status_code == 201, answer.text
    uploaded = answer.json()
    assert_documented(api.http.get("/openapi.json").json(), "UploadedImage", uploaded)
    assert (uploaded["mime_type"], uploaded["width"], uploaded["height"]) == (mime_type, *kit.SIZE)
    inputs = InputStore(ObjectStore(api.settings), api.settings)
    assert inputs.resolve(uploaded["image"], "image") == uploaded["image"]
    assert inputs.describe(uploaded["image"]).size_bytes == uploaded["size_bytes"]


def test_the_largest_upload_passes(api: RunningApi) -> None:
    content = kit.padded_png(MAX_INPUT_BYTES - 1)
    for request in (form(content), body(content)):
        answer = api.http.post("/v1/uploads", **request)
        assert answer.status_code == 201, answer.text
        assert answer.json()["image"] == f"upload:{digest(content)}"


def test_an_announced_file_is_put_into_storage_by_the_client(api: RunningApi, tmp_path: Path) -> None:
    content = kit.png(size=(33, 44))
    answer = api.http.post("/v1/uploads", json={"sha256": digest(content), "size_bytes": len(content)})
    assert answer.status_code == 201, answer.text
    target = answer.json()
    assert_documented(api.http.get("/openapi.json").json(), "UploadTarget", target)
    assert target["expires_in_seconds"] == api.settings.presigned_url_seconds
    sent = httpx2.request(
        target["method"], target["upload_url"], content=content, headers=target["headers"], trust_env=False
    )
    assert sent.status_code == 200, sent.text
    inputs = InputStore(ObjectStore(api.settings), api.settings)
    assert inputs.resolve(target["image"], "image") == f"upload:{digest(content)}"
    assert inputs.fetch_to(target["image"], tmp_path, "0")[0].read_bytes() == content


def test_refused_inputs(api: RunningApi) -> None:
    rows: list[tuple[str, int, str]] = []
    for name, request, _, _ in REFUSED:
        answer = api.http.post("/v1/uploads", **request)
        problem = answer.json()
        rows.append((name, answer.status_code, problem["code"]))
        assert problem["status"] == answer.status_code, name
        assert problem["detail"], name
        assert len(problem["detail"]) < 500, name
    table = [f"{name:34} | {status:6} | {code}" for name, status, code in rows]
    sys.stdout.write("\n".join(["", f"{'input':34} | status | code", *table, ""]))  # shown with -s
    assert rows == [(name, status, code) for name, _, status, code in REFUSED]
    assert len({name for name, *_ in rows}) >= 40


def test_every_code_of_an_input_has_a_documented_problem(api: RunningApi) -> None:
    assert {fault.value for fault in InputFault} <= set(PROBLEM_TYPES)
    seen = {code for *_, code in REFUSED if code.startswith("input_")}
    documented = str(api.http.get("/openapi.json").json()["paths"]["/v1/uploads"]["post"]["responses"])
    assert [code for code in seen if f"`{code}`" not in documented] == []


def test_a_refusal_names_the_limit_what_was_found_and_the_way_out(api: RunningApi) -> None:
    detail = api.http.post("/v1/uploads", **form(kit.encoded("GIF", "L"))).json()["detail"]
    assert detail == "file: PNG, JPEG and WebP are taken; this is a GIF. Convert it to PNG, JPEG or WebP."


def test_an_absurd_announced_length_is_refused_before_the_body_comes(api: RunningApi) -> None:
    head = (
        "POST /v1/uploads HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        "Content-Length: 10000000000\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", api.settings.api_port), timeout=30) as connection:
        connection.sendall(head.encode())
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answer:
            assert answer.readline().split()[1] == b"413"


def test_an_upload_that_breaks_off_leaves_nothing(narrow_api: RunningApi) -> None:
    api, spool = narrow_api, narrow_api.settings.spool_dir
    head = (
        "POST /v1/uploads HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        "Content-Length: 1000000\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", api.settings.api_port), timeout=30) as connection:
        connection.sendall(head.encode() + kit.png())
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answer:
            assert answer.readline().split()[1] == b"400"
    assert api.http.post("/v1/uploads", **form(kit.SVG)).status_code == 415
    assert list(spool.iterdir()) == []
