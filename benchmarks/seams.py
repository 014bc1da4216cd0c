"""Are tile borders visible? Steps between neighbouring pixel columns at tile borders over those elsewhere.

.venv/bin/python benchmarks/seams.py [--seeds 8]     (from the repository's root)

For every seed a panorama is drawn, and two ratios are printed: steps at tile borders over those at other borders of
latent pixels, then over those at all other columns. The first compares like with like: the VAE draws a faint step at
every eighth column, tiled or not, as the row "one tile" shows. Tiles pasted side by side are the contrast.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from miniwebui import render, webui  # noqa: E402
from tile_utils.grid import make_grid  # noqa: E402

WIDTH, HEIGHT, TILE = 1024, 256, 32
PROMPTS = ("sea, sunset", "meadow, day", "city skyline, night", "mountains, day")
WAYS = {
    "Mixture of Diffusers, overlap 16": {"method": "Mixture of Diffusers", "overlap": 16},
    "MultiDiffusion, overlap 24": {"method": "MultiDiffusion", "overlap": 24},
    "MultiDiffusion, overlap 16": {"method": "MultiDiffusion", "overlap": 16},
    "pasted, no overlap": {"method": "MultiDiffusion", "overlap": 0},
    "one tile": {"tile_width": 128, "overlap": 16},
}


def seam_ratios(picture: np.ndarray, overlap: int, tile: int = TILE) -> tuple[float, float]:
    """Mean absolute step into the first column of a tile or out of its last, over that between other latent pixels,
    and over that between all other columns.

    Args:
        picture: [H, W, 3], drawn in one row of tiles.
        overlap, tile: in latent pixels.
    """
    height, width = picture.shape[:2]
    grid = make_grid(width // 8, height // 8, tile, height // 8, overlap)
    borders = {8 * x for tile in grid.windows for x in (tile.x, tile.x + tile.w)} - {0, width}
    steps = np.abs(np.diff(picture.astype(float), axis=1)).mean(axis=(0, 2))  # steps[i]: column i to i + 1
    columns = np.arange(1, width)
    at_border = np.isin(columns, sorted(borders))
    like = ~at_border & (columns % 8 == 0)
    at = steps[at_border].mean()
    return float(at / steps[like].mean()), float(at / steps[~at_border].mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=8)
    options = parser.parse_args()
    webui.initialize()
    for name, more in WAYS.items():
        settings = {"enabled": True, "tile_width": TILE, "tile_height": TILE, **more}
        ratios = []
        for seed in range(options.seeds):
            (picture,) = render.draw_once(
                *("--prompt", PROMPTS[seed % len(PROMPTS)], "--seed", str(seed + 1)),
                *("--width", str(WIDTH), "--height", str(HEIGHT)),
                *("--script", "Tiled Diffusion", json.dumps(settings)),
            )
            ratios.append(seam_ratios(np.asarray(picture), more["overlap"]))
        like, other = np.mean(ratios, axis=0)
        each = " ".join(f"{ratio:.2f}" for ratio, _ in ratios)
        print(f"{name:33} {like:.3f}  {other:.3f}   ({each})", flush=True)


if __name__ == "__main__":
    main()
