"""Still lifes: a vase with twigs, and fruit on a table."""

from __future__ import annotations

import math

from sandbox.painting.easel import Colour, Easel, mix


def draw_still_life(easel: Easel) -> None:
    """A vase with twigs, a cup and fruit on a table, lit from one side."""
    palette, rng, table = easel.palette, easel.rng, 0.62
    easel.gradient(0, table, [palette.top, palette.middle, mix(palette.middle, palette.horizon, 0.7)])
    easel.glow(rng.choice((0.2, 0.8)), 0.2, 0.7, palette.light, 0.45)
    wood = mix(palette.near, (158, 96, 62), 0.75)
    easel.gradient(table, 1, [mix(wood, palette.light, 0.3), wood, mix(wood, (24, 14, 16), 0.5)])
    fruit = ((214, 72, 56), (238, 154, 54), (226, 196, 80), (120, 156, 76), (146, 62, 96))
    vase_x = rng.uniform(0.3, 0.7)
    draw_vase(easel, vase_x, table + 0.04, mix(palette.middle, palette.light, 0.35))
    for place in range(rng.randint(4, 6)):
        x = vase_x + easel.across((-1) ** place * (0.13 + 0.075 * place))
        radius, foot = rng.uniform(0.045, 0.065), table + rng.uniform(0.06, 0.12)
        draw_ball(easel, x, foot - radius, radius, rng.choice(fruit))


def draw_ball(easel: Easel, x: float, y: float, radius: float, colour: Colour) -> None:
    """A shaded fruit with a stalk and its shadow."""
    draw_shadow(easel, x, y + radius * 0.94, radius * 1.1)
    for step in range(8):
        share = step / 7
        offset = radius * 0.3 * share
        easel.disc(
            x - easel.across(offset),
            y - offset,
            radius * (1 - 0.62 * share),
            mix(colour, (255, 248, 230), share * 0.42),
        )
    easel.box(x - easel.across(0.003), y - radius * 1.3, x + easel.across(0.003), y - radius * 0.8, (74, 52, 40))


def draw_shadow(easel: Easel, x: float, y: float, radius: float) -> None:
    """A flat shadow on the table, `radius` in fractions of the height."""
    wide, flat = radius * easel.height, radius * easel.height * 0.24
    centre_x, centre_y = x * easel.width, y * easel.height
    easel.draw.ellipse((centre_x - wide, centre_y - flat, centre_x + wide, centre_y + flat), fill=(38, 24, 26))


def draw_vase(easel: Easel, x: float, foot: float, colour: Colour) -> None:
    """A turned vase with twigs and blossoms."""
    rng = easel.rng
    for _ in range(9):
        lean, rise = rng.uniform(-0.17, 0.17), rng.uniform(0.2, 0.34)
        steps = [step / 10 for step in range(11)]
        twig = [(x + easel.across(lean * s * s), foot - 0.26 - rise * s) for s in steps]
        easel.draw.line(
            [(px * easel.width, py * easel.height) for px, py in twig],
            (78, 84, 60),
            max(1, round(0.004 * easel.height)),
        )
        for px, py in twig[5:]:
            blossom = mix(easel.palette.horizon, (255, 250, 245), rng.random())
            easel.disc(px + rng.uniform(-0.01, 0.01), py + rng.uniform(-0.01, 0.01), rng.uniform(0.008, 0.017), blossom)
    draw_shadow(easel, x, foot - 0.004, 0.075)
    for strip in range(24):
        left, right = strip / 12 - 1, (strip + 1) / 12 - 1
        shade = mix(mix(colour, (255, 255, 255), 0.25), easel.palette.near, 0.75 * abs((left + 0.45) / 1.45) ** 1.3)
        steps = [step / 20 for step in range(21)]
        outline = [
            (easel.across(0.03 + 0.06 * math.sin(math.pi * (0.12 + 0.8 * s)) ** 2), foot - 0.28 * (1 - s))
            for s in steps
        ]
        easel.shape([(x + left * w, y) for w, y in outline] + [(x + right * w, y) for w, y in reversed(outline)], shade)
