"""Are tile borders visible? Steps between neighbouring pixel columns at tile borders over those elsewhere.

.venv/bin/python benchmarks/seams.py [--seeds 8]     (from the repository's root)

For every seed a panorama is drawn; 1.00 means that a border is like any other column. Tiles pasted side by side, with
no overlap, are the contrast.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from miniwebui import webui  # noqa: E402
from tile_utils.geometry import make_grid  # noqa: E402

WIDTH, HEIGHT, TILE = 1024, 256, 32
PROMPTS = ("sea, sunset", "meadow, day", "city skyline, night", "mountains, day")
WAYS = {
    "Mixture of Diffusers": {"method": "Mixture of Diffusers", "overlap": 16},
    "MultiDiffusion": {"method": "MultiDiffusion", "overlap": 16},
    "pasted, no overlap": {"method": "MultiDiffusion", "overlap": 0},
}


def seam_ratio(picture: np.ndarray, overlap: int) -> float:
    """Mean absolute step into the first column of a tile or out of its last, over that between other columns."""
    grid = make_grid(WIDTH // 8, HEIGHT // 8, TILE, TILE, overlap)
    borders = {8 * x for box in grid.boxes for x in (box.x, box.x + box.w)} - {0, WIDTH}
    steps = np.abs(np.diff(picture.astype(float), axis=1)).mean(axis=(0, 2))  # steps[i]: column i to i + 1
    at_border = np.isin(np.arange(1, WIDTH), sorted(borders))
    return float(steps[at_border].mean() / steps[~at_border].mean())


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
            (picture,) = webui.draw_once(
                *("--prompt", PROMPTS[seed % len(PROMPTS)], "--seed", str(seed + 1)),
                *("--width", str(WIDTH), "--height", str(HEIGHT)),
                *("--script", "Tiled Diffusion", json.dumps(settings)),
            )
            ratios.append(seam_ratio(np.asarray(picture), more["overlap"]))
        each = " ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{name:22} {np.mean(ratios):.3f}   ({each})", flush=True)


if __name__ == "__main__":
    main()
