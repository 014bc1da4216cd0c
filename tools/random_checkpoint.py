"""A checkpoint of the demo's shape with random weights: the networks are real, the pictures are noise."""

from __future__ import annotations

from pathlib import Path

import torch

from miniwebui.checkpoint_layout import Components
from painted_world.autoencoder import make_vae
from painted_world.checkpoint_file import save_checkpoint
from painted_world.denoiser import make_text_encoder, make_unet


def write_random_checkpoint(path: Path) -> None:
    """The same file every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        text_encoder = make_text_encoder()
        # The host's emphasis divides by the mean of what the encoder says, which without this bias is 0.
        torch.nn.init.normal_(text_encoder.final_layer_norm.bias)
        save_checkpoint(path, Components(make_unet(), make_vae(), text_encoder), {})
