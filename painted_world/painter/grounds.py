"""The six grounds: what lies below the horizon, and what rises above it over the whole width."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from painted_world.painter.canvas import HORIZON, SIZE, Array, Colour, Patch, Rng, line_noise, mix, times
from painted_world.painter.sky import Mood, light_place, sky_colours
from painted_world.painter.vocabulary import Thing

BRICKS = ((176, 112, 92), (198, 170, 136), (120, 128, 146), (142, 104, 96), (206, 196, 180))
Lights = tuple[Thing, ...]
CELL, BAY = 8, 16
"""Buildings and windows keep to the grid of latent pixels (one window every other): they stay sharp through the VAE."""


def paint_ground(
    patch: Patch, ground: str, time: str, weather: str, mood: Mood, lights: Lights, rng: Rng
) -> None:
    """Lay the ground over a painted sky. `lights`: the scene's sun or moon, mirrored by water."""
    _GROUNDS[ground](patch, time, mood, lights, rng)
    if weather == "fog":
        bank = np.exp(-(((patch.ys - HORIZON + 4) / 52) ** 2)) * (0.85 + 0.15 * patch.noise(rng, 90, 24))
        patch.blend(mood.haze, 0.85 * np.clip(bank, 0, 1))


def cover_with_snow(patch: Patch, sky: Array, mood: Mood) -> None:
    """Turn what was laid over the sky (the picture before the ground, [h, w, 3]) white, its shades kept."""
    ground = np.clip(np.abs(patch.image - sky).max(-1) / 12, 0, 1)
    ground = np.maximum(ground, (patch.ys > HORIZON) * np.ones_like(patch.xs))
    light = np.asarray(mood.light, np.float32)
    shade = np.clip((patch.image / light).mean(-1, keepdims=True) / 210, 0, 1) ** 0.45
    white = (0.5 * light + 0.5 * light.mean() + 0.06) * (250, 252, 255) * (0.46 + 0.6 * shade)
    patch.blend(white.clip(0, 255).astype(np.float32), 0.9 * ground)


def _depth(patch: Patch) -> Array:
    """0 at the horizon and above, 1 at the bottom of the scene. [h, 1]"""
    return np.clip((patch.ys - HORIZON) / (SIZE - HORIZON), 0, 1.5)


def _hill(patch: Patch, line: Array, near: Colour, far: Colour, height: float, relief: float) -> None:
    """A slope under a line (units): `far` colour at its crest, `near` at `height` below, lit where it rises."""
    down = np.clip((patch.ys - line) / height, 0, 1)[..., None]
    slope = np.gradient(line[0] if line.ndim == 2 else line) * patch.zoom
    shade = 1 + relief * np.clip(slope * 2.5, -1, 1)[None, :, None] * (1 - 0.6 * down)
    colour = (np.asarray(far, np.float32) + (np.asarray(near, np.float32) - np.asarray(far)) * down) * shade
    patch.blend(colour.astype(np.float32), patch.below(line))


def _sea(patch: Patch, time: str, mood: Mood, lights: Lights, rng: Rng) -> None:
    depth = _depth(patch)
    mirrored = sky_colours(mood, 1 - 0.9 * depth)
    deep = np.asarray(times({"day": (14, 92, 158), "sunset": (42, 62, 118), "night": (18, 50, 108)}[time], 1))
    share = (0.34 + 0.36 * np.clip(depth, 0, 1))[..., None]
    colour = mirrored + (deep - mirrored) * share
    far = np.sqrt(depth) * SIZE
    waves = patch.noise(rng, 30, 11, far) + 0.6 * patch.noise(rng, 13, 6, far)
    bright = np.clip(waves * 1.5 - 0.25, 0, 1) * (0.25 + 0.75 * depth)
    dark = np.clip(-waves * 1.3 - 0.2, 0, 1) * (0.25 + 0.75 * depth)
    colour = colour * (1 - 0.2 * dark[..., None]) + (mirrored[:1] * 0.9 + 24 - colour) * (
        0.3 * bright[..., None]
    )
    patch.blend(colour.astype(np.float32), patch.edge(patch.ys - HORIZON) * np.ones_like(patch.xs))
    _glitter(patch, time, lights, rng)


def _glitter(patch: Patch, time: str, lights: Lights, rng: Rng) -> None:
    """The path of light under the sun or moon on water."""
    depth = _depth(patch)
    for light in lights:
        cx, _, r = light_place(light, time)
        colour = {"day": (255, 250, 226), "sunset": (255, 214, 130), "night": (214, 222, 240)}[time]
        path = np.exp(-(((patch.xs - cx) / (r * (0.8 + 0.9 * depth))) ** 2))
        broken = np.clip(0.62 + 0.55 * patch.noise(rng, 22, 9, np.sqrt(depth) * SIZE), 0, 1)
        patch.blend(colour, 0.8 * path * broken * patch.edge(patch.ys - HORIZON - 1))


