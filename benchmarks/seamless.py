"""Do seamless pictures join? Edges' strength at the join over that elsewhere in the picture.

.venv/bin/python benchmarks/seamless.py [--seeds 16] [--keep FOLDER]     (from the repository's root)

Every picture is joined on both axes, in tiles along its long side and in one tile along the other, with a region of its
own words across the join of the long side, all along that join. Of each join: the response (Scharr) in its two lines
over that in all other lines of the picture; over that in the two lines at every other border of latent pixels, which
compares like with like, for the VAE draws a faint step at each; and of how many of these borders the response is
larger: a join that cannot be told from them is anywhere among them. A scene has a horizon somewhere, the same seeds in
every way: a ratio sways by that, the place among the borders hardly. "not joined" is the contrast. With `--keep`
pictures are kept, and a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from miniwebui import render, webui  # noqa: E402
from tile_utils.surface import OPT_F  # noqa: E402

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


def responses(picture: Picture) -> tuple[NDArray[np.float64], float]:
    """Mean Scharr response of a picture that goes on at its edges, across: (in the two columns at each border of latent
    pixels, at the join first; in all columns but the join's)."""
    steps = (np.roll(picture, -1, 1) - np.roll(picture, 1, 1)) / 2
    smooth = sum(weight * np.roll(steps, row, 0) for weight, row in zip(SCHARR, (-1, 0, 1)))
    columns = np.abs(smooth).mean((0, 2))
    return ((columns + np.roll(columns, 1)) / 2)[::OPT_F], float(columns[1:-1].mean())


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


def ways() -> dict[str, Callable[[int], Picture]]:
    """Name -> (seed -> picture)."""
    found: dict[str, Callable[[int], Picture]] = {}
    regions = {"enable_bbox_control": True, "draw_background": True, "regions": [{**REGION, **ACROSS}]}
    upright = dict(zip("xywh", (ACROSS[name] for name in "yxhw")))
    turned = {**regions, "regions": [{**REGION, **upright}]}
    for method, overlap in METHODS.items():
        for shift in (False, True):
            chosen = {"method": method, "overlap": 8 if shift else overlap, "shift_tiles": shift}
            name = f"{method}{', shifted' if shift else ''}"
            found[f"{name}, {LONG}x{SHORT}"] = lambda seed, c=chosen: draw(LONG, SHORT, seed, **c, **regions)
            found[f"{name}, {SHORT}x{LONG}"] = lambda seed, c=chosen: draw(SHORT, LONG, seed, **c, **turned)
    found["exact Tiled VAE"] = lambda seed: draw(LONG, SHORT, seed, *EXACT, overlap=16)
    found["after 4x"] = upscaled
    found["not joined"] = lambda seed: draw(LONG, SHORT, seed, overlap=16, seamless="Off")
    return found


def told(pictures: Sequence[Picture], axis: str) -> str:
    """The figures of the joins across, over all seeds."""
    borders, others = map(np.array, zip(*map(responses, pictures)))
    strength = np.log(borders).mean(0)
    larger = int((strength[1:] > strength[0]).sum())
    join = borders[:, 0].mean()
    return (
        f"{axis}: {join / others.mean():.3f}  {join / borders[:, 1:].mean():.3f}  "
        f"{larger} of {len(strength) - 1} larger"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument(
        "--keep", type=Path, default=ROOT / "build/seamless", help="a folder for the pictures"
    )
    parser.add_argument("--only", default="", help="ways whose name holds this")
    options = parser.parse_args()
    logging.disable(logging.INFO)
    webui.initialize()
    options.keep.mkdir(parents=True, exist_ok=True)
    for name, way in ways().items():
        if options.only not in name:
            continue
        pictures = []
        for seed in range(options.seeds):
            path = options.keep / f"{name}-{seed}.png"
            if not path.exists():
                Image.fromarray(way(seed).astype(np.uint8)).save(path)
            pictures.append(np.asarray(Image.open(path), dtype=float))
        turned = [picture.swapaxes(0, 1) for picture in pictures]
        print(f"{name:40} {told(pictures, 'across')}   {told(turned, 'down')}", flush=True)


if __name__ == "__main__":
    main()
