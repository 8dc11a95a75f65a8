"""Whatever an image comes from, what a job holds is checked, kept once under its hash, and comes back byte for byte."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx2
import picture_kit as kit
import pytest
from api_kit import settings_of
from web_kit import answer, running_web

from imagequeue.errors import ImageNotFound, InvalidInput
from imagequeue.inputs import InputStore
from imagequeue.objects import ObjectStore
from imagequeue.settings import Settings


def digest(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def data_url(content: bytes, declared: str = "image/png") -> str:
    """The content in a data: URL."""
    return f"data:{declared};base64,{base64.b64encode(content).decode()}"


def unique(number: int) -> bytes:
    """A PNG that no other test has stored."""
    return kit.png().replace(kit.IEND, kit.chunk(b"tEXt", b"test\0%d" % number) + kit.IEND)


@pytest.fixture
def settings(service_environment: Mapping[str, str], tmp_path: Path) -> Settings:
    """Settings with a spool folder of this test's own."""
    return settings_of({**service_environment, "IMAGEQUEUE_SPOOL_DIR": str(tmp_path / "spool")})


@pytest.fixture
def objects(settings: Settings) -> ObjectStore:
    """The real S3."""
    return ObjectStore(settings)


@pytest.fixture
def inputs(objects: ObjectStore, settings: Settings) -> InputStore:
    """Inputs over the real S3."""
    return InputStore(objects, settings)


def refusal(call: Callable[[], object]) -> InvalidInput:
    """How a call is refused."""
    with pytest.raises(InvalidInput) as caught:
        call()
    return caught.value


def put(inputs: InputStore, content: bytes, announced: bytes | None = None) -> str:
    """Send content to the presigned URL for `announced`, and name it."""
    sha256 = digest(content if announced is None else announced)
    upload = inputs.presigned_upload(sha256, len(content), "application/octet-stream")
    sent = httpx2.put(upload.url, content=content, headers=upload.headers, trust_env=False)
    assert sent.status_code == 200, sent.text
    return f"upload:{sha256}"


def test_a_file_is_kept_under_its_hash_and_comes_back_byte_for_byte(inputs: InputStore, tmp_path: Path) -> None:
    content = unique(1)
    path = tmp_path / "mine.png"
    path.write_bytes(content)
    image = inputs.store_file(path, "image/png", "image")
    assert path.read_bytes() == content
    source = f"upload:{digest(content)}"
    assert inputs.resolve(source, "image") == source
    assert inputs.describe(source) == image
    fetched, described = inputs.fetch_to(source, tmp_path, "0")
    assert (fetched.name, fetched.read_bytes(), described) == ("0.png", content, image)


@pytest.mark.parametrize(
    ("content", "name"),
    [(kit.png(), "0.png"), (kit.jpeg(), "0.jpg"), (kit.webp(), "0.webp")],
    ids=["png", "jpg", "webp"],
)
def test_a_data_url_becomes_an_upload(inputs: InputStore, tmp_path: Path, content: bytes, name: str) -> None:
    kind = {"0.png": "image/png", "0.jpg": "image/jpeg", "0.webp": "image/webp"}[name]
    source = inputs.resolve(data_url(content, kind), "image")
    assert source == f"upload:{digest(content)}"
    fetched, _ = inputs.fetch_to(source, tmp_path, "0")
    assert (fetched.name, fetched.read_bytes()) == (name, content)


@pytest.mark.parametrize("start", ["data:;base64,", "DATA:image/png;Base64,", "data:image/png;name=a.png;base64,"])
def test_a_data_url_may_be_written_in_several_ways(inputs: InputStore, start: str) -> None:
    source = start + base64.b64encode(kit.png()).decode()
    assert inputs.resolve(source, "image") == f"upload:{digest(kit.png())}"


def test_the_same_bytes_are_stored_once(inputs: InputStore, objects: ObjectStore) -> None:
    content = unique(2)
    source = inputs.resolve(data_url(content), "image")
    objects.put_bytes(f"inputs/{digest(content)}", b"marker", content_type="image/png", filename="marker")
    assert inputs.resolve(data_url(content), "image") == source
    assert objects.get_bytes(f"inputs/{digest(content)}") == b"marker"


