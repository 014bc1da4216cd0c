"""One picture, not many? Subjects, detail and cost of pictures that are composed first, against tiles alone.

.venv/bin/python benchmarks/composition.py [--size 512x512] [--seeds 24] [--ways native,tiles,first] [--keep FOLDER]
                                           [--sheet FILE] [--seconds N]     (from the repository's root)

Three prompts with one subject each are drawn by the demo model (DPM++ 2M, 15 steps, CFG 4, tiles of 32): at the size
that it knows (`native`), in tiles with half a tile of overlap (`tiles`), and composed first with an overlap of 16
(`first`; its strength is 0.5, `first at 0` and 0.25, 0.75, 1 have others) or shifted tiles and an overlap of 4
(`first, shifted`); `painted` are such scenes as the painter enlarges them, through the VAE. Subjects are connected
parts in the subject's colour (houses stand on the ground: those that tiles put into the sky are not counted). "As
native": the share of seeds with as many as the same seed's native picture. Detail: mean |luma − its Gauss 1.5 px|.
Work: latent pixels that the UNet saw, relative to `tiles`. Pictures are kept in the folder, and a run goes on where
the last one stopped; `--seconds` stops it in time.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys
import time
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.measures import detail  # noqa: E402
from miniwebui import render, webui  # noqa: E402
from painted_world.painter import Scene, Thing, View, paint_view  # noqa: E402
from tile_host.pixels import as_image, as_tensor  # noqa: E402
from tile_methods.stages import Size, native_size  # noqa: E402
from tools.contact_sheet import contact_sheet  # noqa: E402

SIDE = 32
SCENES = {
    "balloon": Scene("meadow", "day", (Thing("balloon", "red"),)),
    "boat": Scene("sea", "sunset", (Thing("boat", "blue"),)),
    "house": Scene("meadow", "day", (Thing("house", "white"),)),
}
PROMPTS = {kind: ", ".join(scene.words) for kind, scene in SCENES.items()}
TILES = {"enabled": True, "tile_width": SIDE, "tile_height": SIDE, "overlap": 16}
WAYS: dict[str, dict[str, Any] | None] = {
    "native": None,
    "tiles": TILES,
    "first": {**TILES, "composition_first": True},
    "first, shifted": {**TILES, "composition_first": True, "overlap": 4, "shift_tiles": True},
    **{
        f"first at {strength:g}": {**TILES, "composition_first": True, "composition_strength": strength}
        for strength in (0.0, 0.25, 0.75, 1.0)
    },
}
SMALLEST = 1 / 600
"""Area of a subject, of a square as high as the picture; the native one has 1/115 and more."""
GAPS = {"balloon": 1 / 36, "boat": 1 / 36, "house": 1 / 23}
"""What is closed between parts in the subject's colour, of the picture's height: doors are wide."""
SEA = 0.6
"""How far down sails begin: what is blue below is their reflection, or waves, as are parts that lie."""
WALL = 0.09
"""Height of a house's walls, of the picture's; a hazy horizon is as white, but lower."""


def colours(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hue in degrees, saturation, value."""
    rgb = picture.astype(np.float32) / 255
    top, low = rgb.max(-1), rgb.min(-1)
    span = top - low + 1e-6
    r, g, b = (rgb[..., i] for i in range(3))
    hue = np.where(top == r, (g - b) / span % 6, np.where(top == g, (b - r) / span + 2, (r - g) / span + 4))
    return hue * 60, (top - low) / (top + 1e-6), top


def is_subject(kind: str, picture: np.ndarray) -> np.ndarray:
    """Where the picture has the subject's colour. [H, W] bool"""
    hue, saturation, value = colours(picture)
    if kind == "balloon":
        return ((hue < 15) | (hue > 345)) & (saturation > 0.7) & (value > 0.45)
    if kind == "boat":
        return (hue > 213) & (hue < 241) & (saturation > 0.6) & (value > 0.3)
    return (picture.min(-1) > 180) & (saturation < 0.2)


