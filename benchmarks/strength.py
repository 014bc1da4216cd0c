"""Is a region that keeps more of its picture changed as much less, and without a border?

.venv/bin/python benchmarks/strength.py [--seeds 8] [--samplers "DPM++ 2M,Euler"]     (from the repository's root)

Painted scenes of 512x256 are drawn over by the demo model at denoising strength 0.6 (20 steps, CFG 4, tiles of 32,
overlap 16), with a region of strength 0.33 on their left half; beside it without one, at 0.6 and at 0.33 times that.
Change: mean |difference| from the scene through the VAE, 16 pixels and more away from the region's border. Border: the
step between the pixels on both sides of it, over those at other borders of latent pixels.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from miniwebui import render, webui  # noqa: E402
from painted_world.painter import View, paint_view, random_scene  # noqa: E402

WIDTH, HEIGHT, AWAY = 512, 256, 16
DENOISE, STRENGTH = 0.6, 0.33
TILES = {"enabled": True, "tile_width": 32, "tile_height": 32, "overlap": 16}
LEFT = {"enable": True, "x": 0.0, "y": 0.0, "w": 0.5, "h": 1.0, "strength": STRENGTH, "seed": 1}
REGION = {**TILES, "enable_bbox_control": True, "draw_background": True, "regions": [LEFT]}
WAYS: dict[str, tuple[float, dict[str, Any]]] = {
    "whole at 0.6": (DENOISE, TILES),
    "whole at 0.2": (DENOISE * STRENGTH, TILES),
    "left half 0.33 of 0.6": (DENOISE, REGION),
}


def draw(
    start: Path, prompt: str, seed: int, sampler: str, denoise: float, settings: dict[str, Any]
) -> np.ndarray:
    """[H, W, 3]"""
    (picture,) = render.draw_once(
        *("--prompt", prompt, "--init", str(start), "--denoise", str(denoise), "--steps", "20", "--cfg", "4"),
        *("--sampler", sampler, "--seed", str(seed), "--script", "Tiled Diffusion", json.dumps(settings)),
    )
    return np.asarray(picture, dtype=float)


def figures(before: np.ndarray, after: np.ndarray) -> list[float]:
    """[change of the left quarter, of the second, of the right half, border]"""
    change = np.abs(after - before).mean((0, 2))
    steps = np.abs(np.diff(after, axis=1)).mean((0, 2))[7::8]  # across borders of latent pixels, 8 apart
    border = WIDTH // 16 - 1
    others = np.delete(steps, border)
    middle = WIDTH // 2
    parts = change[: middle // 2], change[middle // 2 : middle - AWAY], change[middle + AWAY :]
    return [*(part.mean() for part in parts), steps[border] / np.median(others)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--samplers", default="DPM++ 2M,DPM++ 2M SDE,DPM++ 3M SDE,UniPC,LMS,Euler")
    options = parser.parse_args()
    webui.initialize()
    logging.getLogger("Tiled Diffusion").setLevel(logging.WARNING)
    rows: dict[tuple[str, str], list[list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(1, options.seeds + 1):
            rng, start = np.random.default_rng(seed), Path(folder) / f"{seed}.png"
            scene = random_scene(rng, width=WIDTH, styled=0)
            Image.fromarray(paint_view(scene, rng, View(WIDTH, HEIGHT))).save(start)
            prompt = ", ".join(scene.words)
            before = draw(start, prompt, seed, "Euler", 0.0, {"enabled": False})
            for sampler, (way, settings) in product(options.samplers.split(","), WAYS.items()):
                drawn = draw(start, prompt, seed, sampler, *settings)
                rows.setdefault((sampler, way), []).append(figures(before, drawn))
    for (sampler, way), found in sorted(rows.items()):
        left, near, right, border = np.mean(found, axis=0)
        print(
            f"{sampler:12} {way:22} change of the left quarter {left:5.2f}, of the second {near:5.2f}, of the right "
            f"half {right:5.2f}   border {border:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
