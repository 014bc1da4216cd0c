"""Do things appear where there are none, when a picture is enlarged? With and without words for each tile.

.venv/bin/python benchmarks/tile_words.py [--seeds 6] [--keep FOLDER] [--sheet FILE]     (from the repository's root)

A painted meadow of 256x256 with a balloon, a house and a tree is enlarged four times by Lanczos and drawn over by the
demo model at denoising strength 0.5 (DPM++ 2M, 15 steps, CFG 4, tiles of 32, overlap 16): with a prompt that names all
of it, with one that names the ground and the hour only, and with that and words for each tile: those that CLIP's
stand-in says of it, or the things that it truly shows.

Something has appeared where a picture, blurred, has a colour that the enlarged input, blurred, has nowhere near, and
where the input has no thing. "As in the input": the share of tiles in which that is so of less than 32x32 pixels in
all. What this measure is worth is told first: by scenes painted at that size, and by such with one thing painted in
that the input does not have, in the tiles that it covers a sixteenth of. Detail: mean |luma − its Gauss 1.5 px|, of the
things and of the rest. Pictures are kept in the folder, and a run goes on where the last one stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.measures import detail  # noqa: E402
from miniwebui import render, webui  # noqa: E402
from painted_world.painter import Scene, Thing, View, paint_view  # noqa: E402
from tile_utils.grid import make_grid  # noqa: E402
from tools.contact_sheet import contact_sheet  # noqa: E402

NATIVE, SCALE, TILE, OVERLAP = 256, 4, 32, 16
GROUND = "meadow, day"
TILES = {"tile_width": TILE, "tile_height": TILE, "overlap": OVERLAP}
ENLARGED = {"enabled": True, **TILES, "upscaler_name": "Lanczos", "scale_factor": float(SCALE)}
ALL, NONE, TRUE = "all", "none", "true"
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "all named": (ALL, {}),
    "ground and hour": (NONE, {}),
    "words for each tile": ("CLIP", {}),
    "true words": (TRUE, {}),
    "true words, colours held": (TRUE, {"hold_colours": True}),
}
"""What is said of things: all of them to every tile, none, what an interrogator says of a tile, or what it shows; and
more settings of Tiled Diffusion."""
SIDE = NATIVE * SCALE
WINDOWS = list(make_grid(SIDE // 8, SIDE // 8, TILE, TILE, OVERLAP).windows)
THINGS = ("balloon", "red"), ("house", "white"), ("tree", "")
BETWEEN = 90.0, 166.0
"""Where a scene's own things leave some room."""
BLUR, NEAR, DIFFERS, LEAST = 6, 32, 32, 1 / 64
"""Deviation of the blur and what is near, in pixels; the least difference of a colour, of 255, and share of a tile."""
Picture = NDArray[np.uint8]  # [H, W, 3]


def scene_of(seed: int) -> Scene:
    places = np.random.default_rng(seed).permutation([50.0, 128.0, 206.0])
    return Scene("meadow", "day", tuple(Thing(*thing, x) for thing, x in zip(THINGS, places)))


def tiles_of(picture: NDArray[Any]) -> NDArray[Any]:
    """[tiles, 256, 256, ...]"""
    return np.stack([picture[8 * w.y : 8 * (w.y + w.h), 8 * w.x : 8 * (w.x + w.w)] for w in WINDOWS])


def start_of(seed: int) -> Image.Image:
    return Image.fromarray(paint_view(scene_of(seed), np.random.default_rng(seed), View()))


