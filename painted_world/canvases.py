"""The training pictures: wide, tall and enlarged canvases of the painted world, cached on disk."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from painted_world.painter import (
    GROUNDS,
    HORIZON,
    MARGIN,
    SIZE,
    Scene,
    Thing,
    View,
    caption,
    paint_view,
    random_scene,
    random_thing,
    things_of,
)
from painted_world.painter.canvas import Rng

logger = logging.getLogger(__name__)

SHARD = 100
STAND_IN = "dusk glow"
"""Two words whose vectors the embedding's own take the place of while it is trained."""


@dataclass(frozen=True)
class Kind:
    """One shape of canvas. What the UNet sees of it is `window` pixels wide, at any multiple of 8 from the left."""

    width: int
    height: int
    zooms: tuple[int, ...]
    count: int
    window: int = 256
    close: bool = False
    only: Callable[[Scene, Rng], Scene] | None = None
    """What every scene of this kind has in common."""
    said: Callable[[Scene, Rng], str] = caption
    """The scene in words."""


def _snowy(scene: Scene, rng: Rng) -> Scene:
    ground = str(rng.choice([ground for ground in GROUNDS if ground not in ("sea", "city skyline")]))
    things = tuple(thing for thing in scene.things if thing.kind in things_of(ground, scene.time))
    return replace(scene, ground=ground, things=things, weather="clear", style="", snowy=True)


def _with_things(scene: Scene, rng: Rng) -> Scene:
    """With one thing at least, in the plain style."""
    things = scene.things
    if not things:
        kind = str(rng.choice(things_of(scene.ground, scene.time)))
        things = (random_thing(rng, kind, SIZE / 4, SIZE),)
    return replace(scene, things=things, style="")


def _glowing(scene: Scene, rng: Rng) -> Scene:
    x = scene.things[0].x if scene.things else float(rng.uniform(64, 320))
    return replace(scene, time="sunset", weather="clouds", style="", things=(Thing("sun", "", x),))


def _ground_and_stand_in(scene: Scene, rng: Rng) -> str:
    return f"{scene.ground}, {STAND_IN}"


KINDS = {
    "scene": Kind(384, 256, (1,), 1300),
    "tall": Kind(320, 512, (2,), 300),
    "close": Kind(384, 256, (2, 3, 4), 400, close=True),
    "snow": Kind(384, 256, (1,), 200, only=_snowy),
    "glow": Kind(384, 256, (1,), 100, only=_glowing, said=_ground_and_stand_in),
    "things": Kind(384, 256, (1,), 1000, only=_with_things),
}
"""Whole scenes; scenes at double size, for tiles of twice the height; enlarged parts of scenes, for upscaling; what the
LoRA and the embedding learn; and more scenes with things, whose colours are the hardest to learn."""
IN_THE_SKY = ("balloon", "sun", "moon")


@dataclass(frozen=True)
class Canvas:
    """A painted canvas with MARGIN pixels on every side, and the pixel columns (margin excluded) of its things."""

    kind: str
    scene: Scene
    columns: tuple[float, ...]
    image: NDArray[np.uint8]  # [height + 2 MARGIN, width + 2 MARGIN, 3]


def random_canvas(name: str, rng: Rng) -> Canvas:
    """Paint one canvas of this kind."""
    kind = KINDS[name]
    zoom = int(rng.choice(kind.zooms))
    wide, window = kind.width / zoom, kind.window / zoom
    left = float(rng.uniform(0, wide - window))  # things are where one window holds them all
    view = View(kind.width, kind.height, zoom)
    if kind.close:
        left = 8 * ((left + float(rng.uniform(0, 256))) // 8)
    scene = random_scene(rng, left, window)
    if kind.close:
        view = replace(view, left=left, top=_top_of_close_view(scene, view, rng))
    if kind.only:
        scene = kind.only(scene, rng)
    image = paint_view(scene, rng, view.widened(MARGIN))
    shown = tuple(thing for thing in scene.things if _is_shown(thing, view))
    columns = tuple((thing.x - view.left) * zoom for thing in shown)
    return Canvas(name, replace(scene, things=shown, close=kind.close), columns, image)


def _usual_height(thing: Thing) -> float:
    """Of its middle, in scene units."""
    return 64 if thing.kind in IN_THE_SKY else HORIZON + 26


def _top_of_close_view(scene: Scene, view: View, rng: Rng) -> float:
    """Anywhere in the scene, a whole number of latent pixels; two times in three where its first thing is seen."""
    room = SIZE - view.height / view.zoom
    top = float(rng.uniform(0, room))
    if scene.things and rng.random() < 2 / 3:
        top = _usual_height(scene.things[0]) - float(rng.uniform(0.4, 0.6)) * view.height / view.zoom
    return 8 * (min(max(top, 0), room) // 8)


def _is_shown(thing: Thing, view: View) -> bool:
    """Whether the middle of the thing's usual height is well inside the view."""
    height = _usual_height(thing)
    return view.top + 8 < height < view.top + view.height / view.zoom - 8


def _paint_shard(path: Path, name: str, seed: tuple[int, ...], count: int) -> None:
    rng = np.random.default_rng(seed)
    canvases = [random_canvas(name, rng) for _ in range(count)]
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        pickle.dump(canvases, file)
    temporary.rename(path)


def paint_canvases(work: Path, seed: int, share: float = 1.0, processes: int = 2) -> list[Path]:
    """Paint what is missing of the cache; the same pictures with any number of processes. `share` of every kind."""
    jobs = []
    for number, (name, kind) in enumerate(KINDS.items()):
        shards = max(1, round(kind.count * share / SHARD))
        jobs += [
            (work / f"canvases-{name}-{i:03}.pkl", name, (seed, number, i), SHARD) for i in range(shards)
        ]
    missing = [job for job in jobs if not job[0].exists()]
    logger.info("%d canvases to paint", len(missing) * SHARD)
    with ProcessPoolExecutor(processes) as pool:
        for future in [pool.submit(_paint_shard, *job) for job in missing]:
            future.result()
    return [job[0] for job in jobs]


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Caches from before this package had a place of its own name its classes by the former one."""
        return super().find_class(module.replace("miniwebui.training", "painted_world"), name)


def read_canvases(paths: list[Path]) -> Iterator[Canvas]:
    """All canvases of the cache's files, which this program wrote."""
    for path in paths:
        with path.open("rb") as file:
            yield from _Unpickler(file).load()
