"""Outputs are verified by decoding, previewed, and kept in a real S3 even when they are not all that was asked for."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PillowImage

from imagequeue.errors import BadOutput, ObjectsUnavailable
from imagequeue.jobs import Applied, Job, JobState, NewJob, Usage
from imagequeue.objects import ObjectStore
from imagequeue.requests import parse_request
from imagequeue.settings import Settings
from sandbox.stack.ports import HOST, choose_port
from sandbox.stack.s3_server import start_s3
from worker.outputs import PREVIEW_EDGE, OutputStore, Stored, Verified, verify
from worker.spool import Painted

SIZE = (1024, 640)


def keep(objects: ObjectStore, job: Job, painted: Painted) -> Stored:
    """Store an answer as the worker does for a job of its own."""
    return OutputStore(objects).store(job, painted, job.request.output_format or "png")


def encoded(form: str, mode: str = "RGB", size: tuple[int, int] = SIZE, **options: Any) -> bytes:
    """An image: black above, white below, and noise between, which makes a file long enough to damage."""
    width, height = size
    picture = PillowImage.effect_noise(size, 40)
    picture.paste(0, (0, 0, width, height // 4))
    picture.paste(255, (0, height - height // 4, width, height))
    picture = picture.convert(mode)
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def saved(folder: Path, content: bytes, name: str = "0") -> Path:
    """The bytes as a file, as an answer is split."""
    path = folder / name
    path.write_bytes(content)
    return path


def preview_of(verified: Verified) -> PillowImage.Image:
    """The preview, decoded."""
    preview = PillowImage.open(io.BytesIO(verified.preview))
    preview.load()
    return preview


@pytest.mark.parametrize(
    ("form", "mode"),
    [("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "L"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("WEBP", "RGBA")],
)
def test_a_whole_image_passes_with_its_format_and_size(tmp_path: Path, form: str, mode: str) -> None:
    verified = verify(saved(tmp_path, encoded(form, mode)))
    assert (verified.format, verified.width, verified.height) == (form, *SIZE)
    assert (preview_of(verified).format, verified.preview_extension) == ("JPEG", "jpg")


def test_a_jpeg_of_many_pictures_is_a_jpeg(tmp_path: Path) -> None:
    other = PillowImage.new("RGB", SIZE)
    content = encoded("MPO", save_all=True, append_images=[other])
    assert verify(saved(tmp_path, content)).format == "JPEG"


@pytest.mark.parametrize(
    ("size", "preview"),
    [
        ((1024, 1024), (768, 768)),
        ((1536, 1024), (768, 512)),
        ((1024, 1536), (512, 768)),
        ((2304, 768), (768, 256)),
        ((768, 768), (768, 768)),
        ((640, 480), (640, 480)),
        ((16, 16), (16, 16)),
    ],
)
def test_the_longest_edge_of_a_preview_is_768_and_nothing_is_enlarged(
    tmp_path: Path, size: tuple[int, int], preview: tuple[int, int]
) -> None:
    assert PREVIEW_EDGE == 768
    assert preview_of(verify(saved(tmp_path, encoded("PNG", size=size)))).size == preview


def test_a_preview_shows_the_image(tmp_path: Path) -> None:
    preview = preview_of(verify(saved(tmp_path, encoded("PNG")))).convert("L")
    top, bottom = preview.getpixel((384, 5)), preview.getpixel((384, 474))
    assert isinstance(top, int)
    assert isinstance(bottom, int)
    assert top < 20
    assert bottom > 235


def test_a_preview_keeps_transparency(tmp_path: Path) -> None:
    clear = PillowImage.new("RGBA", SIZE, (255, 0, 0, 0))
    buffer = io.BytesIO()
    clear.save(buffer, "PNG")
    verified = verify(saved(tmp_path, buffer.getvalue()))
    preview = preview_of(verified)
    assert (preview.mode, preview.getchannel("A").getextrema()) == ("RGBA", (0, 0))
    assert (preview.format, verified.preview_extension) == ("WEBP", "webp")


def flipped(content: bytes) -> bytes:
    """The content with one wrong byte in its middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"this is a text",
        b'{"error": "no image"}',
        encoded("GIF", "P"),
        encoded("BMP"),
        encoded("TIFF"),
        encoded("PNG")[:-200],
        encoded("PNG")[:20],
        flipped(encoded("PNG")),
        encoded("JPEG")[:-2000],
        encoded("WEBP")[:-100],
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"\xff\xd8\xff\xe0" + bytes(100),
        b"RIFF\x00\x00\x00\x00WEBP" + bytes(100),
    ],
)
def test_what_is_no_whole_png_jpeg_or_webp_is_refused_and_named(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BadOutput, match="Output 3 is not a usable image"):
        verify(saved(tmp_path, content, "3"))


