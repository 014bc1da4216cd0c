"""IP-Adapters of diffusers, whose masks have a place."""

import torch

from tests import diffusers_models as models
from tests.test_diffusers import drawn
from tile_diffusers import tiled_diffusion


def ip_adapter(unet):
    """Random weights of an IP-Adapter, as its files hold them."""
    weights, size = {}, unet.config.cross_attention_dim
    for number, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            width = unet.get_submodule(name.removesuffix(".processor")).to_k.out_features
            for key in ("to_k_ip", "to_v_ip"):
                weights[f"{number}.{key}.weight"] = models.noise(width, size, seed=number)
    picture = {
        "proj.weight": models.noise(size * 4, 32, seed=1),
        "proj.bias": models.noise(size * 4, seed=2),
        "norm.weight": torch.ones(size),
        "norm.bias": torch.zeros(size),
    }
    return {"image_proj": picture, "ip_adapter": weights}


def test_masks_of_an_ip_adapter_are_cut():
    """Two tiles side by side that do not overlap are two pictures, each with its half of the mask."""
    pipe = models.sd()
    pipe.unet._load_ip_adapter_weights([ip_adapter(pipe.unet)])
    noise, mask = models.noise(1, 4, 16, 32, seed=3), torch.zeros(1, 1, 128, 256)
    mask[..., 20:90, 40:150] = 1

    def draw(latents, mask):
        return drawn(
            pipe,
            prompt="sea",
            latents=latents,
            height=128,
            width=8 * latents.shape[-1],
            ip_adapter_image_embeds=[models.noise(2, 1, 32, seed=4)],
            cross_attention_kwargs={"ip_adapter_masks": [mask]},
        )

    with tiled_diffusion(pipe, tile=128, overlap=0, batch_size=2):
        tiled = draw(noise, mask)
    left, right = draw(noise[..., :16], mask[..., :128]), draw(noise[..., 16:], mask[..., 128:])
    assert torch.allclose(tiled, torch.cat([left, right], -1), atol=1e-4)
    unmasked = draw(noise[..., :16], torch.ones(1, 1, 128, 128))
    assert not torch.allclose(left, unmasked, atol=1e-2)