def _meadow(patch: Patch, time: str, mood: Mood, lights: Lights, rng: Rng) -> None:
    xs = patch.xs
    greens = ((118, 176, 92), (104, 178, 62), (76, 152, 44))
    for index, (offset, swell, length) in enumerate(((-9, 8, 90), (6, 7, 120), (40, 9, 170))):
        line = HORIZON + offset + swell * line_noise(rng, xs[0], length, 2)
        haze = (0.34, 0.1, 0.0)[index]
        near = mix(times(greens[index], mood.light), mood.haze, haze)
        _hill(patch, line[None], times(near, 0.82), times(near, 1.12), (40, 48, 70)[index], 0.16)
        if index < 2:
            _bushes(patch, line, times(near, 0.66), (7, 11)[index], rng)
    if time == "day":
        _flowers(patch, rng)


def _bushes(patch: Patch, line: Array, colour: Colour, size: float, rng: Rng) -> None:
    """Small hedges along the crest of a hill."""
    left, width = float(patch.xs[0, 0]), float(np.ptp(patch.xs))
    for _ in range(int(width / 90 * rng.uniform(0.4, 1.6))):
        cx = left + rng.uniform(0, width)
        foot = float(np.interp(cx, patch.xs[0], line)) + 1
        for dx in (-0.8, 0.0, 0.9):
            r = size * rng.uniform(0.6, 1)
            near = patch.within(cx + dx * size - r, foot - r, cx + dx * size + r, foot + r)
            near.blend(colour, near.disc(cx + dx * size, foot - 0.5 * r, r, 0.8 * r))


def _flowers(patch: Patch, rng: Rng) -> None:
    left, width = float(patch.xs[0, 0]), float(np.ptp(patch.xs))
    tint = ((250, 240, 240), (250, 214, 70), (236, 120, 150))[int(rng.integers(3))]
    for _ in range(int(width / 26)):
        cx, cy = left + rng.uniform(0, width), rng.uniform(HORIZON + 58, SIZE + 24)
        near = patch.within(cx - 5, cy - 5, cx + 5, cy + 5)
        near.blend(tint, 0.9 * near.glow(cx, cy, 3.2, 2.6))


def _desert(patch: Patch, time: str, mood: Mood, lights: Lights, rng: Rng) -> None:
    sands = ((236, 196, 132), (232, 180, 104), (222, 164, 84), (206, 142, 68))
    for index, (offset, swell, length) in enumerate(
        ((-5, 7, 80), (10, 9, 110), (34, 12, 150), (66, 14, 190))
    ):
        line = HORIZON + offset + swell * line_noise(rng, patch.xs[0], length, 1)
        sand = mix(times(sands[index], mood.light), mood.haze, (0.34, 0.12, 0.0, 0.0)[index])
        _hill(patch, line[None], times(sand, 0.84), times(sand, 1.1), (26, 36, 48, 60)[index], 0.26)


def _forest(patch: Patch, time: str, mood: Mood, lights: Lights, rng: Rng) -> None:
    rows = (
        (-2, 44, 24, 0.62, (50, 110, 74)),
        (20, 64, 32, 0.28, (34, 98, 54)),
        (52, 92, 46, 0.0, (22, 78, 38)),
    )
    floor = HORIZON + 2 + 3 * line_noise(rng, patch.xs[0], 120)
    grass = times((74, 128, 56), mood.light)
    _hill(patch, floor[None], times(grass, 0.7), mix(grass, mood.haze, 0.35), 80, 0.0)
    for foot, height, spacing, haze, green in rows:
        colour = mix(times(green, mood.light), mood.haze, haze)
        _tree_row(patch, HORIZON + foot, height, spacing, colour, rng)
    ground = HORIZON + 47 + 4 * line_noise(rng, patch.xs[0], 90, 2)
    _hill(
        patch,
        ground[None],
        times(times((34, 66, 30), mood.light), 0.8),
        times((66, 120, 46), mood.light),
        34,
        0.1,
    )


def _tree_row(patch: Patch, foot: float, height: float, spacing: float, colour: Colour, rng: Rng) -> None:
    """Firs side by side: three tiers each, lit from the left."""
    left, width = float(patch.xs[0, 0]), float(np.ptp(patch.xs))
    for cx in np.arange(left - spacing, left + width + spacing, spacing * 0.8):
        fir(
            patch,
            cx + rng.uniform(-0.3, 0.3) * spacing,
            foot,
            height * rng.uniform(0.7, 1.1),
            spacing,
            colour,
        )