def test_an_image_of_absurd_size_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    bomb = bytearray(encoded("PNG", size=(16, 16)))
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    with pytest.raises(BadOutput, match="Output 0"):
        verify(saved(tmp_path, bytes(bomb)))


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Generator[Settings]:
    """The settings of a real S3 server."""
    server = start_s3(tmp_path_factory.mktemp("outputs"))
    yield s3_settings(server.endpoint, server.access_key, server.secret_key)
    server.stop()


def s3_settings(endpoint: str, access_key: str, secret_key: str) -> Settings:
    """Settings that name an S3 server."""
    keys: dict[str, Any] = {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key}
    return Settings(s3_endpoint=endpoint, **keys)


@pytest.fixture
def objects(s3: Settings) -> ObjectStore:
    """The bucket."""
    return ObjectStore(s3)


@pytest.fixture
def painted(tmp_path: Path) -> Callable[..., Painted]:
    """Makes the answer of a call out of images."""

    def make(*contents: bytes) -> Painted:
        files = tuple(saved(tmp_path, content, str(index)) for index, content in enumerate(contents))
        return Painted(
            files, Usage(output_tokens=196), Applied(size="1024x640", quality="low"), request_id="req_7", notes=()
        )

    return make


def claimed(**request: object) -> Job:
    """A running job in its second attempt."""
    new = NewJob(
        request=parse_request({"prompt": "Grüße aus 東京", **request}),
        owner="tester",
        lane="interactive",
        model="gpt-image-2",
        on_unknown_outcome="retry",
    )
    return Job(
        **new.model_dump(exclude={"request"}),
        type="generate",
        request=new.request,
        fingerprint=new.fingerprint,
        estimate=new.estimate,
        state=JobState.RUNNING,
        created_at=1,
        attempt=2,
    )


def test_originals_are_stored_byte_for_byte_with_preview_and_sidecar(
    objects: ObjectStore, painted: Callable[..., Painted]
) -> None:
    contents = encoded("PNG"), encoded("PNG", "RGBA")
    job = claimed(n=2, size="1024x640", filename_prefix="Hero Banner")
    stored = keep(objects, job, painted(*contents))
    assert stored.notes == ()
    for index, (image, content) in enumerate(zip(stored.images, contents, strict=True)):
        assert objects.get_bytes(image.key) == content
        assert image.key == f"images/{job.id}/2/{index}.png"
        assert (image.index, image.width, image.height) == (index, *SIZE)
        assert (image.mime_type, image.size_bytes) == ("image/png", len(content))
        assert image.sha256 == hashlib.sha256(content).hexdigest()
        assert image.filename == f"Hero-Banner-{job.id[-8:].lower()}-{index}.png"
        assert PillowImage.open(io.BytesIO(objects.get_bytes(image.preview_key))).format == "JPEG"
    sidecar = json.loads(objects.get_bytes(f"images/{job.id}/2/job.json"))
    assert sidecar["request"]["prompt"] == "Grüße aus 東京"
    assert (sidecar["job_id"], sidecar["attempt"], sidecar["request_id"]) == (job.id, 2, "req_7")
    assert [entry["key"] for entry in sidecar["images"]] == [image.key for image in stored.images]
    assert (sidecar["usage"]["output_tokens"], sidecar["applied"]["quality"]) == (196, "low")


@pytest.mark.parametrize(("form", "extension"), [("JPEG", "jpg"), ("WEBP", "webp"), ("PNG", "png")])
def test_keys_and_file_names_carry_the_format_that_came(
    objects: ObjectStore, painted: Callable[..., Painted], form: str, extension: str
) -> None:
    (image,) = keep(objects, claimed(output_format=form.lower()), painted(encoded(form))).images
    assert image.key.endswith(f"/0.{extension}")
    assert image.filename.endswith(f"-0.{extension}")
    assert image.mime_type == f"image/{form.lower()}"


