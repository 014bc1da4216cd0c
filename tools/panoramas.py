"""Draw the panoramas of the documentation with both methods, and print how visible their tile borders are.

.venv/bin/python tools/panoramas.py docs/images [--seed 1]     (from the repository's root)
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from seams import seam_ratios  # noqa: E402

from miniwebui import render, webui  # noqa: E402

METHODS = {"mixture": ("Mixture of Diffusers", 16), "multidiffusion": ("MultiDiffusion", 24)}
"""File names' parts, methods, and overlaps in latent pixels."""
TILE = 32
"""Latent pixels; a tile is as high as the picture, so that there is one horizon."""


@dataclass(frozen=True)
class Panorama:
    name: str
    prompt: str
    width: int
    height: int


PANORAMAS = (
    Panorama("city", "city skyline, night", 4096, 256),
    Panorama("mountains", "mountains, sunset", 2048, 512),
)


def draw(panorama: Panorama, method: str, overlap: int, seed: int) -> np.ndarray:
    """The picture. [height, width, 3]"""
    settings = {
        "enabled": True,
        "method": method,
        "tile_width": TILE,
        "tile_height": panorama.height // 8,
        "overlap": overlap,
    }
    (picture,) = render.draw_once(
        *("--prompt", panorama.prompt, "--seed", str(seed)),
        *("--width", str(panorama.width), "--height", str(panorama.height)),
        *("--script", "Tiled Diffusion", json.dumps(settings)),
    )
    return np.asarray(picture)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    webui.initialize()
    for panorama in PANORAMAS:
        for name, (method, overlap) in METHODS.items():
            picture = draw(panorama, method, overlap, options.seed)
            path = options.folder / f"panorama-{panorama.name}-{name}.jpg"
            Image.fromarray(picture).save(path, quality=90)
            like, other = seam_ratios(picture, overlap)
            print(
                f"{path.name}: {like:.3f} of other borders of latent pixels, {other:.3f} of all columns",
                flush=True,
            )


if __name__ == "__main__":
    main()