@cache
def enlarged(seed: int) -> Picture:
    """What is drawn over."""
    return np.asarray(start_of(seed).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def painted(scene: Scene, seed: int) -> Picture:
    """A scene as it is painted at the size to which it is enlarged."""
    return paint_view(scene, np.random.default_rng(seed), View(SIDE, SIDE, zoom=SCALE))


@cache
def places(seed: int) -> list[NDArray[np.bool_]]:
    """Where each thing of a scene is to be seen, [H, W]: what changes when it is painted after those before it."""
    scene = scene_of(seed)
    grown = [painted(replace(scene, things=scene.things[:count]), seed) for count in range(len(THINGS) + 1)]
    return [np.abs(b.astype(int) - a).max(axis=-1) > DIFFERS for a, b in pairwise(grown)]


def true_words(seed: int) -> list[dict[str, Any]]:
    """`tile_prompts`: what each tile shows an eightieth of a native picture of, or nothing."""
    words = [""] * len(WINDOWS)
    for thing, place in zip(scene_of(seed).things, places(seed)):
        shown = tiles_of(place).mean(axis=(1, 2)) > 1 / 80
        name = f"{thing.colour} {thing.kind}".strip()
        words = [", ".join(filter(None, (each, name if show else ""))) for each, show in zip(words, shown)]
    return [
        {"x": 8 * (w.x + w.w / 2) / SIDE, "y": 8 * (w.y + w.h / 2) / SIDE, "prompt": each}
        for w, each in zip(WINDOWS, words)
    ]


def draw(way: str, seed: int, start: Path) -> Image.Image:
    words, more = WAYS[way]
    prompt = ", ".join(scene_of(seed).words) if words == ALL else GROUND
    settings: dict[str, Any] = {**ENLARGED, **more}
    if words not in (ALL, NONE):
        settings["tile_prompts"] = true_words(seed) if words == TRUE else words
    (picture,) = render.draw_once(
        *("--prompt", prompt, "--init", str(start), "--denoise", "0.5", "--steps", "15", "--cfg", "4"),
        *("--sampler", "DPM++ 2M", "--seed", str(seed)),
        *("--script", "Tiled Diffusion", json.dumps(settings)),
    )
    return picture


def appeared(picture: Picture, start: Picture) -> NDArray[np.bool_]:
    """Where a picture has a colour that the one it was made of has nowhere near. [H, W]"""
    low, base = (
        ndimage.gaussian_filter(image.astype(np.float32), (BLUR, BLUR, 0)) for image in (picture, start)
    )
    near = (2 * NEAR + 1, 2 * NEAR + 1, 1)
    below = ndimage.minimum_filter(base, near) - low
    above = low - ndimage.maximum_filter(base, near)
    return np.maximum(below, above).max(axis=-1) > DIFFERS


@cache
def things_of(seed: int) -> NDArray[np.bool_]:
    """Where the input has things, and near them. [H, W]"""
    return ndimage.binary_dilation(np.any(places(seed), axis=0), iterations=NEAR)


def as_in_the_input(picture: Picture, seed: int) -> NDArray[np.bool_]:
    """Of each tile: has nothing appeared?"""
    return tiles_of(appeared(picture, enlarged(seed)) & ~things_of(seed)).mean(axis=(1, 2)) < LEAST


def worth(seeds: range) -> None:
    """What the measure says where nothing has appeared, and where something has."""
    clean: list[bool] = []
    covered: list[bool] = []
    for seed in seeds:
        scene = scene_of(seed)
        plain = painted(scene, seed)
        clean += list(as_in_the_input(plain, seed))
        for kind, colour in THINGS:
            more = painted(
                replace(scene, things=(*scene.things, Thing(kind, colour, BETWEEN[seed % 2]))), seed
            )
            is_new = (np.abs(more.astype(int) - plain).max(axis=-1) > DIFFERS) & ~things_of(seed)
            covers = tiles_of(is_new).mean(axis=(1, 2)) > 1 / 16
            covered += list(~as_in_the_input(more, seed)[covers])
    print(f"painted: as in the input {100 * np.mean(clean):.1f} % of {len(clean)} tiles")
    print(
        f"one thing painted in: seen in {100 * np.mean(covered):.1f} % of the {len(covered)} tiles that it covers"
    )


def report(folder: Path, seeds: range) -> None:
    worth(seeds)
    for way in WAYS:
        paths = {seed: folder / f"{way}-{seed}.png" for seed in seeds}
        pictures = {seed: np.asarray(Image.open(path)) for seed, path in paths.items() if path.exists()}
        right = [as_in_the_input(picture, seed) for seed, picture in pictures.items()]
        if pictures:
            of_things, of_rest = (
                np.mean([detail(picture, things_of(seed) == is_thing) for seed, picture in pictures.items()])
                for is_thing in (True, False)
            )
            print(
                f"{way:24} {len(pictures)} pictures   as in the input {100 * np.mean(right):5.1f} % of "
                f"{np.size(right)} tiles   detail of things {of_things:.2f}, of the rest {of_rest:.2f}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--keep", type=Path, default=ROOT / "build/tile_words")
    parser.add_argument("--sheet", type=Path, help="where to show the pictures of the first two seeds")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    options.keep.mkdir(parents=True, exist_ok=True)
    webui.initialize()
    logging.getLogger("Tiled Diffusion").setLevel(logging.WARNING)
    seeds, end = range(1, options.seeds + 1), time.monotonic() + options.seconds
    for seed in seeds:
        start = options.keep / f"start-{seed}.png"
        start_of(seed).save(start)
        for way in WAYS:
            path = options.keep / f"{way}-{seed}.png"
            if not path.exists() and time.monotonic() < end:
                draw(way, seed, start).save(path)
    report(options.keep, seeds)
    if options.sheet:
        rows = [
            [
                Image.fromarray(enlarged(seed)),
                *(Image.open(options.keep / f"{way}-{seed}.png") for way in WAYS),
            ]
            for seed in seeds[:2]
        ]
        contact_sheet(rows, 300 * len(rows[0])).save(options.sheet, quality=88)


if __name__ == "__main__":
    main()