@pytest.mark.parametrize(
    ("request_fields", "contents", "notes"),
    [
        ({}, (encoded("PNG"),), ()),
        ({"size": "1024x640"}, (encoded("PNG"),), ()),
        ({"size": "1536x1024"}, (encoded("PNG"),), ("OpenAI gave 1024x640 instead of 1536x1024; kept as it is.",)),
        ({"output_format": "webp"}, (encoded("PNG"),), ("OpenAI gave png instead of webp; kept as it is.",)),
        (
            {"output_format": "webp", "n": 2},
            (encoded("PNG"), encoded("JPEG")),
            ("OpenAI gave jpeg, png instead of webp; kept as it is.",),
        ),
        ({"n": 3}, (encoded("PNG"),), ("OpenAI gave 1 usable of 3 images.",)),
    ],
)
def test_what_is_not_as_asked_is_kept_and_said(
    objects: ObjectStore,
    painted: Callable[..., Painted],
    request_fields: dict[str, object],
    contents: tuple[bytes, ...],
    notes: tuple[str, ...],
) -> None:
    stored = keep(objects, claimed(**request_fields), painted(*contents))
    assert stored.notes == notes
    assert [objects.get_bytes(image.key) for image in stored.images] == list(contents)


def test_a_damaged_image_among_good_ones_is_left_out_and_named(
    objects: ObjectStore, painted: Callable[..., Painted]
) -> None:
    good = encoded("PNG")
    stored = keep(objects, claimed(n=3), painted(good, b"damaged", good))
    assert [image.index for image in stored.images] == [0, 1]
    assert [objects.get_bytes(image.key) for image in stored.images] == [good, good]
    assert [image.key.rpartition("/")[2] for image in stored.images] == ["0.png", "2.png"], "by place in the answer"
    assert stored.notes[0].startswith("Output 1 is not a usable image")
    assert stored.notes[1:] == ("OpenAI gave 2 usable of 3 images.",)


@pytest.mark.parametrize(("contents", "reason"), [((), "holds no images"), ((b"a", b"b"), "Output 0 .* Output 1 ")])
def test_an_answer_without_a_usable_image_is_a_bad_output(
    objects: ObjectStore, painted: Callable[..., Painted], contents: tuple[bytes, ...], reason: str
) -> None:
    with pytest.raises(BadOutput, match=reason):
        keep(objects, claimed(n=2), painted(*contents))


def test_nothing_is_on_its_way_any_more_when_an_answer_is_refused(
    objects: ObjectStore, painted: Callable[..., Painted]
) -> None:
    job, damaged = claimed(), flipped(encoded("PNG"))
    with pytest.raises(BadOutput):
        keep(objects, job, painted(damaged))
    assert objects.get_bytes(f"images/{job.id}/2/0.png") == damaged, "it went up while it was decoded"


def test_an_answer_of_many_images_keeps_their_order(objects: ObjectStore, painted: Callable[..., Painted]) -> None:
    contents = [encoded("PNG", size=(64 + 16 * number, 640)) for number in range(8, 0, -1)]
    stored = keep(objects, claimed(n=8), painted(*contents))
    assert [objects.get_bytes(image.key) for image in stored.images] == contents
    previews = [PillowImage.open(io.BytesIO(objects.get_bytes(image.preview_key))) for image in stored.images]
    assert [preview.size for preview in previews] == [(image.width, image.height) for image in stored.images]


def test_storing_again_gives_the_same(objects: ObjectStore, painted: Callable[..., Painted]) -> None:
    job, answer = claimed(), painted(encoded("PNG"))
    assert keep(objects, job, answer) == keep(objects, job, answer)


def test_an_s3_that_is_away_is_told_apart_from_a_bad_output(painted: Callable[..., Painted]) -> None:
    nobody = s3_settings(f"http://{HOST}:{choose_port()}", "access-key", "secret-key")
    with pytest.raises(ObjectsUnavailable):
        keep(ObjectStore(nobody), claimed(), painted(encoded("PNG")))
