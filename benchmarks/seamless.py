"""Do seamless pictures join? Edges' strength (Scharr) at the join over that elsewhere in the picture.

.venv/bin/python benchmarks/seamless.py [--seeds 16] [--keep FILE]     (from the repository's root)

Every picture is joined on both axes, in tiles along its long side and in one tile along the other, with a region of its
own words across the join of the long side, all along that join. Of each join, over all seeds: its two lines' response
over that of the two lines at every other border of latent pixels, which compares like with like, for the VAE draws a
faint step at each; first of geometric means (± by the choice of seeds), which a horizon that happens to lie at the join
does not sway, then of plain ones; last, plain, over all other lines of the picture. "not joined" is the contrast. With
`--keep` a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from miniwebui import render, webui  # noqa: E402

LONG, SHORT, TILE, STEPS = 512, 256, 32, 10
PROMPTS = ("sea, sunset", "meadow, day", "forest, day", "mountains, day")
REGION = {"enable": True, "prompt": "desert", "feather_ratio": 0.3, "seed": 11, "blend_mode": "Foreground"}
ACROSS = {"x": 0.7, "y": 0.0, "w": 0.4, "h": 1.0}
METHODS = {"Mixture of Diffusers": 16, "MultiDiffusion": 24}
SCHARR = np.array([3.0, 10.0, 3.0]) / 16
EXACT = ("--script", "Tiled VAE", json.dumps({"enabled": True, "decoder_tile_size": 48}))

Picture = NDArray[np.float64]  # [H, W, 3], 0 ... 255


def draw(width: int, height: int, seed: int, *more: str, **settings: Any) -> Picture:
    tiles = {"enabled": True, "tile_width": TILE, "tile_height": TILE, "seamless": "Both", **settings}
    (image,) = render.draw_once(
        *("--prompt", PROMPTS[seed % len(PROMPTS)], "--seed", str(seed + 1), "--steps", str(STEPS)),
        *(
            "--width",
            str(width),
            "--height",
            str(height),
            "--script",
            "Tiled Diffusion",
            json.dumps(tiles),
            *more,
        ),
    )
    return np.asarray(image, dtype=float)


def responses(picture: Picture, unit: int = 8) -> list[float]:
    """Mean Scharr response of a picture that goes on at its edges, across: in the two columns at the join, in the two
    at each other border of `unit` (mean, geometric mean), in all but the join's."""
    steps = (np.roll(picture, -1, 1) - np.roll(picture, 1, 1)) / 2
    smooth = sum(weight * np.roll(steps, row, 0) for weight, row in zip(SCHARR, (-1, 0, 1)))
    columns = np.abs(smooth).mean((0, 2))
    join, *others = ((columns + np.roll(columns, 1)) / 2)[::unit]
    return [join, np.mean(others), np.exp(np.mean(np.log(others))), columns[1:-1].mean()]


def across_and_down(picture: Picture) -> list[list[float]]:
    return [responses(picture), responses(picture.swapaxes(0, 1))]


def upscaled(seed: int, **settings: Any) -> Picture:
    """A seamless picture, four times as large, drawn over lightly: its own upscaling shows in it."""
    start = Path("/tmp") / f"seamless-{zlib.crc32(repr((seed, settings)).encode())}.png"
    Image.fromarray(draw(SHORT, SHORT, seed, overlap=16).astype(np.uint8)).save(start)
    larger = {"upscaler_name": "demo-4x", "scale_factor": 4.0, "overlap": 8}
    try:
        return draw(
            *(SHORT, SHORT, seed, "--init", str(start), "--denoise", "0.15", *EXACT),
            **{**larger, **settings},
        )
    finally:
        start.unlink()


def ways() -> dict[str, Callable[[int], list[list[float]]]]:
    """Name -> (seed -> figures of the joins, in the order across, down)."""
    found: dict[str, Callable[[int], list[list[float]]]] = {}
    regions = {"enable_bbox_control": True, "draw_background": True, "regions": [{**REGION, **ACROSS}]}
    upright = dict(zip("xywh", (ACROSS[name] for name in "yxhw")))
    turned = {**regions, "regions": [{**REGION, **upright}]}
    for method, overlap in METHODS.items():
        for shift in (False, True):
            chosen = {"method": method, "overlap": 8 if shift else overlap, "shift_tiles": shift}
            name = f"{method}{', shifted' if shift else ''}"
            found[f"{name}, {LONG}x{SHORT}"] = lambda seed, c=chosen: across_and_down(
                draw(LONG, SHORT, seed, **c, **regions)
            )
            found[f"{name}, {SHORT}x{LONG}"] = lambda seed, c=chosen: across_and_down(
                draw(SHORT, LONG, seed, **c, **turned)
            )
    found["exact Tiled VAE"] = lambda seed: across_and_down(draw(LONG, SHORT, seed, *EXACT, overlap=16))
    found["after 4x"] = lambda seed: across_and_down(upscaled(seed))
    found["not joined"] = lambda seed: across_and_down(draw(LONG, SHORT, seed, overlap=16, seamless="Off"))
    return found


def told(figures: NDArray[np.float64], axis: str) -> str:
    """The three ratios over all seeds, and how far the first may be off by the choice of seeds (bootstrap)."""
    join, like, usual, every = figures.T
    logs = np.log(join / usual)
    picks = np.random.default_rng(0).integers(0, len(logs), (1000, len(logs)))
    spread = np.exp(logs[picks].mean(1)).std()
    ratios = join.mean() / like.mean(), join.mean() / every.mean()
    return f"{axis}: {np.exp(logs.mean()):.3f} ± {spread:.2f}  {ratios[0]:.3f}  {ratios[1]:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--keep", type=Path, help="a file for what is done")
    parser.add_argument("--only", default="", help="ways whose name holds this")
    options = parser.parse_args()
    logging.disable(logging.INFO)
    webui.initialize()
    keep = options.keep
    done: dict[str, Any] = json.loads(keep.read_text()) if keep and keep.exists() else {}
    for name, way in ways().items():
        if options.only not in name:
            continue
        for seed in range(options.seeds):
            key = f"{name}/{seed}"
            if key not in done:
                done[key] = way(seed)
                if keep:
                    keep.write_text(json.dumps(done))
        figures = np.array([done[f"{name}/{seed}"] for seed in range(options.seeds)])  # [seeds, axes, 4]
        print(f"{name:40} {told(figures[:, 0], 'across')}   {told(figures[:, 1], 'down')}", flush=True)


if __name__ == "__main__":
    main()
