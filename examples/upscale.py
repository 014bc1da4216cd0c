"""A picture drawn four times as large by a pipeline of `diffusers`, with its lines held by a ControlNet.

.venv/bin/python examples/upscale.py PICTURE [--steps 20] [--out picture.png]     (from the repository's root)
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionControlNetImg2ImgPipeline
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from examples.tiled_vae import demo_pipeline  # noqa: E402
from miniwebui.controlnet_layout import load_controlnet  # noqa: E402
from painted_world.lines import edges  # noqa: E402
from tile_diffusers import tiled_diffusion, tiled_vae  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--prompt", default="sea, sunset")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("picture.png"))
    options = parser.parse_args()
    small = Image.open(options.picture).convert("RGB")
    size = [side * options.scale // 8 * 8 for side in small.size]
    large = small.resize(size, Image.Resampling.LANCZOS)
    lines = edges(np.asarray(large), 0.05, 0.15)
    hint = Image.fromarray(np.repeat(lines[..., None], 3, axis=2).astype(np.uint8) * 255)
    base = demo_pipeline()
    control = load_controlnet(ROOT / "miniwebui/models/ControlNet/demo-lines.safetensors", base.unet)
    pipe = StableDiffusionControlNetImg2ImgPipeline(
        **base.components, controlnet=control, requires_safety_checker=False
    )
    with tiled_diffusion(pipe, tile=256, overlap=128, batch_size=4), tiled_vae(pipe.vae, tile_size=64):
        image = pipe(
            options.prompt,
            image=large,
            control_image=hint,
            strength=0.3,
            num_inference_steps=options.steps,
            guidance_scale=2.0,
            generator=torch.Generator().manual_seed(3),
        ).images[0]
    image.save(options.out)
    print(f"Wrote {options.out}")


if __name__ == "__main__":
    main()
