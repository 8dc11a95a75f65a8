"""Seascapes: water with the light's path on it, a lighthouse on its cape, and boats."""

from __future__ import annotations

from sandbox.painting.easel import Easel, mix
from sandbox.painting.land import draw_sky


def draw_sea(easel: Easel) -> None:
    """Water to the horizon with the light's path on it, a headland with a lighthouse, and boats."""
    palette, rng, horizon = easel.palette, easel.rng, easel.rng.uniform(0.5, 0.6)
    light_x, _ = draw_sky(easel, horizon)
    easel.gradient(horizon, 1, [mix(palette.horizon, palette.middle, 0.4), palette.middle, palette.top, palette.near])
    for _ in range(420 if easel.detailed else 160):
        depth = rng.random() ** 1.3
        on_path = rng.random() < 0.6
        x = light_x + rng.gauss(0, 0.018 + 0.07 * depth) if on_path else rng.random()
        y, half = horizon + 0.004 + depth * (1 - horizon), (0.004 + 0.03 * depth) * rng.uniform(0.4, 1)
        shade = (
            mix(palette.middle, palette.light, rng.uniform(0.4, 0.9))
            if on_path
            else mix(palette.top, palette.middle, 0.7)
        )
        easel.box(x - half, y, x + half, y + 0.0012 + 0.0022 * depth, shade)
    side = 1 if light_x < 0.5 else -1
    draw_headland(easel, horizon, side)
    for _ in range(rng.randint(1, 3)):
        draw_boat(easel, light_x + side * rng.uniform(-0.1, 0.32), horizon + rng.uniform(0.02, 0.12))


def draw_headland(easel: Easel, horizon: float, side: int) -> None:
    """A cape at the right (`side` 1) or left edge with a lighthouse on it."""
    palette, rng = easel.palette, easel.rng

    def x(from_edge: float) -> float:
        return 1 - from_edge if side > 0 else from_edge

    reach = rng.uniform(0.3, 0.4)
    steps = [step / 24 for step in range(25)]
    crest = [(x(reach * (1 - s)), horizon + 0.02 - 0.13 * s**0.7 + rng.uniform(-0.004, 0.004)) for s in steps]
    foot = [(x(0), horizon + 0.1), (x(reach * 0.7), horizon + 0.045)]
    easel.shape([*crest, *foot], mix(palette.far, palette.near, 0.75))
    tower, base = x(reach * 0.42), horizon - 0.07
    wide, top = easel.across(0.017), base - 0.2
    white, red = mix(palette.light, palette.middle, 0.15), (186, 58, 52)
    easel.shape(
        [(tower - wide, base), (tower - wide * 0.65, top), (tower + wide * 0.65, top), (tower + wide, base)], white
    )
    for band in (0.25, 0.62):
        middle = base - 0.2 * band
        easel.box(tower - wide * (1 - 0.35 * band), middle - 0.035, tower + wide * (1 - 0.35 * band), middle, red)
    easel.box(tower - wide, top - 0.006, tower + wide, top, palette.near)
    easel.box(tower - wide * 0.5, top - 0.032, tower + wide * 0.5, top - 0.006, (255, 236, 160))
    easel.shape([(tower - wide * 0.8, top - 0.032), (tower, top - 0.06), (tower + wide * 0.8, top - 0.032)], red)
    easel.glow(tower, top - 0.02, 0.14, (255, 236, 160), 0.55)


def draw_boat(easel: Easel, x: float, waterline: float) -> None:
    """A sailing boat, larger the nearer it is."""
    tall = 0.05 + 0.5 * (waterline - 0.5)
    half, palette = easel.across(tall * 0.4), easel.palette
    sail = mix(palette.light, palette.horizon, 0.2)
    easel.shape([(x, waterline - tall), (x, waterline - tall * 0.14), (x + half, waterline - tall * 0.14)], sail)
    jib = [
        (x - half * 0.1, waterline - tall * 0.85),
        (x - half * 0.1, waterline - tall * 0.14),
        (x - half * 0.75, waterline - tall * 0.14),
    ]
    easel.shape(jib, mix(sail, palette.far, 0.3))
    hull = [
        (x - half, waterline - tall * 0.1),
        (x + half, waterline - tall * 0.1),
        (x + half * 0.7, waterline),
        (x - half * 0.7, waterline),
    ]
    easel.shape(hull, palette.near)
