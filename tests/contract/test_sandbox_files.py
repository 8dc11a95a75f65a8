"""Uploaded files: through OpenAI's own SDK, held against OpenAI's published API, and what the sandbox keeps."""

from __future__ import annotations

from typing import Any, Final

import httpx2
import pytest
from openai import APIConnectionError, BadRequestError, InternalServerError, NotFoundError, OpenAI
from published_openapi import PublishedApi
from sandbox_kit import KEY, RunningSandbox

from sandbox.api_errors import ApiError
from sandbox.file_store import MOST_BYTES, MOST_FILES, DiskFile, FileStore

PATH: Final = "/v1/files"
AUTHORISED: Final = {"authorization": f"Bearer {KEY}"}


def upload(client: OpenAI, name: str = "a.png", content: bytes = b"some bytes", purpose: Any = "vision") -> str:
    return client.files.create(file=(name, content), purpose=purpose).id


@pytest.mark.parametrize("purpose", ["assistants", "fine-tune", "vision", "user_data"])
def test_an_uploaded_file_is_described_and_read_back(
    sandbox: RunningSandbox, openai_client: OpenAI, published_api: PublishedApi, purpose: Any
) -> None:
    content = bytes(range(256)) * 3
    created = openai_client.files.create(file=("süß \n.bin", content), purpose=purpose)
    assert (created.object, created.bytes, created.purpose) == ("file", 768, purpose)
    assert created.id.startswith("file-")
    assert openai_client.files.retrieve(created.id) == created
    assert openai_client.files.content(created.id).read() == content
    described = sandbox.http.get(f"{PATH}/{created.id}", headers=AUTHORISED).json()
    assert published_api.problems("OpenAIFile", described) == []
    assert "expires_at" not in described


def test_a_file_keeps_the_time_at_which_it_expires(openai_client: OpenAI, published_api: PublishedApi) -> None:
    expiry: Any = {"anchor": "created_at", "seconds": 3600}
    created = openai_client.files.create(file=("a.png", b"x"), purpose="vision", expires_after=expiry)
    assert created.expires_at == created.created_at + 3600
    assert published_api.problems("OpenAIFile", created.model_dump(exclude_none=True)) == []


def test_the_input_of_a_batch_is_json_lines_and_expires_after_thirty_days(openai_client: OpenAI) -> None:
    created = openai_client.files.create(file=("lines.jsonl", b"{}"), purpose="batch")
    assert created.expires_at == created.created_at + 30 * 86_400
    with pytest.raises(BadRequestError, match=r"Must be \.jsonl"):
        openai_client.files.create(file=("lines.json", b"{}"), purpose="batch")


def test_a_fault_of_an_endpoint_is_for_that_endpoint_alone(sandbox: RunningSandbox, openai_client: OpenAI) -> None:
    sandbox.add_fault({"status": 503}, match={"endpoint": "GET /v1/files/{file_id}"})
    file_id = upload(openai_client)
    assert openai_client.files.content(file_id).read() == b"some bytes"
    with pytest.raises(InternalServerError):
        openai_client.files.retrieve(file_id)
    assert openai_client.files.retrieve(file_id).id == file_id


@pytest.mark.parametrize(
    ("method", "path", "fault"),
    [
        ("POST", "/v1/files", {"drop": "before"}),
        ("POST", "/v1/files", {"drop": "middle"}),
        ("GET", "/v1/files/{file_id}/content", {"drop": "middle"}),
        ("GET", "/v1/files/{file_id}/content", {"hang": True}),
    ],
)
def test_an_answer_about_a_file_breaks_off_on_demand(
    sandbox: RunningSandbox, openai_client: OpenAI, method: str, path: str, fault: dict[str, object]
) -> None:
    file_id = upload(openai_client, content=bytes(3_000_000))
    sandbox.add_fault(fault, match={"endpoint": f"{method} {path}"})
    with pytest.raises((APIConnectionError, httpx2.HTTPError)):
        if method == "POST":
            upload(openai_client, "lost.png")
        else:
            openai_client.with_options(timeout=0.5).files.content(file_id).read()
    kept = [file["filename"] for file in sandbox.files()]
    assert ("lost.png" in kept) == (fault == {"drop": "middle"} and method == "POST")


