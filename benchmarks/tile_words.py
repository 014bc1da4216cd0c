"""Do things appear where there are none, when a picture is enlarged? With and without words for each tile.

.venv/bin/python benchmarks/tile_words.py [--seeds 6] [--keep FOLDER] [--sheet FILE]     (from the repository's root)

A painted meadow of 256x256 with a balloon, a house and a tree is enlarged four times by Lanczos and drawn over by the
demo model at denoising strength 0.5 (DPM++ 2M, 15 steps, CFG 4, tiles of 32, overlap 16): with a prompt that names all
of it, with one that names the ground and the hour only, and with that and the words that CLIP's stand-in says of each
tile. The judge looks at every tile. "As in the input": the share of tiles in which it sees nothing that it does not
see there in the enlarged input, nor in the scene painted at that size. Detail: mean |luma − its Gauss 1.5 px|.
Pictures are kept in the folder, and a run goes on where the last one stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.contact_sheet import save_contact_sheet  # noqa: E402
from benchmarks.measures import detail  # noqa: E402
from miniwebui import render, webui  # noqa: E402
from painted_world.judge import Judge  # noqa: E402
from painted_world.painter import Scene, Thing, View, paint_view  # noqa: E402
from tile_utils.grid import make_grid  # noqa: E402

NATIVE, SCALE, TILE, OVERLAP = 256, 4, 32, 16
GROUND = "meadow, day"
TILES = {"tile_width": TILE, "tile_height": TILE, "overlap": OVERLAP}
ENLARGED = {"enabled": True, **TILES, "upscaler_name": "Lanczos", "scale_factor": float(SCALE)}
WAYS: dict[str, tuple[bool, dict[str, Any]]] = {
    "all named": (True, {}),
    "ground and hour": (False, {}),
    "words for each tile": (False, {"tile_prompts": "CLIP"}),
}
"""Does the prompt name the things; settings of Tiled Diffusion."""
Picture = NDArray[np.uint8]  # [H, W, 3]


def scene_of(seed: int) -> Scene:
    places = np.random.default_rng(seed).permutation([50.0, 128.0, 206.0])
    things = ("balloon", "red"), ("house", "white"), ("tree", "")
    return Scene("meadow", "day", tuple(Thing(*thing, x) for thing, x in zip(things, places)))


def tiles_of(picture: Picture) -> Picture:
    """[tiles, 256, 256, 3]"""
    side = NATIVE * SCALE // 8
    windows = make_grid(side, side, TILE, TILE, OVERLAP).windows
    return np.stack([picture[8 * w.y : 8 * (w.y + w.h), 8 * w.x : 8 * (w.x + w.w)] for w in windows])


def draw(way: str, seed: int, start: Path) -> Image.Image:
    names_all, settings = WAYS[way]
    prompt = ", ".join(scene_of(seed).words) if names_all else GROUND
    (picture,) = render.draw_once(
        *("--prompt", prompt, "--init", str(start), "--denoise", "0.5", "--steps", "15", "--cfg", "4"),
        *("--sampler", "DPM++ 2M", "--seed", str(seed)),
        *("--script", "Tiled Diffusion", json.dumps({**ENLARGED, **settings})),
    )
    return picture


def report(folder: Path, seeds: range) -> None:
    judge = Judge()
    for way in WAYS:
        right: list[bool] = []
        details: list[float] = []
        for seed in seeds:
            path = folder / f"{way}-{seed}.png"
            if not path.exists():
                continue
            picture = np.asarray(Image.open(path))
            start = Image.open(folder / f"start-{seed}.png").resize(
                picture.shape[1::-1], Image.Resampling.LANCZOS
            )
            view = View(picture.shape[1], picture.shape[0], zoom=SCALE)
            painted = paint_view(scene_of(seed), np.random.default_rng(seed), view)
            seen, before, meant = (
                [sight.things for sight in judge.look(tiles_of(image))]
                for image in (picture, np.asarray(start), painted)
            )
            right += [now <= was | true for now, was, true in zip(seen, before, meant)]
            details.append(detail(picture))
        if details:
            print(
                f"{way:20} {len(details)} pictures   as in the input {100 * np.mean(right):5.1f} % of {len(right)} "
                f"tiles   detail {np.mean(details):.2f}",
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
        Image.fromarray(paint_view(scene_of(seed), np.random.default_rng(seed), View())).save(start)
        for way in WAYS:
            path = options.keep / f"{way}-{seed}.png"
            if not path.exists() and time.monotonic() < end:
                draw(way, seed, start).save(path)
    report(options.keep, seeds)
    if options.sheet:
        names = ("start", *WAYS)
        rows = [[Image.open(options.keep / f"{name}-{seed}.png") for name in names] for seed in seeds[:2]]
        save_contact_sheet(options.sheet, rows, 300 * len(names))


if __name__ == "__main__":
    main()
