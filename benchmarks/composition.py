"""One picture, not many? Subjects, detail and cost of pictures that are composed first, against tiles alone.

.venv/bin/python benchmarks/composition.py [--size 512x512] [--seeds 24] [--ways native,tiles,first] [--keep FOLDER]
                                           [--seconds N]     (from the repository's root)

Three prompts with one subject each are drawn by the demo model (DPM++ 2M, 15 steps, CFG 4, tiles of 32): at the size
that it knows (`native`), in tiles with half a tile of overlap (`tiles`), and composed first with an overlap of 16
(`first`) or shifted tiles and an overlap of 4 (`first, shifted`). Subjects are connected parts in the subject's colour.
"As native": the share of seeds with as many as the same seed's native picture. Detail: mean |luma − its Gauss 1.5 px|.
Work: latent pixels that the UNet saw, relative to `tiles`. Pictures are kept in the folder, a contact sheet beside
them, and a run goes on where the last one stopped; `--seconds` stops it in time.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from miniwebui import render, webui  # noqa: E402
from tile_methods.stages import Size, native_size  # noqa: E402

SIDE = 32
PROMPTS = {
    "balloon": "meadow, day, red balloon",
    "boat": "sea, sunset, blue boat",
    "house": "meadow, day, white house",
}
TILES = {"enabled": True, "tile_width": SIDE, "tile_height": SIDE, "overlap": 16}
WAYS: dict[str, dict[str, Any] | None] = {
    "native": None,
    "tiles": TILES,
    "first": {**TILES, "composition_first": True},
    "first, shifted": {**TILES, "composition_first": True, "overlap": 4, "shift_tiles": True},
}
SMALLEST = 450
"""Pixels of a subject on 512 rows; the native one has 2300 and more."""


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
    """How many parts in the subject's colour are large enough, and lie where one would: houses stand on the ground."""
    height = picture.shape[0]
    size = {256: 7, 512: 9}.get(height, 7 if height < 256 else 13)
    size = size * 5 // 3 | 1 if kind == "house" else size
    y, x = np.mgrid[-(size // 2) : size // 2 + 1, -(size // 2) : size // 2 + 1]
    disc = y**2 + x**2 <= (size // 2) ** 2 + 1
    closed = ndimage.binary_closing(np.pad(is_subject(kind, picture), size), disc)[size:-size, size:-size]
    labels, _ = ndimage.label(ndimage.binary_opening(closed, np.ones((3, 3))))
    found = 0
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        tall, wide = rows.stop - rows.start, columns.stop - columns.start
        if (labels[rows, columns] == number).sum() < SMALLEST * max(1, height / 512):
            continue
        stands = (rows.start + rows.stop) / 2 >= 0.6 * height and tall >= 14 and wide <= 4 * tall
        found += kind != "house" or stands
    return found


def detail(picture: np.ndarray) -> float:
    luma = picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return float(np.abs(luma - ndimage.gaussian_filter(luma, 1.5))[12:-12, 12:-12].mean())


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


def draw(seen: Seen, way: str, kind: str, seed: int, size: tuple[int, int]) -> tuple[Image.Image, int]:
    """(the picture, latent pixels that the UNet saw)"""
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


def sheet(folder: Path, way: str, seeds: range) -> None:
    """All pictures of a way that are there, small, a row for each prompt."""
    rows = [[folder / f"{way}-{kind}-{seed}.png" for seed in seeds] for kind in PROMPTS]
    size = 160
    whole = Image.new("RGB", (size * len(seeds), size * len(rows)))
    for y, row in enumerate(rows):
        for x, path in enumerate(row):
            if path.exists():
                whole.paste(Image.open(path).resize((size, size)), (x * size, y * size))
    whole.save(folder / f"sheet-{way}.png")


def report(folder: Path, known: dict[str, Any], ways: list[str], seeds: range) -> None:
    for way in ways:
        for kind in PROMPTS:
            keys = [seed for seed in seeds if f"{way}/{kind}/{seed}" in known]
            if not keys:
                continue
            rows = [known[f"{way}/{kind}/{seed}"] for seed in keys]
            count, fine, work = (np.array(column) for column in zip(*rows))
            native = [known.get(f"native/{kind}/{seed}", [-1])[0] for seed in keys]
            plain = [known[key][2] for key in known if key.startswith(f"tiles/{kind}/")]
            print(
                f"{way:15} {kind:8} {len(keys):3} seeds   exactly one {100 * (count == 1).mean():3.0f} %   as native "
                f"{100 * (count == native).mean():3.0f} %   subjects {count.mean():.1f}   detail {fine.mean():.2f}   "
                f"work {work.mean() / np.mean(plain) if plain else np.nan:.2f}",
                flush=True,
            )
        sheet(folder, way, seeds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="512x512")
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--ways", default="native,tiles,first")
    parser.add_argument("--keep", type=Path, default=Path("composition"))
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    folder, ways, seeds = options.keep / options.size, options.ways.split(","), range(1, options.seeds + 1)
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "figures.json"
    known = json.loads(kept.read_text()) if kept.exists() else {}
    webui.initialize()
    logging.getLogger("Tiled Diffusion").setLevel(logging.WARNING)
    seen, end = Seen(), time.monotonic() + options.seconds
    for seed in seeds:
        for way in ways:
            for kind in PROMPTS:
                key = f"{way}/{kind}/{seed}"
                if key in known or time.monotonic() > end:
                    continue
                picture, work = draw(seen, way, kind, seed, (width, height))
                picture.save(folder / f"{way}-{kind}-{seed}.png")
                array = np.asarray(picture)
                known[key] = [subjects(kind, array), detail(array), work]
                kept.write_text(json.dumps(known))
    report(folder, known, ways, seeds)


if __name__ == "__main__":
    main()