def test_a_deleted_file_is_gone(sandbox: RunningSandbox, openai_client: OpenAI, published_api: PublishedApi) -> None:
    kept, gone = upload(openai_client, "kept.png"), upload(openai_client, "gone.png")
    deleted = sandbox.http.delete(f"{PATH}/{gone}", headers=AUTHORISED).json()
    assert deleted == {"id": gone, "object": "file", "deleted": True}
    assert published_api.problems("DeleteFileResponse", deleted) == []
    assert [file["id"] for file in sandbox.files()] == [kept]
    for ask in (openai_client.files.retrieve, openai_client.files.content, openai_client.files.delete):
        with pytest.raises(NotFoundError):
            ask(gone)
    openai_client.files.delete(kept)
    assert sandbox.files() == []


def test_all_files_are_listed_page_by_page(openai_client: OpenAI) -> None:
    ids = [upload(openai_client, f"{number}.png") for number in range(5)]
    assert [file.id for file in openai_client.files.list()] == ids[::-1]
    assert [file.id for file in openai_client.files.list(limit=2)] == ids[::-1]
    assert [file.id for file in openai_client.files.list(limit=2, order="asc")] == ids
    assert [file.id for file in openai_client.files.list(after=ids[1])] == [ids[0]]
    assert len(openai_client.files.list(limit=2).data) == 2


def test_files_of_one_purpose_are_listed(openai_client: OpenAI) -> None:
    upload(openai_client, purpose="vision")
    batch = upload(openai_client, "b.jsonl", purpose="batch")
    assert [file.id for file in openai_client.files.list(purpose="batch")] == [batch]


@pytest.mark.parametrize("files", [0, 1, 3])
def test_lists_conform_to_the_published_api(
    sandbox: RunningSandbox, openai_client: OpenAI, published_api: PublishedApi, files: int
) -> None:
    for _ in range(files):
        upload(openai_client)
    listed = sandbox.http.get(f"{PATH}?limit=2", headers=AUTHORISED).json()
    assert published_api.problems("ListFilesResponse", listed) == []
    assert (len(listed["data"]), listed["has_more"]) == (min(files, 2), files > 2)


@pytest.mark.parametrize(
    ("query", "status", "param"),
    [
        ("limit=0", 400, "limit"),
        ("limit=10001", 400, "limit"),
        ("limit=many", 400, "limit"),
        ("order=up", 400, "order"),
        ("sort=id", 400, "sort"),
        ("after=file-none", 404, "after"),
    ],
)
def test_an_unusable_list_request_is_refused(
    sandbox: RunningSandbox, published_api: PublishedApi, query: str, status: int, param: str
) -> None:
    answer = sandbox.http.get(f"{PATH}?{query}", headers=AUTHORISED)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert published_api.problems("ErrorResponse", answer.json()) == []


EXPIRY: Final = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
REFUSED: Final[list[tuple[dict[str, Any], str, str]]] = [
    ({}, "missing_required_parameter", "purpose"),
    ({"purpose": "fun"}, "invalid_value", "purpose"),
    ({"purpose": ["vision", "batch"]}, "duplicate_parameter", "purpose"),
    ({"purpose": "vision", "name": "x"}, "unknown_parameter", "name"),
    ({"purpose": "vision", "file": "text"}, "invalid_type", "file"),
    ({"purpose": "vision", **EXPIRY, "expires_after[anchor]": "now"}, "invalid_value", "expires_after[anchor]"),
    ({"purpose": "vision", **EXPIRY, "expires_after[seconds]": "3599"}, "invalid_value", "expires_after[seconds]"),
    ({"purpose": "vision", **EXPIRY, "expires_after[seconds]": "2592001"}, "invalid_value", "expires_after[seconds]"),
    ({"purpose": "vision", "expires_after[seconds]": "3600"}, "missing_required_parameter", "expires_after[anchor]"),
]


