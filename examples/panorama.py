"""A wide picture by a pipeline of `diffusers`, in tiles.

.venv/bin/python examples/panorama.py [--steps 20] [--out picture.png]     (from the repository's root)

Draws with the demo checkpoint, whose own size is 256x256; any pipeline with a UNet or transformer works the same.
"""

import argparse
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from examples.tiled_vae import demo_pipeline  # noqa: E402
from tile_diffusers import tiled_diffusion, tiled_vae  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("picture.png"))
    options = parser.parse_args()
    pipe = demo_pipeline()
    with tiled_diffusion(pipe, tile=256, overlap=128, batch_size=4), tiled_vae(pipe.vae, tile_size=64):
        image = pipe(
            "city skyline, night",
            width=1024,
            height=256,
            num_inference_steps=options.steps,
            guidance_scale=4.0,
            generator=torch.Generator().manual_seed(1),
        ).images[0]
    image.save(options.out)
    print(f"Wrote {options.out}")


if __name__ == "__main__":
    main()