def fir(patch: Patch, cx: float, foot: float, height: float, width: float, colour: Colour) -> None:
    """One conifer, its foot at that height (units)."""
    near = patch.within(cx - width, foot - height, cx + width, foot)
    if near.image.size == 0:
        return
    up = (foot - near.ys) / height
    half = width * np.clip(1 - up, 0, 1) ** 0.8 * (0.34 + 0.3 * (1 - np.mod(up * 2.5, 1)))
    mask = (
        near.edge(half - np.abs(near.xs - cx))
        * near.edge(foot - near.ys)
        * near.edge(near.ys - foot + height)
    )
    shade = (1.06 - 0.24 * np.clip((near.xs - cx) / (0.5 * width), -0.5, 1)) * (
        0.82 + 0.26 * np.clip(up, 0, 1)
    )
    near.blend((np.asarray(colour, np.float32) * shade[..., None]).astype(np.float32), mask)


def _mountains(patch: Patch, time: str, mood: Mood, lights: Lights, rng: Rng) -> None:
    rows = ((92, 78, 0.56, (112, 126, 158)), (62, 62, 0.2, (104, 108, 126)))
    for peak, spacing, haze, rock in rows:
        _range(
            patch,
            peak,
            spacing,
            times(rock, mood.light),
            times((246, 248, 252), mood.light),
            mood.haze,
            haze,
            rng,
        )
    wood = mix(times((44, 88, 58), mood.light), mood.haze, 0.16)
    line = HORIZON - 5 + 5 * line_noise(rng, patch.xs[0], 70, 3)
    _hill(patch, line[None], times(wood, 0.8), wood, 30, 0.08)
    for offset, length, green in ((12, 110, (98, 148, 74)), (44, 160, (80, 130, 56))):
        slope = HORIZON + offset + 7 * line_noise(rng, patch.xs[0], length, 2)
        lit = mix(times(green, mood.light), mood.haze, 0.08 if offset < 20 else 0.0)
        _hill(patch, slope[None], times(lit, 0.8), times(lit, 1.08), 52, 0.14)


def _range(
    patch: Patch, peak: float, spacing: float, rock: Colour, snow: Colour, haze: Colour, far: float, rng: Rng
) -> None:
    """Peaks side by side, a lit and a shaded face each, snow on top, paler towards their foot."""
    left, width = float(patch.xs[0, 0]), float(np.ptp(patch.xs))
    xs = patch.xs[0]
    line = np.full_like(xs, HORIZON + 30)
    turn, top = np.zeros_like(xs), np.zeros_like(xs)
    jagged = 5 * line_noise(rng, xs, 18, 2)
    for cx in np.arange(left - 2 * spacing, left + width + 2 * spacing, spacing * 0.62):
        cx += rng.uniform(-0.25, 0.25) * spacing
        high = HORIZON - peak * rng.uniform(0.55, 1.05)
        slope = np.abs(xs - cx) * rng.uniform(0.95, 1.3)
        mine = high + slope + jagged * np.clip(slope / 20, 0.2, 1)
        front = mine < line
        line, turn, top = np.where(front, mine, line), np.where(front, cx, turn), np.where(front, high, top)
    wobble = 9 * patch.noise(rng, 16, 12)
    lit = patch.edge(turn + wobble + (patch.ys - top) * 0.25 - patch.xs)[..., None]
    cover = patch.edge(top + 0.36 * peak + 1.2 * wobble - patch.ys)[..., None]
    base = np.asarray(rock, np.float32) * (0.72 + 0.4 * lit)
    white = np.asarray(snow, np.float32) * (0.74 + 0.26 * lit)
    colour = base + (white - base) * cover
    down = np.clip((patch.ys - top) / (HORIZON - top + 8), 0, 1)[..., None]
    colour += (np.asarray(haze, np.float32) - colour) * (far * (0.5 + 0.7 * down)).clip(0, 0.95)
    patch.blend(colour.astype(np.float32), patch.below(line))


def _city(patch: Patch, time: str, mood: Mood, lights: Lights, rng: Rng) -> None:
    if time == "night":  # the town lights its own haze
        bank = np.exp(-(((patch.ys - HORIZON) / 74) ** 2)) * np.ones_like(patch.xs)
        patch.blend((112, 92, 132), 0.62 * bank * (patch.ys < HORIZON + 1))
    glass = {"day": (112, 124, 148), "sunset": (112, 74, 108), "night": (48, 56, 96)}[time]
    walls = {"day": (124, 116, 110), "sunset": (76, 50, 82), "night": (24, 28, 62)}[time]
    haze = mix(mood.haze, (112, 92, 132), 0.6 if time == "night" else 0.0)
    _block(patch, (3, 6), (0, 2), mix(glass, haze, 0.5), 0.0, time, rng)
    _block(patch, (2, 5), (1, 3), walls, {"day": 0.0, "sunset": 0.5, "night": 0.8}[time], time, rng)
    _river(patch, time, mood, rng)
    _glitter(patch, time, lights, rng)


