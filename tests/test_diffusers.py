"""tile_diffusers: what a pipeline draws in tiles."""

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from tests import diffusers_models as models
from tile_diffusers import tiled_diffusion

PROMPT = {"prompt": "sea, day", "negative_prompt": "fog"}
SIZE = {"width": 320, "height": 192}


def picture(width=320, height=192, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def mask(width=320, height=192):
    pixels = np.zeros((height, width), np.uint8)
    pixels[40:150, 60:200] = 255
    return Image.fromarray(pixels)


def drawn(pipe, steps=3, **call):
    """The latents of a picture, always of the same noise."""
    generator = torch.Generator().manual_seed(1)
    return pipe(num_inference_steps=steps, output_type="latent", generator=generator, **call)[0]


def point_unet(**config):
    return models.unet(models.PointUNet, **config)


def point_flux(pipe=diffusers.FluxPipeline, **config):
    """With a schedule that does not depend on the size, which tiles would change."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    return models.flux(pipe, models.flux_net(models.PointFlux, **config), scheduler=scheduler)


INPAINT = {"image": picture(), "mask_image": mask(), "strength": 0.9, **SIZE}
TURNED = {"image": picture(), "strength": 0.7}
POINTWISE = {
    "SD": (lambda: models.sd(net=point_unet()), {**PROMPT, **SIZE, "guidance_rescale": 0.5}),
    "SD without guidance": (
        lambda: models.sd(net=point_unet()),
        {"prompt": "sea", "guidance_scale": 1, **SIZE},
    ),
    "SD img2img": (
        lambda: models.sd(diffusers.StableDiffusionImg2ImgPipeline, point_unet()),
        {**PROMPT, **TURNED},
    ),
    "SD inpaint": (
        lambda: models.sd(diffusers.StableDiffusionInpaintPipeline, point_unet()),
        {**PROMPT, **INPAINT},
    ),
    "SD inpaint, 9 channels": (
        lambda: models.sd(diffusers.StableDiffusionInpaintPipeline, point_unet(in_channels=9)),
        {**PROMPT, **INPAINT},
    ),
    "SDXL": (
        lambda: models.sdxl(net=point_unet(**models.XL)),
        {**PROMPT, **SIZE, "num_images_per_prompt": 2},
    ),
    "SDXL img2img": (
        lambda: models.sdxl(diffusers.StableDiffusionXLImg2ImgPipeline, point_unet(**models.XL)),
        {**PROMPT, **TURNED},
    ),
    "SDXL inpaint": (
        lambda: models.sdxl(diffusers.StableDiffusionXLInpaintPipeline, point_unet(**models.XL)),
        {**PROMPT, **INPAINT},
    ),
    "SD3": (lambda: models.sd3(net=models.sd3_net(models.PointSD3)), {**models.sd3_words(), **SIZE}),
    "Flux": (lambda: point_flux(), {**models.flux_words(), **SIZE}),
    "Flux img2img": (
        lambda: point_flux(diffusers.FluxImg2ImgPipeline),
        {**models.flux_words(), **TURNED, **SIZE},
    ),
    "Flux inpaint": (
        lambda: point_flux(diffusers.FluxInpaintPipeline),
        {**models.flux_words(), **INPAINT},
    ),
    "Flux Kontext": (
        lambda: point_flux(diffusers.FluxKontextPipeline),
        {**models.flux_words(), "image": picture(), "max_area": 320 * 192, "_auto_resize": False, **SIZE},
    ),
    "Flux Fill": (
        lambda: point_flux(diffusers.FluxFillPipeline, in_channels=288, out_channels=16),
        {**models.flux_words(), **INPAINT},
    ),
}


@pytest.mark.parametrize("case", POINTWISE)
def test_a_pointwise_denoiser_draws_in_tiles_what_it_draws_as_a_whole(case):
    make, call = POINTWISE[case]
    pipe = make()
    whole = drawn(pipe, **call)
    for method, shift in (("MultiDiffusion", False), ("Mixture of Diffusers", True)):
        with tiled_diffusion(pipe, tile=128, overlap=32, method=method, batch_size=3, shift=shift):
            models.SEEN.clear()
            tiled = drawn(pipe, **call)
        assert len(models.SEEN) >= 2 * 2  # 6 tiles in batches of 3, at least two steps
        assert (tiled - whole).abs().max() <= 1e-5 * whole.abs().max()
    assert torch.equal(drawn(pipe, **call), whole)


class PointFlux2(torch.nn.Module):
    """Flux.2's way of asking: positions of four axes, for each row."""

    def forward(self, hidden_states, encoder_hidden_states, timestep, img_ids, txt_ids, return_dict=True):
        assert img_ids.shape == (*hidden_states.shape[:2], 4)
        assert txt_ids.shape == (*encoder_hidden_states.shape[:2], 4)
        assert img_ids[0, 0].tolist() == [0, 0, 0, 0]
        return (models.pointwise(hidden_states, timestep, encoder_hidden_states, hidden_states.shape[2], 2),)


class Flux2Like:
    vae_scale_factor = 8

    def __init__(self):
        self.transformer = PointFlux2()

    def __call__(self):
        height, width = torch.arange(12), torch.arange(20)
        zero = torch.tensor([0])
        ids = torch.cartesian_prod(zero, height, width, zero)
        others = torch.cartesian_prod(zero + 10, torch.arange(3), torch.arange(5), zero)
        ids = torch.cat([ids, others]).expand(2, -1, -1)
        words = models.noise(2, 7, 8, seed=1)
        return self.transformer(models.noise(2, 255, 6), words, torch.ones(2), ids, torch.zeros(2, 7, 4))[0]


def test_tokens_with_positions_of_four_axes_for_each_row():
    pipe = Flux2Like()
    whole = pipe()[:, :240]  # without those of the reference picture
    with tiled_diffusion(pipe, tile=128, overlap=32):
        models.SEEN.clear()
        assert torch.allclose(pipe()[:, :240], whole, atol=1e-5)
    assert set(models.SEEN) == {(2, 8 * 8 + 15, 6)}
