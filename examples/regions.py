"""Several things, each in its place, by a pipeline of `diffusers`.

.venv/bin/python examples/regions.py [--steps 20] [--out picture.png]     (from the repository's root)
"""

import argparse
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from examples.tiled_vae import demo_pipeline  # noqa: E402
from tile_diffusers import Region, tiled_diffusion  # noqa: E402

REGIONS = [
    Region(0, 0, 288, 256, "sea"),
    Region(224, 0, 288, 256, "meadow"),
    Region(304, 0, 184, 256, "meadow, red balloon", foreground=True, feather=0.3),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("picture.png"))
    options = parser.parse_args()
    pipe = demo_pipeline()
    with tiled_diffusion(pipe, tile=256, overlap=128, batch_size=4, regions=REGIONS, draw_background=False):
        image = pipe(
            "day",
            width=512,
            height=256,
            num_inference_steps=options.steps,
            guidance_scale=4.0,
            generator=torch.Generator().manual_seed(5),
        ).images[0]
    image.save(options.out)
    print(f"Wrote {options.out}")


if __name__ == "__main__":
    main()
