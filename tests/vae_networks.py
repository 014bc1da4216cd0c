"""Small random VAEs of both layouts, and what they are given."""

import torch
from diffusers import AutoencoderKL

from tests import ldm_vae


def diffusers_vae(widths=(32, 32, 64, 64), layers=1, groups=8, act_fn="silu"):
    torch.manual_seed(1)
    vae = AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        layers_per_block=layers,
        latent_channels=4,
        norm_num_groups=groups,
        act_fn=act_fn,
    )
    return vae.eval().requires_grad_(False)


def network(layout, kind):
    torch.manual_seed(1)
    if layout == "ldm":
        return getattr(ldm_vae, kind)().eval().requires_grad_(False)
    return getattr(diffusers_vae(), kind.lower())


def input_for(kind, height, width, seed=2):
    """A latent of that size, or a picture 8 times as large and not a multiple of 8."""
    generator = torch.Generator().manual_seed(seed)
    if kind == "Decoder":
        return torch.randn(1, 4, height, width, generator=generator)
    return torch.randn(1, 3, height * 8 + 3, width * 8 + 5, generator=generator)
