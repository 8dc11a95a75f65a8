"""A validated manifest rests in S3 in chunks, and any of its lines comes back from there."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from pathlib import Path

import pytest
from api_kit import settings_of
from manifest_kit import good, jsonl, read
from picture_kit import png

from imagequeue.errors import ImageNotFound
from imagequeue.manifests.lines import SHOWN_BAD_LINES, InvalidManifest
from imagequeue.manifests.store import ManifestStore, manifest_folder
from imagequeue.objects import ObjectStore
from imagequeue.requests import EditRequest
from imagequeue.service import open_queue


@pytest.fixture
def objects(service_environment: Mapping[str, str]) -> ObjectStore:
    """The real S3."""
    return ObjectStore(settings_of(service_environment))


@pytest.fixture
def store(objects: ObjectStore, tmp_path: Path) -> ManifestStore:
    """Manifests over the real S3."""
    return ManifestStore(objects, tmp_path)


@pytest.fixture
def batch_id() -> str:
    """Of a batch that no other test has."""
    return f"batch_{secrets.token_hex(13)}"


def test_lines_come_back_from_any_place_over_the_borders_of_chunks(
    store: ManifestStore, objects: ObjectStore, batch_id: str, tmp_path: Path
) -> None:
    lines = good(read(jsonl(*({"prompt": f"Picture {index} ü", "n": 2} for index in range(2500)))))
    summary = store.write(batch_id, lines)
    assert (summary.lines, summary.images, summary.skipped.total) == (2500, 5000, 0)
    assert [stored.key[-12:] for stored in objects.listed(manifest_folder(batch_id))] == [
        "000000.jsonl",
        "000001.jsonl",
        "000002.jsonl",
    ]
    other = ManifestStore(objects)
    assert other.lines(batch_id, 0, 1) == lines[:1]
    assert other.lines(batch_id, 998, 1004) == lines[998:2002]
    assert other.lines(batch_id, 2490, 100) == lines[2490:]
    assert other.lines(batch_id, 2500, 1) == []
    assert not list(tmp_path.iterdir())
    store.delete(batch_id)
    assert not objects.listed(manifest_folder(batch_id))
    with pytest.raises(ImageNotFound):
        ManifestStore(objects).lines(batch_id, 0, 1)


def test_nothing_is_kept_when_a_line_is_bad_and_all_bad_lines_are_counted(
    store: ManifestStore, objects: ObjectStore, batch_id: str
) -> None:
    bad = [{"prompt": "fine"}] * 1500 + [{"prompt": ""}] * 300
    with pytest.raises(InvalidManifest) as refused:
        store.write(batch_id, read(jsonl(*bad)))
    assert (refused.value.bad.total, len(refused.value.bad.shown)) == (300, SHOWN_BAD_LINES)
    assert refused.value.bad.shown[0].line == 1501
    assert "300 lines are wrong" in str(refused.value)
    assert not objects.listed(manifest_folder(batch_id))


def test_bad_lines_may_be_skipped_and_the_others_stand_without_gaps(store: ManifestStore, batch_id: str) -> None:
    lines = read(jsonl({"prompt": "A"}, {"prompt": ""}, {"prompt": "C"}))
    summary = store.write(batch_id, lines, skip_invalid=True)
    assert (summary.lines, summary.skipped.total) == (2, 1)
    assert [(line.number, line.line, line.custom_id) for line in store.lines(batch_id, 0, 9)] == [
        (0, 1, "line-00001"),
        (1, 3, "line-00003"),
    ]


def test_what_is_wrong_with_the_whole_manifest_is_never_skipped(store: ManifestStore, batch_id: str) -> None:
    for manifest in (b"", jsonl({"prompt": ""})):
        with pytest.raises(InvalidManifest):
            store.write(batch_id, read(manifest), skip_invalid=True)


def test_images_in_lines_become_uploads_when_a_manifest_is_accepted(
    service_environment: Mapping[str, str], batch_id: str, tmp_path: Path
) -> None:
    environment = {**service_environment, "IMAGEQUEUE_SPOOL_DIR": str(tmp_path / "spool")}
    queue = open_queue(settings_of(environment))
    kept = ["https://example.com/a.png", f"upload:{'0' * 64}", "job:job_01K7ZJ5V4T8N3Q2M6R9W0X1Y2Z/0"]
    edit = {"type": "edit", "prompt": "A hat", "images": [data_url(png()), *kept], "mask": data_url(png())}
    broken = {"type": "edit", "prompt": "A hat", "images": [data_url(b"no image")]}
    try:
        lines = queue.manifests.acceptable(read(jsonl(edit, broken)))
        summary = queue.manifests.store.write(batch_id, lines, skip_invalid=True)
        [line] = queue.manifests.store.lines(batch_id, 0, 9)
        uploaded = f"upload:{hashlib.sha256(png()).hexdigest()}"
        assert isinstance(line.request, EditRequest)
        assert (line.request.images, line.request.mask) == ((uploaded, *kept), uploaded)
        assert queue.inputs.describe(uploaded).size_bytes == len(png())
    finally:
        queue.close()
    [violation] = summary.skipped.shown[0].violations
    assert violation.field == "images[0]"
    assert "PNG, JPEG and WebP are taken" in violation.rule
    assert not list((tmp_path / "spool").iterdir())


def data_url(content: bytes) -> str:
    """The content in a data: URL."""
    return f"data:;base64,{base64.b64encode(content).decode()}"
