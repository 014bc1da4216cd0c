"""Does noise inversion find the noise of a picture? PSNR of what is drawn from it, with the picture.

.venv/bin/python benchmarks/noise_inversion.py [--pictures 2] [--steps 20]     (from the repository's root)

Pictures of 512x256 are drawn by the demo model and drawn again by img2img with full denoising, no guidance and another
seed: from random noise, and from the inverted noise alone (renoise strength 0), whole and in tiles. "VAE alone" is
encoding and decoding, the most that can be reached. Each row gives the mean and every picture's figure, in dB.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from miniwebui import render, webui  # noqa: E402

SIZE = ("--width", "512", "--height", "256")
PROMPTS = ("sea, sunset", "meadow, day", "city skyline, night", "mountains, day")
TILES = {"tile_width": 32, "tile_height": 32, "overlap": 16}
SHIFTED = {"overlap": 4, "shift_tiles": True}
CANVASES = {
    "whole": {"tile_width": 64, "tile_height": 32},
    "Mixture of Diffusers": {**TILES, "method": "Mixture of Diffusers"},
    "MultiDiffusion": {**TILES, "method": "MultiDiffusion"},
    "Mixture of Diffusers, shifted": {**TILES, **SHIFTED, "method": "Mixture of Diffusers"},
    "MultiDiffusion, shifted": {**TILES, **SHIFTED, "method": "MultiDiffusion"},
}


def psnr(drawn: Any, picture: Any) -> float:
    difference = np.asarray(drawn, dtype=float) - np.asarray(picture, dtype=float)
    return float(10 * np.log10(255**2 / (difference**2).mean()))


def ways(steps: int) -> dict[str, tuple[float, dict[str, Any]]]:
    """Name -> (denoising strength, Tiled Diffusion's settings)."""
    rows: dict[str, tuple[float, dict[str, Any]]] = {"VAE alone": (0.0, {})}
    for canvas, tiles in CANVASES.items():
        rows[f"random noise, {canvas}"] = (1.0, {"enabled": True, **tiles})
    for count in (10, steps):
        for canvas, tiles in CANVASES.items():
            inversion = {
                "noise_inverse": True,
                "noise_inverse_steps": count,
                "noise_inverse_renoise_strength": 0,
            }
            rows[f"{count} inversion steps, {canvas}"] = (1.0, {"enabled": True, **tiles, **inversion})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    webui.initialize()
    logging.getLogger("Tiled Diffusion").setLevel(logging.WARNING)
    common = ("--sampler", "Euler", "--steps", str(options.steps), *SIZE)
    figures: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.pictures):
            prompt = ("--prompt", PROMPTS[number % len(PROMPTS)])
            (picture,) = render.draw_once(*prompt, *common, "--seed", str(number + 1))
            path = Path(folder) / f"{number}.png"
            picture.save(path)
            again = (*prompt, *common, "--init", str(path), "--seed", "99", "--cfg", "1")
            for name, (strength, settings) in ways(options.steps).items():
                script = ("--script", "Tiled Diffusion", json.dumps(settings))
                (drawn,) = render.draw_once(*again, "--denoise", str(strength), *script)
                figures.setdefault(name, []).append(psnr(drawn, picture))
    for name, values in figures.items():
        each = " ".join(f"{value:.1f}" for value in values)
        print(f"{name:42} {np.mean(values):5.2f}   ({each})", flush=True)


if __name__ == "__main__":
    main()
