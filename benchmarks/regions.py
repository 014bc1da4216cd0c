"""Do regions draw what they are asked, where they are asked, and nothing else?

.venv/bin/python benchmarks/regions.py [--seeds 20] [--sheet docs/images/regions.jpg]     (from the repository's root)

A red balloon in a foreground region over a meadow: is it inside of its box, and how much does the picture change
outside? There, tiles that see the box follow what is in it; a region with the same seed and no words of its own says
how much of the change is that. Then sea and desert side by side in two background regions: is each half recognised?

Grounds are recognised by the nearest of six class means (linear discriminant on colours and contrasts), from pictures
that the model draws without regions; how often that is right is printed first.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from miniwebui import render, webui  # noqa: E402
from tools.contact_sheet import contact_sheet  # noqa: E402

DEMO = ROOT / "miniwebui/models/Stable-diffusion/demo.safetensors"
GROUNDS = ("sea", "meadow", "desert", "forest", "mountains", "city skyline")
SIDE, WIDE, STEPS, CFG = 256, 768, 12, 6.0
TILES = {"enabled": True, "tile_width": SIDE // 8, "tile_height": SIDE // 8, "overlap": SIDE // 16}
BALLOON = {"x": 0.5, "y": 0.0, "w": 0.25, "h": 1.0}
RED, LEAST_RED = 60, 0.01
"""A pixel is red whose red is above green and blue by this; a balloon covers at least this share of its box."""
FIT, CHECK = 8, 4
"""Pictures of each ground that the means are taken from, and that they are checked with."""
CELLS, RIDGE = 4, 1e-3

Picture = NDArray[np.float64]  # [H, W, 3], 0 ... 255


def draw(
    prompt: str, seed: int, width: int = SIDE, regions: Sequence[dict[str, object]] = (), **more
) -> Picture:
    settings = {**TILES, **more, "enable_bbox_control": bool(regions)}
    settings["regions"] = [{"enable": True, **region} for region in regions]
    arguments = ["--prompt", prompt, "--width", str(width), "--height", str(SIDE), "--seed", str(seed)]
    arguments += ["--steps", str(STEPS), "--cfg", str(CFG)]
    (image,) = render.draw_once(*arguments, "--script", "Tiled Diffusion", json.dumps(settings))
    return np.asarray(image, dtype=float)


class GroundJudge:
    """Which ground a picture of 256x256 shows."""

    def __init__(self) -> None:
        pictures = {g: [features(draw(f"{g}, day", 1000 + n)) for n in range(FIT + CHECK)] for g in GROUNDS}
        fit = {ground: np.stack(rows[:FIT]) for ground, rows in pictures.items()}
        means = np.stack([rows.mean(0) for rows in fit.values()])
        within = np.concatenate([rows - mean for rows, mean in zip(fit.values(), means)])
        spread = within.T @ within / len(within)
        scaled = np.linalg.inv(spread + RIDGE * np.eye(len(spread)))
        self._weights, self._bias = scaled @ means.T, -0.5 * ((means @ scaled) * means).sum(1)
        checked = [self._nearest(row) == ground for ground, rows in pictures.items() for row in rows[FIT:]]
        print(f"pictures without regions: ground recognised in {share(checked)}", flush=True)

    def _nearest(self, row: NDArray[np.float64]) -> str:
        return GROUNDS[int(np.argmax(row @ self._weights + self._bias))]

    def __call__(self, picture: Picture) -> str:
        return self._nearest(features(picture))


def features(picture: Picture) -> NDArray[np.float64]:
    """Mean colour and contrast of 4x4 cells."""
    cells = (picture / 255).reshape(CELLS, SIDE // CELLS, CELLS, SIDE // CELLS, 3)
    return np.concatenate([cells.mean((1, 3)).ravel(), cells.std((1, 3)).ravel()])


def share(values: Sequence[bool]) -> str:
    return f"{100 * np.mean(values):.0f} % of {len(values)}"


def box_slices(region: dict[str, float]) -> tuple[slice, slice]:
    left, top = int(region["x"] * WIDE), int(region["y"] * SIDE)
    return slice(top, top + int(region["h"] * SIDE)), slice(left, left + int(region["w"] * WIDE))


def is_red(picture: Picture) -> NDArray[np.bool_]:
    return picture[..., 0] - picture[..., 1:].max(-1) > RED


def balloons(seeds: Sequence[int]) -> list[Picture]:
    """Foreground over a meadow; returns the pictures."""
    inside = np.zeros((SIDE, WIDE), dtype=bool)
    inside[box_slices(BALLOON)] = True
    columns = inside.any(0)
    reach = SIDE - 8  # a tile that touches the box ends at most so far from it
    first, last = np.flatnonzero(columns)[[0, -1]]
    beside = ~inside & (np.abs(np.arange(WIDE) - (first + last) / 2) < (last - first) / 2 + reach)
    zones = {"beside the box, where its tiles are": beside, "farther": ~inside & ~beside}
    found, alone, changes, pictures = [], [], {name: [] for name in zones}, []
    for seed in seeds:
        region = {**BALLOON, "blend_mode": "Foreground", "feather_ratio": 0.2, "seed": seed + 500}
        plain = draw("meadow, day", seed, WIDE)
        silent = draw("meadow, day", seed, WIDE, [region], draw_background=True)
        asked = draw("meadow, day", seed, WIDE, [{**region, "prompt": "red balloon"}], draw_background=True)
        red = is_red(asked)
        found.append(red[inside].mean() > LEAST_RED and red[inside].sum() > 0.9 * red.sum())
        alone.append(is_red(draw("meadow, day, red balloon", seed)).mean() > LEAST_RED)
        for name, zone in zones.items():
            changes[name].append([np.abs(picture - plain)[zone].mean() for picture in (asked, silent)])
        pictures.append(asked)
    print(f"meadow with a red balloon in a box: inside of it in {share(found)}")
    print(f"  without regions, anywhere on 256x256: in {share(alone)}")
    for name, values in changes.items():
        of_asked, of_silent = np.mean(values, 0)
        print(f"  mean change {name}: {of_asked:.2f} of 255, by a region without words {of_silent:.2f}")
    return pictures


def halves(seeds: Sequence[int]) -> list[Picture]:
    """Two background regions side by side; returns the pictures."""
    judge = GroundJudge()
    seen: dict[str, list[bool]] = {"sea": [], "desert": []}
    pictures = []
    for seed in seeds:
        regions = [
            {"x": x, "y": 0.0, "w": 0.5, "h": 1.0, "prompt": f"{ground}, day"}
            for x, ground in zip((0.0, 0.5), seen)
        ]
        picture = draw("", seed, 2 * SIDE, regions)
        for half, ground in zip((picture[:, :SIDE], picture[:, SIDE:]), seen):
            seen[ground].append(judge(half) == ground)
        pictures.append(picture)
    print("; ".join(f"{ground} recognised in {share(values)}" for ground, values in seen.items()))
    return pictures


def framed(picture: Picture, regions: Sequence[dict[str, float]]) -> Image.Image:
    """The picture with thin frames around regions."""
    image = Image.fromarray(picture.astype(np.uint8))
    height, width = picture.shape[:2]
    pen = ImageDraw.Draw(image)
    for region in regions:
        left, top = region["x"] * width, region["y"] * height
        corners = (left, top, left + region["w"] * width - 1, top + region["h"] * height - 1)
        pen.rectangle(corners, outline="white", width=2)
    return image


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--sheet", type=Path, help="write pictures of the first seeds as one")
    options = parser.parse_args()
    logging.disable(logging.INFO)  # a line for every picture
    webui.initialize(str(DEMO))
    seeds = range(1, options.seeds + 1)
    with_balloon, side_by_side = balloons(seeds), halves(seeds)
    if options.sheet:
        two = [{"x": x, "y": 0.0, "w": 0.5, "h": 1.0} for x in (0.0, 0.5)]
        rows = [
            [framed(picture, [BALLOON]) for picture in with_balloon[start : start + 2]] for start in (0, 2)
        ]
        rows += [[framed(picture, two) for picture in side_by_side[start : start + 2]] for start in (0, 2)]
        contact_sheet(rows, 4 * SIDE).save(options.sheet, quality=88)


if __name__ == "__main__":
    main()
