"""ControlNet of `diffusers` in tiles: hints are cut, and the network runs for tiles alone."""

import diffusers
import pytest
import torch

from tests import diffusers_models as models
from tests.test_diffusers import PROMPT, drawn, mask, picture
from tile_diffusers import tiled_diffusion
from tile_utils.settings import SettingsError

SIZE = {"width": 320, "height": 192}
HINT = picture(seed=4)
XL = {**models.XL, "cross_attention_dim": 64}
BOTH = {"image": [HINT, picture(seed=5)]}


def control(seed=4, **config):
    return models.controlnet(models.PointControl, seed, **config)


def sd(kind=diffusers.StableDiffusionControlNetPipeline, nets=1, **config):
    nets = [control() for _ in range(nets)]
    pipe = models.sd(
        kind, models.unet(models.PointUNet, **config), controlnet=nets if len(nets) > 1 else nets[0]
    )
    return pipe, nets


def sdxl(kind=diffusers.StableDiffusionXLControlNetPipeline, nets=1):
    nets = [control(**XL) for _ in range(nets)]
    net = models.unet(models.PointUNet, **XL)
    return models.sdxl(kind, net, controlnet=nets if len(nets) > 1 else nets[0]), nets


INPAINT = {"image": picture(), "mask_image": mask(), "control_image": HINT, "strength": 0.9, **SIZE}
CASES = {
    "one": (sd, {"image": HINT}),
    "two": (lambda: sd(nets=2), {**BOTH, "controlnet_conditioning_scale": [0.5, 1.3]}),
    "guess mode": (sd, {"image": HINT, "guess_mode": True}),
    "guess mode, two": (lambda: sd(nets=2), {**BOTH, "guess_mode": True}),
    "without guidance": (sd, {"image": HINT, "guidance_scale": 1.0}),
    "start and end": (sd, {"image": HINT, "control_guidance_start": 0.3, "control_guidance_end": 0.7}),
    "start and end, two": (
        lambda: sd(nets=2),
        {**BOTH, "control_guidance_start": [0.0, 0.5], "control_guidance_end": [0.5, 1.0]},
    ),
    "two pictures": (sd, {"image": HINT, "num_images_per_prompt": 2}),
    "img2img": (
        lambda: sd(diffusers.StableDiffusionControlNetImg2ImgPipeline),
        {"image": picture(), "control_image": HINT, "strength": 0.7},
    ),
    "inpaint": (lambda: sd(diffusers.StableDiffusionControlNetInpaintPipeline), INPAINT),
    "SDXL": (sdxl, {"image": HINT}),
    "SDXL, guess mode": (sdxl, {"image": HINT, "guess_mode": True}),
    "SDXL, two": (lambda: sdxl(nets=2), BOTH),
}


@pytest.mark.parametrize("case", CASES)
def test_pointwise_control_in_tiles_is_that_of_the_whole(case):
    make, call = CASES[case]
    pipe, nets = make()
    whole = drawn(pipe, **PROMPT, **call)
    at_once = [net.__dict__.pop("calls") for net in nets]
    with tiled_diffusion(pipe, tile=128, overlap=32, batch_size=3):
        tiled = drawn(pipe, **PROMPT, **call)
    assert (tiled - whole).abs().max() <= 1e-5 * whole.abs().max()
    steps = sum(any(scale for _, scale in units) for units in zip(*at_once))
    for net in nets:
        calls = net.calls
        assert {shape[-2:] for shape, _ in calls} == {(16, 16)}  # none on the canvas
        assert len(calls) == 2 * steps  # 6 tiles in two batches
    assert torch.equal(drawn(pipe, **PROMPT, **call), whole)


def test_one_tile_is_the_whole_to_the_bit():
    for guess_mode in (False, True):
        pipe = models.sd(
            diffusers.StableDiffusionControlNetPipeline,
            controlnet=[models.controlnet(), models.controlnet(seed=9)],
        )
        call = {
            **PROMPT,
            "image": [HINT, HINT],
            "guess_mode": guess_mode,
            "controlnet_conditioning_scale": [0.5, 1.0],
        }
        whole = drawn(pipe, **call)
        with tiled_diffusion(pipe, tile=320, overlap=32):
            assert torch.equal(drawn(pipe, **call), whole)
        with tiled_diffusion(pipe, tile=192, overlap=64):
            tiled = drawn(pipe, **call)
        assert not torch.equal(tiled, whole)


def test_other_control_networks_are_refused():
    config = {key: value for key, value in models.SD3.items() if key != "num_layers"}
    control = models.made(diffusers.SD3ControlNetModel, 8, num_layers=1, **config)
    pipe = models.sd3(diffusers.StableDiffusion3ControlNetPipeline, controlnet=control)
    with (
        pytest.raises(
            SettingsError, match="network \\w+ is not supported; allowed are ControlNetModel and Multi"
        ),
        tiled_diffusion(pipe, tile=128, overlap=32),
    ):
        pass


def test_a_t2i_adapter_is_refused():
    adapter = diffusers.T2IAdapter(in_channels=3, channels=[32, 64], num_res_blocks=1, downscale_factor=8)
    pipe = models.sd(diffusers.StableDiffusionAdapterPipeline, adapter=adapter)
    with (
        tiled_diffusion(pipe, tile=128, overlap=32),
        pytest.raises(SettingsError, match="T2I adapter's features .* are not cut for tiles"),
    ):
        pipe("sea", image=HINT, num_inference_steps=1)
