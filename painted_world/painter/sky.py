"""Skies by hour and weather: colours, clouds, stars, sun and moon; and the light that falls on the ground."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from painted_world.painter.canvas import HORIZON, Array, Colour, Patch, Rng, mix, times
from painted_world.painter.vocabulary import Thing


@dataclass(frozen=True)
class Mood:
    """The colours of an hour: the sky's from the top to the horizon, the light on things, haze, clouds."""

    sky: tuple[Colour, ...]
    light: Colour
    haze: Colour
    cloud: Colour
    cloud_base: Colour


MOODS = {
    "day": Mood(
        ((44, 112, 214), (98, 164, 236), (196, 226, 248)),
        (1.0, 1.0, 1.0),
        (198, 222, 242),
        (254, 254, 254),
        (186, 204, 226),
    ),
    "sunset": Mood(
        ((62, 44, 112), (196, 82, 116), (254, 176, 88)),
        (0.98, 0.66, 0.56),
        (244, 152, 110),
        (255, 176, 132),
        (150, 78, 118),
    ),
    "night": Mood(
        ((9, 14, 48), (24, 38, 92), (74, 92, 152)),
        (0.4, 0.46, 0.66),
        (68, 86, 144),
        (74, 86, 134),
        (36, 46, 88),
    ),
}
STOPS = (0.0, 0.55, 1.0)
"""Heights of a sky's colours, between the top of the scene and the horizon."""


def mood_of(time: str, weather: str) -> Mood:
    """Clouds and fog take the colour out of the sky and the strength out of the light."""
    mood = MOODS[time]
    share = {"clear": 0.0, "clouds": 0.3, "fog": 0.6}[weather]
    grey = times((176, 184, 194), {"day": 1.0, "sunset": 0.9, "night": 0.42}[time])
    dull = mix(grey, mood.haze, 0.35)
    return Mood(
        tuple(mix(colour, dull, share) for colour in mood.sky),
        times(mood.light, 1 - 0.3 * share),
        mix(mood.haze, dull, share),
        mix(mood.cloud, grey, 0.5 * share),
        mix(mood.cloud_base, times(grey, 0.8), share),
    )


def sky_colours(mood: Mood, height: Array) -> Array:
    """Colours at heights 0 (top of the scene) ... 1 (horizon). [..., 3]"""
    stops = np.asarray(mood.sky, np.float32)
    bands = [np.interp(height, STOPS, stops[:, band]) for band in range(3)]
    return np.stack(bands, -1).astype(np.float32)


def paint_sky(patch: Patch, time: str, weather: str, mood: Mood, lights: tuple[Thing, ...], rng: Rng) -> None:
    """Everything above the horizon that is not ground; `lights`: the scene's sun or moon."""
    patch.image[:] = sky_colours(mood, patch.ys / HORIZON)
    if time == "night" and weather != "fog":
        _stars(patch, rng)
    for light in lights:
        _sun_or_moon(patch, light, time, weather, rng)
    few, many = {"clear": (0, 2), "clouds": (5, 9), "fog": (0, 1)}[weather]
    width = float(np.ptp(patch.xs)) + 120
    for _ in range(round(rng.uniform(few, many) * width / 376)):
        left = float(patch.xs[0, 0]) - 60 + rng.uniform(0, width)
        _cloud(patch, left, rng.uniform(26, 112), rng.uniform(18, 34), mood, rng)


def light_place(thing: Thing, time: str) -> tuple[float, float, float]:
    """Centre and radius of the sun or moon, in units. Its height follows from its place: one for each scene."""
    turn = (thing.x * 0.37) % 1.0
    if time == "sunset":
        return thing.x, 96 + 40 * turn, 17
    return thing.x, 30 + 40 * turn, 15


def _sun_or_moon(patch: Patch, thing: Thing, time: str, weather: str, rng: Rng) -> None:
    cx, cy, r = light_place(thing, time)
    colour = (246, 244, 226) if thing.kind == "moon" else (255, 238, 150)
    strength = {"clear": 0.62, "clouds": 0.5, "fog": 0.5}[weather]
    patch.blend(colour, strength * patch.glow(cx, cy, 2.9 * r, 2.6 * r))
    near = patch.within(cx - r, cy - r, cx + r, cy + r)
    near.blend(colour, near.disc(cx, cy, r, r))
    if thing.kind == "moon":
        for dx, dy, size in ((-4, -3, 4.5), (5, 2, 3.5), (-1, 6, 3)):
            near.blend((214, 212, 202), 0.7 * near.disc(cx + dx, cy + dy, size, size))


def _stars(patch: Patch, rng: Rng) -> None:
    left, width = float(patch.xs[0, 0]), float(np.ptp(patch.xs))
    for _ in range(int(width / 22)):
        cx, cy, bright = left + rng.uniform(0, width), rng.uniform(-30, 118), rng.uniform(0.45, 1)
        near = patch.within(cx - 5, cy - 5, cx + 5, cy + 5)
        near.blend((232, 236, 250), bright * near.glow(cx, cy, 2.3, 2.3))


def _cloud(patch: Patch, cx: float, base: float, size: float, mood: Mood, rng: Rng) -> None:
    """Billows on a flat base: bright above, in shade below."""
    near = patch.within(cx - 2.2 * size, base - 1.4 * size, cx + 2.2 * size, base + 0.4 * size)
    mask = np.zeros(near.image.shape[:2], np.float32)
    for offset in np.linspace(-1.3, 1.3, 6):
        r = size * (0.62 - 0.22 * abs(offset)) * rng.uniform(0.8, 1.15)
        mask = np.maximum(mask, near.disc(cx + offset * size, base - 0.45 * r, r, 0.8 * r))
    mask *= np.clip((base - near.ys) / (0.22 * size) + 0.5, 0, 1)
    shade = np.clip((base - near.ys) / (0.75 * size), 0, 1)[..., None]
    colour = np.asarray(mood.cloud_base) + (np.asarray(mood.cloud) - np.asarray(mood.cloud_base)) * shade
    near.blend(colour.astype(np.float32), 0.92 * mask)
