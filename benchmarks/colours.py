"""Do tiles tint what they draw? Colours and detail of enlarged pictures, with and without `hold_colours`.

.venv/bin/python benchmarks/colours.py [--seeds 8] [--keep FILE] [--seconds N]     (from the repository's root)

A plain grey gradient of 512x256, and a scene of 256x256, are enlarged twice by Lanczos and drawn over by the demo model
at denoising strength 0.5, in tiles of 32 with an overlap of 8. Of the gradient: the range that red minus blue spans
over its width (means over columns, in windows of 32; the input's is 0). Of the scene: detail, mean |luma − its Gauss
1.5 px|, relative to tiles without holding; and the mean error of its colours, Gauss 16 px, against the input. With
`--keep` figures are kept, and a run goes on where the last one stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.measures import detail  # noqa: E402
from miniwebui import render, webui  # noqa: E402

TILES = {"enabled": True, "tile_width": 32, "tile_height": 32, "overlap": 8}
TWICE = {"upscaler_name": "Lanczos", "scale_factor": 2.0}
WAYS = {
    "tiles": {**TILES, **TWICE},
    "tiles, colours held": {**TILES, **TWICE, "hold_colours": True},
}
SCENE = "meadow, day, white house"


def gradient() -> Image.Image:
    grey = np.linspace(120, 200, 256, dtype=np.uint8)[:, None, None]
    return Image.fromarray(np.broadcast_to(grey, (256, 512, 3)).copy())


def low(picture: Image.Image, sigma: float = 16) -> np.ndarray:
    values = np.asarray(picture, dtype=np.float32)
    return ndimage.gaussian_filter(values, (sigma, sigma, 0), mode="nearest")


def tint(picture: Image.Image) -> float:
    """The range of red minus blue over the width, without 64 columns at each side."""
    values = np.asarray(picture, dtype=float)[:, 64:-64]
    means = np.convolve((values[..., 0] - values[..., 2]).mean(0), np.ones(32) / 32, "valid")
    return float(means.max() - means.min())


def figures(folder: Path, way: str, seed: int) -> list[float]:
    """[tint of the gradient, detail of the scene, colour error of the scene]"""
    grey, scene = folder / "grey.png", folder / f"scene-{seed}.png"
    if not grey.exists():
        gradient().save(grey)
    if not scene.exists():
        (picture,) = render.draw_once(
            "--prompt", SCENE, "--seed", str(seed), "--width", "256", "--height", "256"
        )
        picture.save(scene)
    found: list[float] = []
    for path, prompt in ((grey, "sky"), (scene, "meadow, day")):
        (drawn,) = render.draw_once(
            *("--prompt", prompt, "--init", str(path), "--denoise", "0.5", "--steps", "20", "--cfg", "4"),
            *(
                "--sampler",
                "DPM++ 2M",
                "--seed",
                str(seed),
                "--script",
                "Tiled Diffusion",
                json.dumps(WAYS[way]),
            ),
        )
        if path == grey:
            found.append(tint(drawn))
        else:
            before = Image.open(path).resize(drawn.size, Image.Resampling.LANCZOS)
            found += [detail(np.asarray(drawn)), float(np.abs(low(drawn) - low(before)).mean())]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    known = json.loads(options.keep.read_text()) if options.keep and options.keep.exists() else {}
    webui.initialize()
    logging.getLogger("Tiled Diffusion").setLevel(logging.WARNING)
    end = time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(1, options.seeds + 1):
            for way in WAYS:
                key = f"{way}/{seed}"
                if key not in known and time.monotonic() < end:
                    known[key] = figures(Path(folder), way, seed)
                    if options.keep:
                        options.keep.write_text(json.dumps(known))
    seeds = [s for s in range(1, options.seeds + 1) if all(f"{way}/{s}" in known for way in WAYS)]
    base = np.mean([known[f"tiles/{seed}"][1] for seed in seeds])
    for way in WAYS:
        rows = np.array([known[f"{way}/{seed}"] for seed in seeds])
        tints, details, errors = rows.T
        print(
            f"{way:22} {len(seeds)} seeds   red − blue {tints.mean():4.1f} (at most {tints.max():4.1f})   "
            f"detail {100 * (details.mean() / base - 1):+5.1f} %   colour error {errors.mean():.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
