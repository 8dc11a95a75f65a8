"""What may be sent to OpenAI is known by decoding, and every refusal says what was found and the way out."""

from __future__ import annotations

import hashlib
import io
import mmap
from pathlib import Path

import picture_kit as kit
import pytest
from PIL import Image

from imagequeue.errors import ImageQueueError, InputFault, InvalidInput
from imagequeue.image_files import measure
from imagequeue.input_images import MAX_INPUT_BYTES, MAX_MASK_BYTES, InputImage, check_mask, inspect_image

GOOD = {
    "png": (kit.png(), "image/png"),
    "png with alpha": (kit.png("RGBA"), "image/png"),
    "palette png": (kit.png("P"), "image/png"),
    "grey png": (kit.png("L"), "image/png"),
    "16-bit png": (kit.png("I;16"), "image/png"),
    "jpeg": (kit.jpeg(), "image/jpeg"),
    "progressive jpeg": (kit.jpeg(progressive=True), "image/jpeg"),
    "cmyk jpeg": (kit.jpeg(mode="CMYK"), "image/jpeg"),
    "jpeg with restart markers": (kit.jpeg(restart_marker_blocks=1), "image/jpeg"),
    "jpeg of a phone": (kit.phone_jpeg(), "image/jpeg"),
    "webp": (kit.webp(), "image/webp"),
    "lossless webp": (kit.webp(lossless=True), "image/webp"),
    "webp with alpha": (kit.webp(mode="RGBA"), "image/webp"),
    "webp with metadata": (kit.webp(exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"), "image/webp"),
    "png padded with zeros": (kit.png() + bytes(512), "image/png"),
    "one pixel": (kit.png(size=(1, 1)), "image/png"),
    "png with a comment of html": (
        kit.png().replace(kit.IEND, kit.chunk(b"tEXt", b"k\0<html>") + kit.IEND),
        "image/png",
    ),
}
OTHER_FILES = {
    "a GIF": kit.encoded("GIF", "L"),
    "a BMP": kit.encoded("BMP"),
    "a TIFF": kit.encoded("TIFF"),
    "an ICO": kit.encoded("ICO"),
    "an AVIF image": kit.encoded("AVIF"),
    "a HEIC image": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "a JPEG 2000 image": kit.encoded("JPEG2000"),
    "a JPEG XL image": b"\xff\x0a\x00\x10",
    "a PDF": b"%PDF-1.7\n",
    "a ZIP archive": kit.ZIP,
    "a Photoshop file": b"8BPS\0\1",
    "a video": b"\0\0\0\x18ftypmp42\0\0\0\0",
    "gzip data": b"\x1f\x8b\x08\0",
    "an SVG": kit.SVG,
    "HTML": kit.HTML,
}
NOT_FILES = {
    "text": b"just text",
    "zeros": bytes(100),
    "only a signature's start": b"\x89PNG",
    "riff of sound": b"RIFF\x24\0\0\0WAVEfmt ",
}


def saved(folder: Path, content: bytes, name: str = "file") -> Path:
    """The bytes as a file."""
    path = folder / name
    path.write_bytes(content)
    return path


def inspected(folder: Path, content: bytes) -> InputImage:
    """The bytes as an image that passes."""
    return inspect_image(saved(folder, content))


def refusal(folder: Path, content: bytes, declared_type: str | None = None) -> InvalidInput:
    """How the bytes are refused."""
    with pytest.raises(InvalidInput) as caught:
        inspect_image(saved(folder, content), "images[2]", declared_type)
    assert str(caught.value).startswith("images[2]: ")
    assert str(caught.value).endswith(".")
    return caught.value


@pytest.mark.parametrize("name", GOOD)
def test_a_whole_image_passes_with_its_type_size_and_hash(tmp_path: Path, name: str) -> None:
    content, mime_type = GOOD[name]
    image = inspected(tmp_path, content)
    assert (image.mime_type, image.size_bytes) == (mime_type, len(content))
    assert (image.width, image.height) == ((1, 1) if name == "one pixel" else kit.SIZE)
    assert image.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("name", GOOD)
def test_the_size_is_known_before_anything_is_decoded(tmp_path: Path, name: str) -> None:
    content, mime_type = GOOD[name]
    with saved(tmp_path, content).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        extent = measure(data, mime_type)
    assert extent.size == ((1, 1) if name == "one pixel" else kit.SIZE)
    assert extent.end == len(content) - (512 if name == "png padded with zeros" else 0)


@pytest.mark.parametrize("name", GOOD)
def test_every_cut_of_a_good_image_is_refused(tmp_path: Path, name: str) -> None:
    content = GOOD[name][0].rstrip(b"\0")
    for length in {1, 9, len(content) // 4, len(content) // 2, len(content) - 20, len(content) - 1}:
        assert refusal(tmp_path, content[:length]).code in ("input_truncated", "input_not_an_image"), length


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("tail", [kit.ZIP, kit.HTML, b"\0\0x", kit.png()], ids=["zip", "html", "bytes", "png"])
def test_data_behind_an_image_is_refused(tmp_path: Path, name: str, tail: bytes) -> None:
    error = refusal(tmp_path, GOOD[name][0] + tail)
    assert error.code == "input_polyglot"


def test_a_jpeg_behind_a_jpeg_passes_only_when_announced(tmp_path: Path) -> None:
    assert refusal(tmp_path, kit.jpeg() + kit.jpeg()).code == "input_polyglot"
    assert inspected(tmp_path, kit.phone_jpeg()).mime_type == "image/jpeg"


@pytest.mark.parametrize("kind", OTHER_FILES)
def test_other_kinds_of_files_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    error = refusal(tmp_path, OTHER_FILES[kind], "image/png")
    assert error.code == "input_wrong_type"
    assert f"this is {kind}." in str(error)


@pytest.mark.parametrize("kind", NOT_FILES)
def test_what_is_no_image_is_refused(tmp_path: Path, kind: str) -> None:
    assert refusal(tmp_path, NOT_FILES[kind]).code == "input_not_an_image"


@pytest.mark.parametrize(
    ("content", "code", "found"),
    [
        (b"", "input_empty", "0 bytes"),
        (kit.header_only_png(0, 10), "input_zero_size", "0x10"),
        (kit.with_jpeg_size(kit.jpeg(), 0, 48), "input_zero_size", "0x48"),
        (kit.header_only_png(9000, 9999), "input_bomb", "89,991,000"),
        (kit.header_only_png(10_000, 10_000), "input_bomb", "100,000,000"),
        (kit.header_only_png(60_000, 60_000), "input_bomb", "89,478,485"),
        (kit.with_jpeg_size(kit.jpeg(), 65_000, 65_000), "input_bomb", "89,478,485"),
        (kit.huge_webp(16_000, 16_000), "input_bomb", "16000x16000"),
        (kit.animated("PNG"), "input_animated", "2 frames"),
        (kit.animated("WEBP"), "input_animated", "2 frames"),
        (kit.header_only_png(640, 480), "input_truncated", "does not decode"),
        (kit.many_scans_jpeg(150), "input_truncated", "100 scans"),
        (b"\x89PNG\r\n\x1a\n" + kit.chunk(b"prVt", b"") * 70_000, "input_truncated", "65,536 chunks"),
        (b"\xff\xd8" + b"\xff\xfe\0\2" * 70_000, "input_truncated", "65,536 segments"),
        (kit.png()[:-12], "input_truncated", "cut off"),
        (kit.jpeg()[:-2], "input_truncated", "cut off"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_file_that_would_hurt_is_refused_with_what_was_found(
    tmp_path: Path, content: bytes, code: str, found: str
) -> None:
    error = refusal(tmp_path, content)
    assert error.code == code
    assert found in str(error)


def test_compressed_text_is_no_way_to_fill_memory(tmp_path: Path) -> None:
    assert refusal(tmp_path, kit.with_comment_bomb()).code == "input_truncated"


def test_the_size_limit_is_exact(tmp_path: Path) -> None:
    assert inspected(tmp_path, kit.padded_png(MAX_INPUT_BYTES - 1)).size_bytes == MAX_INPUT_BYTES - 1
    error = refusal(tmp_path, kit.padded_png(MAX_INPUT_BYTES))
    assert error.code == "input_too_large"
    assert "50,000,000" in str(error)


@pytest.mark.parametrize(
    "declared", ["image/png", "IMAGE/PNG; q=1", "image/x-png", "", None, "application/octet-stream"]
)
def test_a_true_or_missing_label_passes(tmp_path: Path, declared: str | None) -> None:
    assert inspect_image(saved(tmp_path, kit.png()), "image", declared).mime_type == "image/png"


@pytest.mark.parametrize("declared", ["image/jpeg", "image/jpg", "image/webp", "image/gif", "text/html", "image/\x00"])
def test_a_wrong_label_is_refused_with_both_types(tmp_path: Path, declared: str) -> None:
    error = refusal(tmp_path, kit.png(), declared)
    assert error.code == "input_mislabelled"
    assert "a PNG" in str(error)
    assert "\x00" not in str(error)


@pytest.mark.parametrize(
    ("content", "has_alpha", "transparent"),
    [
        (kit.png(), False, False),
        (kit.jpeg(), False, False),
        (kit.mask(alpha=0), True, True),
        (kit.mask(alpha=1), True, False),
        (kit.mask(alpha=255), True, False),
        (kit.png("LA"), True, False),
        (kit.webp(mode="RGBA"), False, False),  # the encoder drops alpha where all is opaque
    ],
)
def test_transparency_is_seen(tmp_path: Path, content: bytes, has_alpha: bool, transparent: bool) -> None:
    image = inspected(tmp_path, content)
    assert (image.has_alpha, image.fully_transparent_pixels) == (has_alpha, transparent)


def test_a_transparent_colour_counts_as_alpha(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", kit.SIZE, (1, 2, 3)).save(buffer, "PNG", transparency=(1, 2, 3))
    image = inspected(tmp_path, buffer.getvalue())
    assert (image.has_alpha, image.fully_transparent_pixels) == (True, True)


def test_a_mask_that_fits_passes(tmp_path: Path) -> None:
    check_mask(inspected(tmp_path, kit.mask()), inspected(tmp_path, kit.jpeg()))


@pytest.mark.parametrize(
    ("content", "code", "found"),
    [
        (kit.jpeg(), "mask_not_png", "a JPEG"),
        (kit.webp(), "mask_not_png", "a WebP"),
        (kit.padded_png(MAX_MASK_BYTES), "mask_too_large", "4,000,000"),
        (kit.png(), "mask_without_alpha", "none"),
        (kit.mask(size=(64, 49)), "mask_size_mismatch", "64x49"),
        (kit.mask(size=(48, 64)), "mask_size_mismatch", "64x48"),
        (kit.mask(alpha=1), "mask_opaque", "alpha 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mask_that_does_not_fit_is_refused_with_the_reason(
    tmp_path: Path, content: bytes, code: str, found: str
) -> None:
    image, mask = inspected(tmp_path, kit.jpeg()), inspected(tmp_path, content)
    with pytest.raises(InvalidInput) as caught:
        check_mask(mask, image)
    assert caught.value.code == code
    assert caught.value.field == "mask"
    assert found in str(caught.value)


def test_only_what_may_pass_later_is_called_retryable() -> None:
    retryable = {fault for fault in InputFault if InvalidInput(fault, "image", "problem", "Way out.").retryable}
    assert retryable == {InputFault.URL_UNREACHABLE, InputFault.URL_TIMEOUT}
    assert ImageQueueError.code == "internal_error"