def subjects(kind: str, picture: np.ndarray) -> int:
    """How many parts in the subject's colour are large enough, and lie where one would: houses stand on the ground,
    and sails rise above the horizon."""
    height = picture.shape[0]
    radius = GAPS[kind] * height / 2
    around = ndimage.distance_transform_edt(~np.pad(is_subject(kind, picture), height // 8)) <= radius
    closed = ndimage.distance_transform_edt(around) > radius
    labels, _ = ndimage.label(ndimage.binary_opening(closed, np.ones((3, 3))))
    found = 0
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        tall, wide, middle = (
            rows.stop - rows.start,
            columns.stop - columns.start,
            (rows.start + rows.stop) / 2,
        )
        if (labels[rows, columns] == number).sum() < SMALLEST * height**2:
            continue
        stands = middle - height // 8 >= 0.6 * height and tall >= WALL * height and wide <= 4 * tall
        sails = rows.start - height // 8 < SEA * height and tall >= 0.7 * wide
        found += {"house": stands, "boat": sails}.get(kind, True)
    return found


class Seen:
    """Latent pixels that the UNet is shown; one for each row of cond and uncond."""

    def __init__(self) -> None:
        shared = importlib.import_module("modules.shared")

        self.pixels = 0
        model = shared.sd_model
        original = model.apply_model

        def apply_model(x: Any, *args: Any, **kwargs: Any) -> Any:
            self.pixels += x.shape[0] * x.shape[-2] * x.shape[-1]
            return original(x, *args, **kwargs)

        model.apply_model = apply_model


def painted(kind: str, seed: int, size: tuple[int, int]) -> Image.Image:
    """The scene at the zoom that the canvas has, through the VAE."""
    width, height = size
    view = View(width, height, zoom=sqrt(width * height) / 256)
    picture = paint_view(SCENES[kind], np.random.default_rng(seed), view)
    model = importlib.import_module("modules.shared").sd_model
    latent = importlib.import_module("modules.sd_samplers_common").images_tensor_to_samples(
        as_tensor([Image.fromarray(picture)]), 0, model
    )
    (decoded,) = importlib.import_module("modules.processing").decode_latent_batch(model, latent)
    return as_image((decoded.float() / 2 + 0.5).clamp(0, 1))


def draw(seen: Seen, way: str, kind: str, seed: int, size: tuple[int, int]) -> tuple[Image.Image, int]:
    """(the picture, latent pixels that the UNet saw)"""
    if way == "painted":
        return painted(kind, seed, size), 0
    settings, (width, height) = WAYS[way], size
    if settings is None:
        first = native_size(Size(height // 8, width // 8), SIDE)
        width, height = 8 * first.width, 8 * first.height
    script = () if settings is None else ("--script", "Tiled Diffusion", json.dumps(settings))
    before = seen.pixels
    (picture,) = render.draw_once(
        *("--prompt", PROMPTS[kind], "--seed", str(seed), "--width", str(width), "--height", str(height)),
        *("--steps", "15", "--cfg", "4", "--sampler", "DPM++ 2M", *script),
    )
    return picture, seen.pixels - before


def report(folder: Path, works: dict[str, int], ways: list[str], seeds: range) -> None:
    """A line for each way and prompt, over the pictures that are there. `works`: way/prompt/seed -> latent pixels."""

    def found(way: str, kind: str) -> dict[int, np.ndarray]:
        paths = {
            seed: folder / f"{way}-{kind}-{seed}.png" for seed in seeds if f"{way}/{kind}/{seed}" in works
        }
        return {seed: np.asarray(Image.open(path)) for seed, path in paths.items()}

    for kind in PROMPTS:
        natives = {seed: subjects(kind, picture) for seed, picture in found("native", kind).items()}
        plain = [work for key, work in works.items() if key.startswith(f"tiles/{kind}/")]
        for way in ways:
            pictures = found(way, kind)
            if not pictures:
                continue
            counts = {seed: subjects(kind, picture) for seed, picture in pictures.items()}
            as_native = [count == natives[seed] for seed, count in counts.items() if seed in natives]
            work = np.mean([works[f"{way}/{kind}/{seed}"] for seed in pictures])
            print(
                f"{way:15} {kind:8} {len(pictures):3} seeds   exactly one "
                f"{np.mean([100 * (count == 1) for count in counts.values()]):3.0f} %   as native "
                f"{100 * np.mean(as_native) if as_native else np.nan:3.0f} %   subjects "
                f"{np.mean([*counts.values()]):.1f}   detail {np.mean([*map(detail, pictures.values())]):.2f}   "
                f"work {work / np.mean(plain) if plain else np.nan:.2f}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="512x512")
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--ways", default="native,tiles,first")
    parser.add_argument("--keep", type=Path, default=Path("composition"))
    parser.add_argument("--sheet", type=Path, help="where to show all pictures")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    folder, ways, seeds = options.keep / options.size, options.ways.split(","), range(1, options.seeds + 1)
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "work.json"
    works: dict[str, int] = json.loads(kept.read_text()) if kept.exists() else {}
    webui.initialize()
    logging.getLogger("Tiled Diffusion").setLevel(logging.WARNING)
    seen, end = Seen(), time.monotonic() + options.seconds
    for seed in seeds:
        for way in ways:
            for kind in PROMPTS:
                key = f"{way}/{kind}/{seed}"
                if key in works or time.monotonic() > end:
                    continue
                picture, work = draw(seen, way, kind, seed, (width, height))
                picture.save(folder / f"{way}-{kind}-{seed}.png")
                works[key] = work
                kept.write_text(json.dumps(works))
    report(folder, works, ways, seeds)
    if options.sheet:
        shown = [(kind, way) for kind in PROMPTS for way in ways]
        rows = [
            [
                Image.open(folder / f"{way}-{kind}-{seed}.png")
                for seed in seeds
                if f"{way}/{kind}/{seed}" in works
            ]
            for kind, way in shown
        ]
        titles = [f"{way}: {PROMPTS[kind]}" for kind, way in shown]
        contact_sheet(rows, 200 * width // height * len(seeds), titles).save(options.sheet, quality=88)


if __name__ == "__main__":
    main()
