"""Write the trained networks as the demo checkpoint, with what previews need."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import torch
from torch import Tensor

from miniwebui.checkpoint_layout import Components
from painted_world.autoencoder import paint_set, to_signed
from painted_world.checkpoint_file import save_checkpoint
from painted_world.latents import SCALE_FACTOR

logger = logging.getLogger(__name__)

MODELS = Path(__file__).parent.parent / "miniwebui" / "models"
CHECKPOINT = MODELS / "Stable-diffusion" / "demo.safetensors"


@torch.no_grad()
def latent_rgb_factors(parts: Components) -> Tensor:
    """The best linear colours of a latent pixel, -1 ... 1, by least squares over painted scenes. [4, 3]"""
    images = to_signed(paint_set(32, seed=5))
    latents = parts.vae.encode(images).latent_dist.mode() * SCALE_FACTOR
    colours = torch.nn.functional.avg_pool2d(images, 8)
    return torch.linalg.lstsq(
        latents.movedim(1, -1).flatten(0, 2), colours.movedim(1, -1).flatten(0, 2)
    ).solution


def export(parts: Components, path: Path = CHECKPOINT) -> None:
    """Write the checkpoint, whole or not at all."""
    factors = [[round(float(v), 4) for v in row] for row in latent_rgb_factors(parts)]
    metadata = {
        "modelspec.title": "Tiled Diffusion demo",
        "modelspec.resolution": "256x256",
        "latent_rgb_factors": json.dumps(factors),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    save_checkpoint(temporary, parts, metadata)
    temporary.replace(path)
    logger.info("Wrote %s, %.1f MiB", path.name, path.stat().st_size / 2**20)