def _block(
    patch: Patch,
    heights: tuple[int, int],
    widths: tuple[int, int],
    wall: Colour,
    lit: float,
    time: str,
    rng: Rng,
) -> None:
    """A row of buildings on the horizon; `lit`: how many of their windows at most (0: windows are not drawn)."""
    left = CELL * (np.floor(float(patch.xs[0, 0]) / CELL) - int(rng.integers(0, 6)))
    end = float(patch.xs[0, -1])
    while left < end:
        width = CELL + BAY * int(rng.integers(widths[0], widths[1] + 1))
        top = HORIZON - CELL - BAY * int(rng.integers(heights[0], heights[1] + 1))
        tint = BRICKS[int(rng.integers(len(BRICKS)))] if time == "day" and wall[0] > wall[2] else wall
        shade = times(tint, rng.uniform(0.8, 1.2))
        near = patch.within(left, top - 24, left + width, HORIZON + 4)
        if near.image.size:
            _building(near, left, top, width, shade, time, lit * rng.uniform(0.3, 1), rng)
        left += width + CELL * int(rng.choice((0, 0, 1)))


def _building(
    near: Patch, left: float, top: float, width: float, wall: Colour, time: str, lit: float, rng: Rng
) -> None:
    right = left + width
    colour = np.asarray(wall) * (1.12 - 0.24 * np.clip((near.xs - left) / width, 0, 1))[..., None]
    side = np.broadcast_to(colour, (*near.image.shape[:2], 3)).astype(np.float32)
    roof = int(rng.integers(0, 4))
    if roof == 1 and width >= 24:  # set back at the top
        near.blend(side, near.box(left + CELL, top - CELL, right - CELL, top + 1))
    elif roof == 2:  # a mast
        near.blend(wall, near.box(left + width / 2 - 1.5, top - 18, left + width / 2 + 1.5, top))
    near.blend(side, near.box(left, top, right, HORIZON + 4))
    if lit == 0 and time != "day":
        return
    column, row = np.floor((near.xs - left) / BAY), np.floor((near.ys - top) / BAY)
    inside = (near.ys > top + 1) & (near.ys < HORIZON - 4) & (near.xs > left) & (near.xs < right)
    across, down = np.mod(near.xs - left, BAY), np.mod(near.ys - top, BAY)
    pane = (
        near.edge(np.minimum(across - 8.5, 15.5 - across))
        * near.edge(np.minimum(down - 8, 15.5 - down))
        * inside
    )
    picks = rng.random((40, 40))
    lights = picks[np.clip(row, 0, 39).astype(int), np.clip(column, 0, 39).astype(int)]
    if time == "day":
        near.blend(times(mix(wall, (150, 190, 220), 0.5), 0.92), 0.8 * pane)
        return
    near.blend(times(wall, 0.72), 0.6 * pane)
    warm = np.where((lights * 977 % 1 < 0.75)[..., None], (255, 212, 128), (255, 240, 206)).astype(np.float32)
    near.blend(warm, pane * (lights < lit))


def _river(patch: Patch, time: str, mood: Mood, rng: Rng) -> None:
    """Water before a town: what is above the quay, upside down, blurred and darker."""
    quay, water = HORIZON + 4, patch.ys[:, 0] > HORIZON + 8
    rows = np.flatnonzero(water)
    if len(rows):
        above = [2 * quay + 4 + shift - patch.ys[rows, 0] * 1.0 for shift in (-12, -8, -4, 0, 4, 8, 12)]
        source = [np.clip(np.searchsorted(patch.ys[:, 0], line), 0, max(rows[0] - 1, 0)) for line in above]
        mirrored = np.mean([patch.image[line] for line in source], axis=0)
        depth = _depth(patch)[rows]
        waves = patch.noise(rng, 34, 9, np.sqrt(_depth(patch)) * SIZE)[rows]
        deep = np.asarray({"day": (48, 96, 132), "sunset": (70, 48, 88), "night": (10, 18, 44)}[time])
        share = (0.3 + 0.25 * depth - 0.14 * waves).clip(0, 0.85)[..., None]
        patch.image[rows] = mirrored + (deep - mirrored) * share
    stone = times({"day": (132, 128, 124), "sunset": (96, 66, 78), "night": (34, 36, 60)}[time], 1.0)
    patch.blend(stone, patch.box(-1e6, HORIZON, 1e6, HORIZON + 8) * np.ones_like(patch.xs))


_GROUNDS: dict[str, Callable[[Patch, str, Mood, Lights, Rng], None]] = {
    "sea": _sea,
    "meadow": _meadow,
    "desert": _desert,
    "forest": _forest,
    "mountains": _mountains,
    "city skyline": _city,
}
