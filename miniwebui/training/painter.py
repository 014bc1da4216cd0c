"""A small painted world: skies by the hour, six kinds of ground, a few objects, each scene with its caption.

The horizon stays at one height and nothing is composed around the centre, so that tiles of one prompt fit together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIZE = 256
MARGIN = 32
"""Painted around the picture: nothing begins or ends at its edges, so that tiles have no edge to imitate."""
HORIZON = 0.6
TIMES = ("day", "sunset", "night")
GROUNDS = ("sea", "meadow", "desert", "forest", "mountains", "city skyline")
OBJECTS = ("red balloon", "house", "boat", "tree", "sun", "moon")

Image = NDArray[np.float32]  # [H, W, 3], 0 ... 255

SKY = {
    "day": ((70, 140, 230), (190, 222, 250)),
    "sunset": ((95, 60, 130), (252, 150, 75)),
    "night": ((6, 10, 38), (28, 38, 84)),
}
GROUND = {
    "sea": (30, 110, 185),
    "meadow": (95, 170, 60),
    "desert": (226, 186, 112),
    "forest": (34, 92, 44),
    "mountains": (122, 124, 140),
    "city skyline": (96, 98, 116),
}
LIGHT = {"day": (1.0, 1.0, 1.0), "sunset": (0.95, 0.66, 0.56), "night": (0.34, 0.38, 0.52)}

_Y, _X = np.mgrid[-MARGIN : SIZE + MARGIN, -MARGIN : SIZE + MARGIN].astype(np.float32)


@dataclass(frozen=True)
class Scene:
    """What a picture shows; `thing` is empty or one of OBJECTS."""

    ground: str
    time: str
    thing: str = ""

    @property
    def words(self) -> list[str]:
        return [word for word in (self.ground, self.time, self.thing) if word]


def random_scene(rng: np.random.Generator) -> Scene:
    """A scene whose object, if it has one, fits its ground and hour."""
    ground, time = str(rng.choice(GROUNDS)), str(rng.choice(TIMES))
    things = ["red balloon", "moon" if time == "night" else "sun"]
    if ground == "sea":
        things.append("boat")
    elif ground in ("meadow", "desert"):
        things += ["house", "tree"]
    return Scene(ground, time, str(rng.choice(things)) if rng.random() < 0.55 else "")


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """The scene's words, sometimes in another order, sometimes fewer."""
    words = scene.words
    if rng.random() < 0.3:
        rng.shuffle(words)
    if len(words) > 1 and rng.random() < 0.1:
        words.pop(int(rng.integers(len(words))))
    return ", ".join(words)


def _smooth_noise(rng: np.random.Generator, waves: int) -> NDArray[np.float32]:
    """A smooth line in about -1 ... 1 made of `waves` sines, over the whole width."""
    x = _X[0] / SIZE
    frequency = rng.uniform(0.5, waves, size=waves)
    phase = rng.uniform(0, 2 * np.pi, size=waves)
    return np.sin(2 * np.pi * frequency[:, None] * x + phase[:, None]).sum(0) / np.sqrt(waves)


def _blend(image: Image, colour: tuple[float, ...], mask: NDArray[np.float32]) -> None:
    """Lay a colour over the image where `mask` (0 ... 1) is."""
    image += (np.asarray(colour, np.float32) - image) * mask[..., None]


def _below(line: NDArray[np.float32], softness: float = 1.5) -> NDArray[np.float32]:
    """1 below the line (in pixels from the top), 0 above it, antialiased."""
    return np.clip((_Y - line[None, :]) / softness + 0.5, 0, 1)


def _disc(cx: float, cy: float, rx: float, ry: float, softness: float = 1.5) -> NDArray[np.float32]:
    distance = np.sqrt(((_X - cx) / rx) ** 2 + ((_Y - cy) / ry) ** 2)
    return np.clip((1 - distance) * min(rx, ry) / softness + 0.5, 0, 1)


def _box(left: float, top: float, width: float, height: float) -> NDArray[np.float32]:
    across = np.clip(np.minimum(_X - left, left + width - _X) + 0.5, 0, 1)
    down = np.clip(np.minimum(_Y - top, top + height - _Y) + 0.5, 0, 1)
    return across * down


def _lit(colour: tuple[float, ...], time: str) -> tuple[float, ...]:
    return tuple(c * light for c, light in zip(colour, LIGHT[time]))


def _paint_sky(image: Image, time: str, rng: np.random.Generator) -> None:
    top, bottom = (np.asarray(colour, np.float32) for colour in SKY[time])
    height = np.clip(_Y / (SIZE * HORIZON), 0, 1)[..., None]
    image[:] = top + (bottom - top) * height
    if time == "night":
        for _ in range(int(rng.integers(8, 18))):
            cx, cy = rng.uniform(-MARGIN, SIZE + MARGIN), rng.uniform(-MARGIN, SIZE * 0.45)
            _blend(image, (225, 225, 235), np.exp(-((_X - cx) ** 2 + (_Y - cy) ** 2) / 5))
        return
    for _ in range(int(rng.integers(0, 6))):
        cx, cy, rx = rng.uniform(-2 * MARGIN, SIZE + 2 * MARGIN), rng.uniform(20, 100), rng.uniform(25, 55)
        cloud = np.exp(-(((_X - cx) / rx) ** 2) - ((_Y - cy) / (rx * 0.28)) ** 2)
        _blend(image, _lit((250, 250, 252), time), 0.8 * cloud)