def test_an_object_without_a_sidecar_does_not_count_as_checked(inputs: InputStore, objects: ObjectStore) -> None:
    content = unique(3)
    objects.put_bytes(f"inputs/{digest(content)}", content, content_type="image/png", filename="half")
    assert refusal(lambda: inputs.resolve(f"upload:{digest(content)}", "image")).code == "input_missing"


def test_a_refused_image_is_not_kept(inputs: InputStore, objects: ObjectStore) -> None:
    content = unique(4) + kit.ZIP
    assert refusal(lambda: inputs.resolve(data_url(content), "mask")).code == "input_polyglot"
    for key in (f"inputs/{digest(content)}", f"inputs/{digest(content)}.json"):
        with pytest.raises(ImageNotFound):
            objects.size(key)


def test_a_presigned_put_is_checked_at_its_first_use(inputs: InputStore, objects: ObjectStore, tmp_path: Path) -> None:
    content = unique(5)
    source = put(inputs, content)
    assert refusal(lambda: inputs.describe(source)).code == "input_missing"
    assert inputs.resolve(source, "image") == source
    assert inputs.fetch_to(source, tmp_path, "0")[0].read_bytes() == content
    with pytest.raises(ImageNotFound):
        objects.size(f"uploads/{digest(content)}")


def test_a_presigned_put_of_other_bytes_is_refused_and_can_be_repeated(inputs: InputStore) -> None:
    content = unique(6)
    source = put(inputs, kit.png(), announced=content)
    error = refusal(lambda: inputs.resolve(source, "images[1]"))
    assert error.code == "input_hash_mismatch"
    assert digest(kit.png()) in str(error)
    put(inputs, content)
    assert inputs.resolve(source, "images[1]") == source


def test_what_is_put_after_the_check_changes_nothing(inputs: InputStore, tmp_path: Path) -> None:
    content = unique(7)
    source = put(inputs, content)
    inputs.resolve(source, "image")
    put(inputs, kit.HTML, announced=content)
    inputs.resolve(source, "image")
    assert inputs.fetch_to(source, tmp_path, "0")[0].read_bytes() == content


@pytest.mark.parametrize(
    ("content", "code"), [(kit.SVG, "input_wrong_type"), (kit.png()[:-30], "input_truncated")], ids=["svg", "cut"]
)
def test_a_presigned_put_of_a_bad_image_is_refused(inputs: InputStore, content: bytes, code: str) -> None:
    source = put(inputs, content)
    assert refusal(lambda: inputs.resolve(source, "image")).code == code
    assert refusal(lambda: inputs.describe(source)).code == "input_missing"


