"""One wide picture, drawn by several processes together: each denoises its share of the tiles and decodes its rows.

.venv/bin/torchrun --nproc-per-node 2 examples/two_ranks.py [--steps 20] [--out picture.png]     (from the root)

On GPUs one process for each; otherwise on the CPU. Draws with the demo checkpoint; other pipelines work the same.
"""

import argparse
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

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
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
        pipe.to(device)
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    group = dist.group.WORLD
    with (
        tiled_diffusion(pipe, tile=256, overlap=64, group=group),
        tiled_vae(pipe.vae, tile_size=32, group=group),
    ):
        image = pipe(
            "sea, sunset",
            width=1024,
            height=256,
            num_inference_steps=options.steps,
            guidance_scale=4.0,
            generator=torch.Generator().manual_seed(1),  # the same noise everywhere
        ).images[0]
    if dist.get_rank() == 0:
        image.save(options.out)
        print(f"{dist.get_world_size()} ranks drew {options.out}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
