"""What every picture is drawn with: colours, chances, and shapes in fractions of the picture's size.

Lengths are fractions of the picture's height or width, so a picture looks the same at any size.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]


class _Typed(Protocol):
    """The methods of a Pillow image whose published types are incomplete where numpy is not installed."""

    def resize(self, size: tuple[int, int], resample: int) -> Image.Image: ...
    def point(self, lut: Sequence[float]) -> Image.Image: ...


def resized(image: Image.Image, size: tuple[int, int], method: int = Image.Resampling.BICUBIC) -> Image.Image:
    """A copy of `image` with `size` (width, height) pixels, smooth unless `method` says otherwise."""
    return cast(_Typed, image).resize(size, method)


def mapped(image: Image.Image, values: Sequence[float]) -> Image.Image:
    """A copy of a grey `image` in which each brightness 0 to 255 is replaced by its entry in `values`."""
    return cast(_Typed, image).point(values)


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours from the top of the sky to the nearest ground, and of sun or moon."""

    top: Colour
    middle: Colour
    horizon: Colour
    light: Colour
    far: Colour
    near: Colour


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """`first` with `share` (0 to 1) of `second` in it."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


class Easel:
    """A picture in the making: the image, its colours, its chances and the means of drawing on it."""

    def __init__(self, image: Image.Image, palette: Palette, rng: random.Random, detailed: bool) -> None:
        self.image = image
        self.palette = palette
        self.rng = rng
        self.detailed = detailed
        self.width, self.height = image.size
        self.draw = ImageDraw.Draw(image)

    def gradient(self, top: float, bottom: float, colours: Sequence[Colour]) -> None:
        """Fill the band between two heights (fractions) with colours blending downwards."""
        strip = Image.frombytes("RGB", (1, len(colours)), bytes(part for colour in colours for part in colour))
        first, last = round(top * self.height), round(bottom * self.height)
        column = resized(strip, (1, max(1, last - first)))
        self.image.paste(resized(column, (self.width, column.height), Image.Resampling.NEAREST), (0, first))

    def glow(self, x: float, y: float, radius: float, colour: Colour, strength: float) -> None:
        """Add light around a point; `radius` is a fraction of the height, `strength` 0 to 1."""
        side = max(2, round(2 * radius * self.height))
        falloff = mapped(Image.radial_gradient("L"), [strength * max(0, 255 - 2 * v) ** 2 / 255 for v in range(256)])
        corner = (round(x * self.width) - side // 2, round(y * self.height) - side // 2)
        self.image.paste(
            colour,
            (*corner, corner[0] + side, corner[1] + side),
            resized(falloff, (side, side), Image.Resampling.BILINEAR),
        )

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """Draw a filled circle; `radius` is a fraction of the height."""
        centre_x, centre_y, reach = x * self.width, y * self.height, radius * self.height
        self.draw.ellipse((centre_x - reach, centre_y - reach, centre_x + reach, centre_y + reach), fill=colour)

    def shape(self, points: Sequence[tuple[float, float]], colour: Colour) -> None:
        """Draw a filled polygon of points in fractions of width and height."""
        self.draw.polygon([(x * self.width, y * self.height) for x, y in points], fill=colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Draw a filled rectangle, all sides in fractions."""
        sides = (left * self.width, top * self.height, right * self.width, bottom * self.height)
        self.draw.rectangle(sides, fill=colour)

    def across(self, fraction_of_height: float) -> float:
        """A length given in heights, as a fraction of the width."""
        return fraction_of_height * self.height / self.width
