"""What tiling costs: the time of a tiled denoiser call over that of the bare UNet calls on the same batches.

python benchmarks/denoise_overhead.py [--checkpoint FILE] [--rounds 15]     (inside .venv, from the repository's root)

Both are timed in turns in one run; the ratio of the medians is what counts, since machines are noisy.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from miniwebui.checkpoint_layout import load_checkpoint  # noqa: E402
from tile_methods.fusing import WEIGHTINGS, TileFuser  # noqa: E402
from tile_utils.geometry import make_grid  # noqa: E402

CANVAS_W, CANVAS_H, TILE, OVERLAP, BATCH, ROWS = 256, 32, 32, 16, 4, 2
DEMO = ROOT / "miniwebui/models/Stable-diffusion/demo.safetensors"


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, default=DEMO)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    unet = load_checkpoint(options.checkpoint).unet
    context = torch.randn(ROWS, 77, unet.config.cross_attention_dim)
    x, sigma = torch.randn(ROWS, 4, CANVAS_H, CANVAS_W), torch.full((ROWS,), 500.0)

    def denoise(x, sigma, cond):
        return unet(x, sigma, cond["c_crossattn"][0]).sample

    cond = {"c_crossattn": [context], "c_concat": [torch.zeros(ROWS, 5, 1, 1)]}
    for method in WEIGHTINGS:
        fuser = TileFuser(make_grid(CANVAS_W, CANVAS_H, TILE, TILE, OVERLAP), method, BATCH, x.device)
        inputs = [
            (
                torch.randn(ROWS * len(boxes), 4, TILE, TILE),
                sigma.repeat(len(boxes)),
                {"c_crossattn": [context.repeat(len(boxes), 1, 1)]},
            )
            for boxes in fuser.batches
        ]

        def bare(inputs=inputs):
            for batch in inputs:
                denoise(*batch)

        def tiled(fuser=fuser):
            fuser.fuse(denoise, x, sigma, cond)

        bare(), tiled()  # warm up
        times = [(seconds(bare), seconds(tiled)) for _ in range(options.rounds)]
        bare_time, tiled_time = (statistics.median(column) for column in zip(*times))
        print(f"{method}: {len(fuser.batches)} batches, tiled / bare = {tiled_time / bare_time:.3f}")


if __name__ == "__main__":
    main()
