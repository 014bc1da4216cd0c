"""A painted world: six grounds at three hours, in weather, with objects, in styles; each scene with its caption.

The horizon stays at one height and nothing is composed around the centre, so that tiles of one prompt fit together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from painted_world.painter.canvas import HORIZON, SIZE, Rng, View, canvas
from painted_world.painter.grounds import cover_with_snow, paint_ground
from painted_world.painter.sky import mood_of, paint_sky
from painted_world.painter.styles import apply_style
from painted_world.painter.things import paint_thing
from painted_world.painter.vocabulary import (
    COLOURED,
    COLOURS,
    GROUNDS,
    STYLES,
    THINGS,
    TIMES,
    WEATHERS,
    Scene,
    Thing,
    caption,
    random_scene,
    random_thing,
    things_of,
)

MARGIN = 32
"""Painted around what is kept: nothing begins or ends at a picture's edges, so that tiles have no edge to imitate."""


def paint_view(scene: Scene, rng: Rng, view: View) -> NDArray[np.uint8]:
    """What the view shows of the scene. [view.height, view.width, 3]"""
    patch = canvas(view)
    mood = mood_of(scene.time, scene.weather)
    lights = tuple(thing for thing in scene.things if thing.kind in ("sun", "moon"))
    paint_sky(patch, scene.time, scene.weather, mood, lights, rng)
    sky = patch.image.copy() if scene.snowy else None
    paint_ground(patch, scene.ground, scene.time, scene.weather, mood, lights, rng)
    if sky is not None:
        cover_with_snow(patch, sky, mood)
    for thing in scene.things:
        paint_thing(patch, thing, scene.time, mood, rng)
    apply_style(patch, scene.style, rng)
    return np.clip(patch.image + 0.5, 0, 255).astype(np.uint8)


def paint(scene: Scene, rng: Rng) -> NDArray[np.uint8]:
    """The scene as a picture of the model's native size. [256, 256, 3]"""
    return paint_view(scene, rng, View())


__all__ = [
    "COLOURED",
    "COLOURS",
    "GROUNDS",
    "HORIZON",
    "MARGIN",
    "SIZE",
    "STYLES",
    "THINGS",
    "TIMES",
    "WEATHERS",
    "Scene",
    "Thing",
    "View",
    "caption",
    "paint",
    "paint_view",
    "random_scene",
    "random_thing",
    "things_of",
]