def test_many_first_uses_at_once_all_succeed(inputs: InputStore) -> None:
    source = put(inputs, unique(8))
    results: list[str] = []
    threads = [threading.Thread(target=lambda: results.append(inputs.resolve(source, "image"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [source] * 8


def test_a_url_is_left_for_the_worker_then_fetched_checked_and_kept(
    objects: ObjectStore, settings: Settings, tmp_path: Path
) -> None:
    content = unique(9)
    with running_web() as web:
        url = web.serve("/picture.gif", answer(content, Content_Type="image/jpeg"))  # servers say many things
        inputs = InputStore(objects, settings.model_copy(update={"input_origins": web.origin}))
        assert inputs.resolve(url, "images[0]") == url
        assert web.connections == 0
        fetched, image = inputs.fetch_to(url, tmp_path, "0")
    assert (fetched.name, fetched.read_bytes(), image.sha256) == ("0.png", content, digest(content))
    assert inputs.describe(f"upload:{digest(content)}") == image


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (kit.HTML, "input_wrong_type"),
        (kit.png()[:99], "input_truncated"),
        (b"", "input_empty"),
        (b"no", "input_not_an_image"),
    ],
    ids=["html", "cut", "empty", "text"],
)
def test_what_a_url_gives_is_checked_like_an_upload(
    objects: ObjectStore, settings: Settings, tmp_path: Path, body: bytes, code: str
) -> None:
    with running_web() as web:
        url = web.serve("/picture.png", answer(body))
        inputs = InputStore(objects, settings.model_copy(update={"input_origins": web.origin}))
        error = refusal(lambda: inputs.fetch_to(url, tmp_path, "0", "images[3]"))
    assert error.code == code
    assert str(error).startswith("images[3]: ")


def test_a_jobs_output_is_adopted_by_its_hash(inputs: InputStore, objects: ObjectStore, tmp_path: Path) -> None:
    content = unique(10)
    objects.put_bytes("images/job_1/1/0.png", content, content_type="image/png", filename="0.png")
    source = inputs.adopt("images/job_1/1/0.png", digest(content))
    objects.delete("images/job_1/1/0.png")
    assert inputs.adopt("images/job_1/1/0.png", digest(content)) == source
    assert inputs.fetch_to(source, tmp_path, "0")[0].read_bytes() == content


def test_an_output_that_is_gone_or_other_is_not_adopted(inputs: InputStore, objects: ObjectStore) -> None:
    objects.put_bytes("images/job_2/1/0.png", kit.png(), content_type="image/png", filename="0.png")
    assert refusal(lambda: inputs.adopt("images/job_2/1/0.png", digest(b"x"))).code == "input_hash_mismatch"
    assert refusal(lambda: inputs.adopt("images/job_3/1/0.png", digest(b"x"))).code == "input_missing"


def test_stored_bytes_that_changed_are_not_handed_out(inputs: InputStore, objects: ObjectStore, tmp_path: Path) -> None:
    source = inputs.resolve(data_url(unique(11)), "image")
    key = f"inputs/{source.removeprefix('upload:')}"
    objects.put_bytes(key, kit.png(), content_type="image/png", filename="other")
    assert refusal(lambda: inputs.fetch_to(source, tmp_path, "0")).code == "input_hash_mismatch"
    objects.delete(key)
    assert refusal(lambda: inputs.fetch_to(source, tmp_path, "0")).code == "input_missing"


@pytest.mark.parametrize(
    "source",
    [
        "",
        "photo.png",
        "/etc/passwd",
        "../../etc/passwd",
        "C:\\photo.png",
        "~/photo.png",
        "file:///etc/passwd",
        "ftp://example.com/a.png",
        "s3://bucket/key",
        "javascript:alert(1)",
        "upload:",
        "upload:../jobs",
        "upload:" + "A" * 64,
        "upload:" + "a" * 63,
        "upload:" + "a" * 64 + "\n",
        "Upload:" + "a" * 64,
        "job:job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z/0",
        "data:image/png,raw",
        "data:image/png;base64",
        "data:image/png;base64,a=b=c",
        "data:image/png;base64,????",
        base64.b64encode(kit.png()).decode(),
    ],
    ids=lambda source: repr(source)[:40],
)
def test_anything_else_is_no_source_and_the_refusal_says_what_is(inputs: InputStore, source: str) -> None:
    error = refusal(lambda: inputs.resolve(source, "images[0]"))
    assert error.code == "input_bad_source"
    assert str(error).startswith("images[0]: ")
    assert len(str(error)) < 400
    assert "upload:<sha256>" in str(error) or "data:image/png;base64," in str(error)
    assert refusal(lambda: inputs.describe(source)).code == "input_bad_source"


def test_no_file_stays_in_the_spool(inputs: InputStore, settings: Settings) -> None:
    inputs.resolve(data_url(unique(12)), "image")
    refusal(lambda: inputs.resolve(data_url(kit.SVG), "image"))
    inputs.resolve(put(inputs, unique(13)), "image")
    assert list(settings.spool_dir.iterdir()) == []


@pytest.mark.parametrize(("size", "code"), [(0, "input_empty"), (50_000_000, "input_too_large")])
def test_no_url_is_presigned_for_a_file_that_would_be_refused(inputs: InputStore, size: int, code: str) -> None:
    assert refusal(lambda: inputs.presigned_upload("a" * 64, size, "image/png")).code == code


def test_a_presigned_put_cannot_be_used_for_another_object(inputs: InputStore) -> None:
    upload = inputs.presigned_upload("a" * 64, 3, "image/png")
    assert "content-type" in upload.url
    assert "content-length" in upload.url
    other = upload.url.replace("a" * 64, "b" * 64)
    assert httpx2.put(other, content=b"abc", headers=upload.headers, trust_env=False).status_code == 403
