"""Write the trained networks as the demo checkpoint, with what previews need."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from miniwebui.checkpoint_layout import Components, save_checkpoint
from miniwebui.training.autoencoder import WORK, make_vae, paint_set, to_signed
from miniwebui.training.denoiser import SCALE_FACTOR, make_text_encoder, make_unet

CHECKPOINT = Path(__file__).parent.parent / "models" / "Stable-diffusion" / "demo.safetensors"


def trained_components() -> Components:
    """The networks of the last training run."""
    saved = torch.load(WORK / "networks.pt")
    parts = Components(make_unet().eval(), make_vae().eval(), make_text_encoder().eval())
    for name in ("unet", "vae", "text_encoder"):
        getattr(parts, name).load_state_dict(saved[name])
    return parts


@torch.no_grad()
def latent_rgb_factors(parts: Components) -> Tensor:
    """The best linear colours of a latent pixel, -1 ... 1, by least squares over painted scenes. [4, 3]"""
    images = to_signed(paint_set(32, seed=5))
    latents = parts.vae.encode(images).latent_dist.mode() * SCALE_FACTOR
    colours = torch.nn.functional.avg_pool2d(images, 8)
    return torch.linalg.lstsq(
        latents.movedim(1, -1).flatten(0, 2), colours.movedim(1, -1).flatten(0, 2)
    ).solution


def export() -> None:
    parts = trained_components()
    factors = [[round(float(v), 4) for v in row] for row in latent_rgb_factors(parts)]
    metadata = {
        "modelspec.title": "Tiled Diffusion demo",
        "modelspec.resolution": "256x256",
        "latent_rgb_factors": json.dumps(factors),
    }
    CHECKPOINT.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(CHECKPOINT, parts, metadata)
    print(f"Wrote {CHECKPOINT.name}, {CHECKPOINT.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    export()
