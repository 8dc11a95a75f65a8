"""Skies and what stands under them on land: hills, woods and towns, paler with distance."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFilter

from sandbox.painting.easel import Colour, Easel, mix, resized


def draw_sky(easel: Easel, horizon: float) -> tuple[float, float]:
    """Draw sky, stars, sun or moon and clouds down to `horizon`; returns where the light stands."""
    palette, rng = easel.palette, easel.rng
    easel.gradient(0, horizon, [palette.top, mix(palette.top, palette.middle, 0.6), palette.middle, palette.horizon])
    if sum(palette.top) < 130:
        for _ in range(140):
            brightness = rng.uniform(0.35, 1)
            star = mix(palette.top, (255, 255, 255), brightness)
            easel.disc(rng.random(), rng.random() ** 1.5 * horizon * 0.9, 0.0011 * (0.6 + brightness), star)
    x, y = rng.uniform(0.18, 0.82), horizon * rng.uniform(0.3, 0.62)
    easel.glow(x, y, 0.42, palette.light, 0.45)
    easel.glow(x, y, 0.17, palette.light, 0.8)
    easel.disc(x, y, rng.uniform(0.05, 0.075), palette.light)
    if easel.detailed:
        draw_clouds(easel, horizon)
    return x, y


def draw_clouds(easel: Easel, horizon: float) -> None:
    """Lay long soft clouds over the sky; drawn small and enlarged, because blurring a large image is slow."""
    rng = easel.rng
    veil = Image.new("L", (320, 160))
    brush = ImageDraw.Draw(veil)
    for _ in range(rng.randint(4, 7)):
        x, y, length = rng.uniform(-20, 300), rng.uniform(10, 130), rng.uniform(30, 90)
        for _ in range(7):
            shift, half = rng.uniform(-0.5, 0.5) * length, rng.uniform(0.2, 0.55) * length
            thin, lift = rng.uniform(1.5, 4), rng.uniform(-3, 3)
            oval = (x + shift - half, y + lift - thin, x + shift + half, y + lift + thin)
            brush.ellipse(oval, fill=rng.randint(40, 120))
    size = (easel.width, max(1, round(horizon * easel.height)))
    soft = resized(veil.filter(ImageFilter.GaussianBlur(2.5)), size)
    easel.image.paste(mix(easel.palette.horizon, easel.palette.light, 0.5), (0, 0, *size), soft)


def draw_hills(easel: Easel) -> None:
    """Hills behind hills, paler with distance."""
    draw_sky(easel, 0.72)
    easel.box(0, 0.7, 1, 1, easel.palette.horizon)
    layers = 6
    for layer in range(layers):
        share = layer / (layers - 1)
        level = 0.46 + 0.46 * share
        line = ridge(easel.rng, level, 0.075 - 0.03 * share, 5 if layer < 3 else 3)
        draw_range(easel, line, mix(easel.palette.far, easel.palette.near, share**1.2))
        if easel.detailed and layer < layers // 2:
            easel.glow(easel.rng.uniform(0.2, 0.8), level + 0.12, 0.4, easel.palette.horizon, 0.16)


def draw_wood(easel: Easel) -> None:
    """Rows of firs in the mist, from pale to dark."""
    draw_sky(easel, 0.8)
    easel.box(0, 0.78, 1, 1, easel.palette.horizon)
    rows = 4
    draw_range(easel, ridge(easel.rng, 0.5, 0.09, 5), mix(easel.palette.far, easel.palette.horizon, 0.35))
    for row in range(rows):
        share = (row + 1) / rows
        colour = mix(easel.palette.far, easel.palette.near, share)
        line = ridge(easel.rng, 0.56 + 0.1 * row, 0.03, 3)
        draw_range(easel, line, colour)
        count = round((46 - 9 * row) * easel.width / easel.height)
        for _ in range(count):
            x, y = easel.rng.choice(line)
            draw_fir(
                easel, x + easel.rng.uniform(-0.01, 0.01), y, (0.07 + 0.05 * row) * easel.rng.uniform(0.7, 1.3), colour
            )
        if row < rows - 2:
            easel.glow(easel.rng.random(), 0.66 + 0.1 * row, 0.3, easel.palette.horizon, 0.12)


def draw_fir(easel: Easel, x: float, foot: float, tall: float, colour: Colour) -> None:
    """One fir of three tiers; `tall` in fractions of the height."""
    for tier in range(3):
        top, base = foot - tall * (1 - 0.24 * tier), foot - tall * (0.5 - 0.25 * tier)
        half = easel.across(tall * (0.13 + 0.055 * tier))
        easel.shape([(x, top), (x + half, base), (x - half, base)], colour)
    easel.box(
        x - easel.across(tall * 0.02), foot - tall * 0.05, x + easel.across(tall * 0.02), foot + tall * 0.1, colour
    )


def draw_town(easel: Easel) -> None:
    """Rows of houses with lit windows, paler with distance."""
    palette, rng = easel.palette, easel.rng
    draw_sky(easel, 0.85)
    easel.box(0, 0.83, 1, 1, palette.near)
    for row in range(4):
        share = row / 3
        colour, x = mix(palette.far, palette.near, share**0.8), -0.02
        while x < 1:
            wide = easel.across(rng.uniform(0.06, 0.12) * (1 + 0.4 * share))
            top = 0.36 + 0.13 * row + rng.uniform(0, 0.2)
            draw_house(easel, (x, top, x + wide), mix(colour, palette.horizon, rng.uniform(0, 0.12)), share)
            x += wide * rng.uniform(0.92, 1.15)


def draw_house(easel: Easel, sides: tuple[float, float, float], colour: Colour, share: float) -> None:
    """One tower from `sides` (left, top, right) to the bottom, with a roof now and then."""
    rng, (left, top, right) = easel.rng, sides
    easel.box(left, top, right, 1, colour)
    roof = rng.random()
    if roof < 0.2:
        easel.shape([(left, top), ((left + right) / 2, top - 0.06), (right, top)], colour)
    elif roof < 0.4:
        easel.box((left + right) / 2, top - 0.08, (left + right) / 2 + easel.across(0.003), top, colour)
    lit = mix((255, 214, 130), easel.palette.light, 0.3)
    columns, rows = 4, min(16, round((1 - top) / 0.038))
    pane = (right - left) / (columns * 2 + 1)
    for row in range(rows):
        for column in range(columns):
            if rng.random() < 0.28 + 0.2 * share:
                x, y = left + pane * (1 + 2 * column), top + 0.018 + 0.038 * row
                easel.box(x, y, x + pane, y + 0.018, mix(colour, lit, rng.uniform(0.35, 0.9)))


def ridge(
    rng: random.Random, level: float, swing: float, roughness: int, points: int = 96
) -> list[tuple[float, float]]:
    """A skyline from left to right around height `level`, as a sum of `roughness` waves of falling size."""
    waves = [(rng.uniform(0.6, 1.4) * 1.9**k, rng.uniform(0, math.tau), swing / 1.8**k) for k in range(roughness)]
    xs = [step / points for step in range(points + 1)]
    return [(x, level + sum(size * math.sin(math.tau * pace * x + start) for pace, start, size in waves)) for x in xs]


def draw_range(easel: Easel, line: Sequence[tuple[float, float]], colour: Colour) -> None:
    """Fill everything under a skyline."""
    easel.shape([(0, 1.05), *line, (1, 1.05)], colour)