def _paint_mountains(image: Image, time: str, rng: np.random.Generator) -> None:
    x = _X[0]
    line = np.full_like(x, SIZE * HORIZON)
    for centre in range(-2 * MARGIN - 20, SIZE + 2 * MARGIN + 52, 52):
        cx = centre + rng.uniform(-18, 18)
        peak = rng.uniform(45, 85)
        line = np.minimum(line, SIZE * HORIZON - peak + np.abs(x - cx) * rng.uniform(1.0, 1.4))
    _blend(image, _lit(GROUND["mountains"], time), _below(line))
    snow = _below(line) * np.clip((SIZE * (HORIZON - 0.16) - _Y) / 6, 0, 1)
    _blend(image, _lit((245, 247, 252), time), snow)


def _paint_city(image: Image, time: str, rng: np.random.Generator) -> None:
    left = -MARGIN - rng.uniform(0, 46)
    while left < SIZE + MARGIN:
        width, height = float(rng.integers(26, 46)), float(rng.integers(36, 100))
        top, shade = SIZE * HORIZON - height, rng.uniform(0.75, 1.2)
        _blend(
            image,
            _lit(tuple(c * shade for c in GROUND["city skyline"]), time),
            _box(left, top, width, height + 4),
        )
        if time != "day":
            for wy in np.arange(top + 8, SIZE * HORIZON - 8, 14):
                for wx in np.arange(left + 6, left + width - 9, 14):
                    if rng.random() < 0.5:
                        _blend(image, (250, 214, 120), _box(wx, wy, 8, 8))
        left += width + rng.uniform(0, 8)


def _paint_ground(image: Image, ground: str, time: str, rng: np.random.Generator) -> None:
    horizon = SIZE * HORIZON
    if ground == "mountains":
        _paint_mountains(image, time, rng)
    if ground == "city skyline":
        _paint_city(image, time, rng)
    swell = {"meadow": (6, 3), "desert": (9, 2), "forest": (7, 12)}.get(ground, (0, 1))
    line = horizon + swell[0] * _smooth_noise(rng, swell[1])
    if ground == "forest":
        line -= 22
    depth = np.clip((_Y - horizon) / (SIZE - horizon), 0, 1)
    base = {"mountains": (104, 128, 84), "city skyline": (72, 74, 86)}.get(ground, GROUND[ground])
    colour = np.asarray(_lit(base, time), np.float32) * (1.08 - 0.3 * depth[..., None])
    image += (colour - image) * _below(line)[..., None]
    strength = 14 if ground == "sea" else 7
    stripes = _smooth_noise(rng, 5)[None, :] * np.sin(2 * np.pi * (depth**0.6 * 9 + rng.random()))
    image += (
        strength * LIGHT[time][1] * stripes[..., None] * _below(line)[..., None] * (horizon < _Y)[..., None]
    )


def _paint_thing(image: Image, thing: str, time: str, rng: np.random.Generator) -> None:
    cx, horizon = rng.uniform(16, SIZE - 16), SIZE * HORIZON
    if thing == "red balloon":
        cy, r = rng.uniform(40, 95), rng.uniform(18, 27)
        _blend(image, _lit((90, 60, 40), time), _box(cx - 4, cy + r * 1.5, 8, 7))
        colour = tuple(c * max(light, 0.7) for c, light in zip((222, 32, 36), LIGHT[time]))
        _blend(image, colour, _disc(cx, cy, r, r * 1.15))
    elif thing in ("sun", "moon"):
        cy, r = rng.uniform(30, 80), rng.uniform(13, 18)
        colour = (240, 240, 225) if thing == "moon" else (255, 236, 130)
        _blend(image, colour, 0.35 * np.exp(-((_X - cx) ** 2 + (_Y - cy) ** 2) / (2.2 * r) ** 2))
        _blend(image, colour, _disc(cx, cy, r, r))
    elif thing == "house":
        w, h, foot = rng.uniform(40, 56), rng.uniform(28, 36), horizon + rng.uniform(22, 50)
        _blend(image, _lit((236, 226, 204), time), _box(cx - w / 2, foot - h, w, h))
        roof = np.clip(_Y - (foot - h - w * 0.4) - np.abs(_X - cx) * 0.75 + 0.5, 0, 1) * (foot - h >= _Y)
        _blend(image, _lit((172, 62, 44), time), roof)
    elif thing == "boat":
        w, foot = rng.uniform(40, 54), horizon + rng.uniform(18, 46)
        sail = np.clip((_X - cx) * 1.0, 0, 1) * np.clip(foot - 8 - _Y, 0, 1)
        sail *= np.clip(_Y - (foot - 8 - w) - (_X - cx) * 1.8, 0, 1)
        _blend(image, _lit((248, 246, 240), time), sail)
        _blend(image, _lit((112, 58, 36), time), _disc(cx, foot - 7, w / 2, 14) * (foot - 7 < _Y))
    elif thing == "tree":
        foot, r = horizon + rng.uniform(20, 45), rng.uniform(20, 28)
        _blend(image, _lit((104, 70, 42), time), _box(cx - 4, foot - r * 1.6, 8, r * 1.6))
        _blend(image, _lit((38, 110, 42), time), _disc(cx, foot - r * 2, r, r * 1.1))


def paint_with_margin(scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The scene with MARGIN more pixels on every side. [320, 320, 3]"""
    image = np.zeros((*_X.shape, 3), np.float32)
    _paint_sky(image, scene.time, rng)
    if scene.thing in ("sun", "moon"):
        _paint_thing(image, scene.thing, scene.time, rng)
    _paint_ground(image, scene.ground, scene.time, rng)
    if scene.thing and scene.thing not in ("sun", "moon"):
        _paint_thing(image, scene.thing, scene.time, rng)
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)


def paint(scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The scene as a picture of the model's native size. [256, 256, 3]"""
    return paint_with_margin(scene, rng)[MARGIN:-MARGIN, MARGIN:-MARGIN]
