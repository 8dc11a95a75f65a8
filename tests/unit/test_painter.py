"""The painter: exact sizes and formats, the same picture for the same call, and quick at low quality."""

from __future__ import annotations

import dataclasses
import io
import random
import time

import pytest
from PIL import Image, ImageChops

from sandbox.painter import Commission, paint
from sandbox.painting.png import png_file

LIGHTHOUSE = Commission("a lighthouse at dawn", 1024, 1024, "low", "png", 100, 0)


def opened(file: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(file))
    image.load()
    return image


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("size", [(1024, 1024), (480, 1440), (1440, 480), (3840, 2160)])
def test_pictures_have_the_exact_size_and_format(size: tuple[int, int], output_format: str) -> None:
    width, height = size
    image = opened(paint(dataclasses.replace(LIGHTHOUSE, width=width, height=height, output_format=output_format)))
    assert (image.size, image.format, image.mode) == (size, output_format.upper(), "RGB")


@pytest.mark.parametrize("quality", ["low", "medium", "high"])
def test_equal_commissions_paint_equal_files(quality: str) -> None:
    commission = dataclasses.replace(LIGHTHOUSE, quality=quality)
    assert paint(commission) == paint(commission)


@pytest.mark.parametrize("change", [{"index": 1}, {"prompt": "a lighthouse at dusk"}, {"quality": "medium"}])
def test_other_commissions_paint_other_pictures(change: dict[str, object]) -> None:
    other = opened(paint(dataclasses.replace(LIGHTHOUSE, **change)))
    assert ImageChops.difference(opened(paint(LIGHTHOUSE)), other).getbbox() is not None


@pytest.mark.parametrize(
    "prompt",
    [
        "hills",
        "the sea",
        "a dark forest",
        "a town",
        "a still life",
        "word " * 6_400,
        "x" * 32_000,
        "日本語 🦊 é",
        "\x00\n",
    ],
)
@pytest.mark.parametrize("quality", ["low", "high"])
def test_any_prompt_gives_a_picture_of_many_colours(prompt: str, quality: str) -> None:
    image = opened(paint(dataclasses.replace(LIGHTHOUSE, prompt=prompt, quality=quality)))
    colours = image.reduce(8).getcolors(maxcolors=1 << 24)
    assert colours is not None
    assert len(colours) > 200


def test_the_prompt_is_written_on_the_picture() -> None:
    """The panel of a longer prompt is higher, and pure white letters stand on it."""

    def white_rows(prompt: str) -> int:
        image = opened(paint(dataclasses.replace(LIGHTHOUSE, prompt=prompt)))
        lower_half = image.crop((0, 512, 1024, 1024)).convert("L")
        rows = [lower_half.crop((60, y, 964, y + 1)).getextrema()[1] for y in range(512)]
        return sum(1 for brightest in rows if brightest == 255)

    assert white_rows("a dark forest at night") < white_rows("a dark forest at night " * 12)


def test_a_1024_square_of_low_quality_takes_less_than_100_ms_of_one_core() -> None:
    def cpu_seconds() -> float:
        started = time.process_time()
        paint(LIGHTHOUSE)
        return time.process_time() - started

    assert min(cpu_seconds() for _ in range(5)) < 0.1


@pytest.mark.parametrize("size", [(16, 16), (1, 5), (7, 1)])
def test_png_files_hold_every_pixel(size: tuple[int, int]) -> None:
    picture = Image.frombytes("RGB", size, random.Random(1).randbytes(3 * size[0] * size[1]))
    assert opened(png_file(picture)).tobytes() == picture.tobytes()


def test_an_unknown_format_is_an_error() -> None:
    with pytest.raises(KeyError):
        paint(dataclasses.replace(LIGHTHOUSE, output_format="gif"))