@pytest.mark.parametrize(("fields", "code", "param"), REFUSED, ids=[str(row[0]) for row in REFUSED])
def test_an_unusable_upload_is_refused_and_not_kept(
    sandbox: RunningSandbox, published_api: PublishedApi, fields: dict[str, Any], code: str, param: str
) -> None:
    answer = sandbox.post_form(fields, [("file", ("a.png", b"x", "image/png"))], PATH)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, code, param)
    assert published_api.problems("ErrorResponse", answer.json()) == []
    assert sandbox.files() == []


@pytest.mark.parametrize(
    ("names", "code", "param"),
    [(["file", "file"], "duplicate_parameter", "file"), (["photo"], "unknown_parameter", "photo")],
)
def test_anything_but_one_file_is_refused(sandbox: RunningSandbox, names: list[str], code: str, param: str) -> None:
    files = [(name, ("a.png", b"x", "image/png")) for name in names]
    error = sandbox.post_form({"purpose": "vision"}, files, PATH).json()["error"]
    assert (error["code"], error["param"]) == (code, param)


def test_an_upload_that_is_no_form_is_refused(sandbox: RunningSandbox) -> None:
    answer = sandbox.http.post(PATH, json={"purpose": "vision"}, headers=AUTHORISED)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_content_type")


@pytest.mark.parametrize(
    ("method", "path"), [("POST", ""), ("GET", ""), ("GET", "/x"), ("GET", "/x/content"), ("DELETE", "/x")]
)
def test_files_are_not_served_without_a_key(sandbox: RunningSandbox, method: str, path: str) -> None:
    answer = sandbox.http.request(method, PATH + path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


def test_an_sdk_error_names_the_parameter(openai_client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as caught:
        upload(openai_client, purpose="fun")
    assert (caught.value.param, caught.value.code) == ("purpose", "invalid_value")


def test_the_store_forgets_expired_files() -> None:
    now = [1000.0]
    store = FileStore(clock=lambda: now[0])
    short, long = store.add(b"x", "a", "vision", 60), store.add(b"y", "b", "vision")
    now[0] = 1059.9
    assert store.get(short.id) == short
    now[0] = 1060.0
    assert store.get(short.id) is None
    assert not store.delete(short.id)
    assert store.files() == [long]


def test_the_store_is_bounded_in_bytes_and_makes_room_when_files_go() -> None:
    store = FileStore()
    half = bytes(MOST_BYTES // 2)
    first, _ = store.add(half, "a", "vision"), store.add(half, "b", "vision")
    with pytest.raises(ApiError) as caught:
        store.add(b"x", "c", "vision")
    assert caught.value.body["error"]["code"] == "file_storage_full"
    store.delete(first.id)
    assert store.add(b"x", "c", "vision").filename == "c"


def test_the_store_is_bounded_in_files_and_expired_ones_make_room() -> None:
    now = [1000.0]
    store = FileStore(clock=lambda: now[0])
    for _ in range(MOST_FILES):
        store.add(b"", "a", "vision", 60)
    with pytest.raises(ApiError):
        store.add(b"", "a", "vision")
    now[0] = 1060.0
    last = store.add(b"", "b", "vision")
    assert store.files() == [last]


def test_what_a_batch_gave_is_read_back_and_counts_for_nothing_among_the_uploads() -> None:
    store, disk = FileStore(), DiskFile()
    for piece in (b"a" * 300_000, b"b" * 300_000):
        disk.append(piece)
    stored = store.add_output(disk, "output.jsonl")
    assert stored.content == b"a" * 300_000 + b"b" * 300_000
    assert [len(piece) for piece in stored.pieces()] == [262_144, 262_144, 75_712]
    store.add(bytes(MOST_BYTES), "a", "vision")
    assert store.delete(stored.id)
