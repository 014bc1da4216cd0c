"""Tiled VAE on a `diffusers` pipeline, without a WebUI.

.venv/bin/python examples/tiled_vae.py [--steps 20] [--out picture.png]     (from the repository's root)

Draws with the demo checkpoint; any pipeline with an AutoencoderKL works the same.
"""

import argparse
import sys
from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from miniwebui.checkpoint_layout import load_checkpoint  # noqa: E402
from miniwebui.clip_tokenizer import clip_tokenizer  # noqa: E402
from tile_methods.vae import tiled_vae  # noqa: E402


def demo_pipeline() -> StableDiffusionPipeline:
    parts = load_checkpoint(ROOT / "miniwebui/models/Stable-diffusion/demo.safetensors")
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )
    return StableDiffusionPipeline(
        parts.vae,
        parts.text_encoder,
        clip_tokenizer(),
        parts.unet,
        scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("picture.png"))
    options = parser.parse_args()
    pipe = demo_pipeline()
    given = {"height": 512, "width": 512, "num_inference_steps": options.steps, "guidance_scale": 4.0}
    with tiled_vae(pipe.vae, tile_size=32):
        tiled = pipe("sea, sunset", generator=torch.manual_seed(1), output_type="pt", **given).images
    whole = pipe("sea, sunset", generator=torch.manual_seed(1), output_type="pt", **given).images
    print(f"Largest difference to the picture decoded at once: {(tiled - whole).abs().max():.1e}")
    pipe.image_processor.numpy_to_pil(pipe.image_processor.pt_to_numpy(tiled))[0].save(options.out)
    print(f"Wrote {options.out}")


if __name__ == "__main__":
    main()
