"""The objects of a scene."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from painted_world.painter.canvas import HORIZON, Colour, Patch, Rng, mix, times
from painted_world.painter.grounds import fir
from painted_world.painter.sky import Mood
from painted_world.painter.vocabulary import COLOURS, Thing


def paint_thing(patch: Patch, thing: Thing, time: str, mood: Mood, rng: Rng) -> None:
    """Lay the object over the scene; sun and moon are the sky's own."""
    if thing.kind in _THINGS:
        _THINGS[thing.kind](patch, thing, time, mood, rng)


def object_light(mood: Mood) -> Colour:
    """Objects keep their colour better than the ground, or no word for it could be recognised at night."""
    red, green, blue = mood.light
    return max(red, 0.75), max(green, 0.75), max(blue, 0.78)


def _balloon(patch: Patch, thing: Thing, time: str, mood: Mood, rng: Rng) -> None:
    cx, r = thing.x, rng.uniform(27, 36)
    cy = rng.uniform(16 + r, 96)
    colour = times(COLOURS[thing.colour], object_light(mood))
    near = patch.within(cx - r, cy - 1.2 * r, cx + r, cy + 2.2 * r)
    across, down = (near.xs - cx) / r, (near.ys - cy) / r
    half = np.where(
        down < 0, np.sqrt(np.clip(1 - down**2, 0, 1)), np.clip(1 - 0.28 * down - 0.34 * down**2, 0, 1)
    )
    mask = near.edge((half - np.abs(across)) * r) * near.edge((down + 1) * r) * near.edge((1.25 - down) * r)
    gore = np.cos(np.clip(across / np.maximum(half, 0.05), -1, 1) * 3 * np.pi)
    shade = 1.02 - 0.26 * across + 0.07 * gore - 0.08 * down
    near.blend((np.asarray(colour, np.float32) * shade[..., None]).clip(0, 255), mask)
    basket = times((116, 76, 44), object_light(mood))
    near.blend(basket, near.box(cx - 5, cy + 1.6 * r, cx + 5, cy + 1.6 * r + 9))
    for side in (-1, 1):
        rope = cx + side * (4 + (1.62 - down) * 0.5 * r * 0.6)
        near.blend(basket, 0.8 * near.edge(0.6 - np.abs(near.xs - rope)) * (down > 1.2) * (down < 1.64))


def _house(patch: Patch, thing: Thing, time: str, mood: Mood, rng: Rng) -> None:
    cx, w, h = thing.x, rng.uniform(66, 84), rng.uniform(38, 46)
    foot = HORIZON + rng.uniform(30, 66)
    light = object_light(mood)
    wall, roof = times(COLOURS[thing.colour], light), times((92, 70, 66), light)
    near = patch.within(cx - 0.7 * w, foot - h - 0.6 * w, cx + 0.7 * w, foot + 6)
    near.blend((0, 0, 0), 0.3 * near.disc(cx + 4, foot, 0.6 * w, 5))
    near.blend(roof, near.box(cx + 0.2 * w, foot - h - 0.45 * w, cx + 0.32 * w, foot - h))
    side = np.asarray(wall, np.float32) * (1.06 - 0.2 * (near.xs - cx + w / 2) / w)[..., None]
    near.blend(
        np.broadcast_to(side, near.image.shape).clip(0, 255), near.box(cx - w / 2, foot - h, cx + w / 2, foot)
    )
    gable = near.ys - (foot - h - 0.42 * w) - np.abs(near.xs - cx) * 0.72
    near.blend(roof, near.edge(gable) * near.edge(foot - h + 2 - near.ys))
    pane = (255, 218, 132) if time != "day" else (74, 96, 124)
    for dx in (-0.3, 0.3):
        left = cx + dx * w - 6
        near.blend(pane, near.box(left, foot - 0.74 * h, left + 12, foot - 0.74 * h + 12))
    near.blend(times((74, 48, 36), light), near.box(cx - 5.5, foot - 0.62 * h, cx + 5.5, foot))


def _boat(patch: Patch, thing: Thing, time: str, mood: Mood, rng: Rng) -> None:
    cx, w = thing.x, rng.uniform(62, 80)
    foot = HORIZON + rng.uniform(28, 62)
    light = object_light(mood)
    colour = times(COLOURS[thing.colour], light)
    near = patch.within(cx - 0.7 * w, foot - 1.3 * w, cx + 0.7 * w, foot + 0.9 * w)
    mast, deck = cx - 0.04 * w, foot - 11
    for sign, mast_side in ((1, 0.58), (-1, 0.42)):
        out = sign * (near.xs - mast) - 1
        sail = near.edge(out) * near.edge(deck - 2 - near.ys)
        sail = sail * near.edge((near.ys - deck + 1.12 * w) / 2 - out * 0.5 * (1.12 / mast_side))
        shade = 1.04 - 0.1 * (sign < 0) - 0.006 * np.abs(out)
        near.blend((np.asarray(colour, np.float32) * shade[..., None]).clip(0, 255), sail)
    near.blend(times((70, 50, 40), light), near.box(mast - 1.5, deck - 1.16 * w, mast + 1.5, deck))
    hull = np.abs(near.xs - cx) - 0.54 * w + (near.ys - deck) * 0.9
    near.blend(times((112, 66, 40), light), near.edge(-hull) * near.box(cx - w, deck, cx + w, foot))
    ripple = 0.5 * near.glow(cx, foot + 9, 0.4 * w, 11) * (near.ys > foot)
    near.blend(mix(colour, mood.haze, 0.3), ripple)


def _tree(patch: Patch, thing: Thing, time: str, mood: Mood, rng: Rng) -> None:
    cx, foot, r = thing.x, HORIZON + rng.uniform(26, 64), rng.uniform(23, 30)
    light = mood.light
    leaf = times((44, 124, 48), light)
    ground = patch.within(cx - 1.4 * r, foot - 6, cx + 1.6 * r, foot + 6)
    ground.blend((0, 0, 0), 0.28 * ground.disc(cx + 4, foot, 1.1 * r, 4.5))
    if rng.random() < 0.3:
        fir(patch, cx, foot, 3.4 * r, 1.5 * r, times((28, 92, 50), light))
        return
    near = patch.within(cx - 1.7 * r, foot - 3.6 * r, cx + 1.7 * r, foot + 2)
    near.blend(times((96, 66, 42), light), near.box(cx - 3.5, foot - 1.6 * r, cx + 3.5, foot))
    for shade, lift, spread in ((0.82, 1.55, 1.0), (1.0, 1.95, 0.85), (1.24, 2.3, 0.5)):
        for _ in range(5):
            dx, dy = rng.uniform(-0.6, 0.45) * spread * r, rng.uniform(-0.3, 0.3) * spread * r
            size = r * rng.uniform(0.5, 0.72) * (0.7 + 0.3 * spread)
            near.blend(times(leaf, shade), near.disc(cx + dx, foot - lift * r + dy, size, 0.86 * size))


_THINGS: dict[str, Callable[[Patch, Thing, str, Mood, Rng], None]] = {
    "balloon": _balloon,
    "house": _house,
    "boat": _boat,
    "tree": _tree,
}
