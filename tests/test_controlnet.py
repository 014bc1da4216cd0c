"""ControlNet beside tiles: each patch sees its own cut of every hint, and nothing of ours stays behind."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from modules import shared
from tile_host import passes

TILES = {"enabled": True, "tile_width": 16, "tile_height": 16, "overlap": 8, "tile_batch_size": 3}
UNIT = {"enabled": True, "model": "pointwise"}


class Pointwise(nn.Module):
    """A control network whose output at a pixel depends on its own hint and x only, at two sizes."""

    def __init__(self, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.by_hint = nn.Parameter(torch.randn(4, 3, 1, 1, generator=generator))

    def forward(self, x, timesteps, context, hint, return_dict=False):
        seen = F.conv2d(F.avg_pool2d(hint, 8), self.by_hint) + 0.1 * x
        return [seen.tanh(), (0.5 * seen).sin()], (seen**2).cos()


def pointwise_unet(
    x, timesteps, context, down_block_additional_residuals=(), mid_block_additional_residual=0, **_
):
    return (0.2 * x + sum(down_block_additional_residuals) + mid_block_additional_residual,)


@pytest.fixture
def controlled(webui, monkeypatch):
    """`prepare(units, settings, ...)` and `draw(...)` with networks that see one pixel each."""
    webui.prepare()
    models = sys.modules["controlnet_models"]
    script = sys.modules["controlnet_models"].PlugableControlModel
    unet = shared.sd_model.model.diffusion_model.unet
    monkeypatch.setattr(unet, "forward", pointwise_unet)
    monkeypatch.setattr(
        models.ModelCache,
        "load",
        lambda self, model, sd_model: script(Pointwise(len(model))).requires_grad_(False),
    )

    def prepare(units=(UNIT,), settings=TILES, **arguments):
        p = webui.prepare(settings, **{"width": 256, "height": 192, "steps": 1, **arguments})
        args, controlnet = list(p.script_args), p.scripts.script("ControlNet")
        for number, unit in enumerate(units):
            args[controlnet.args_from + number] = unit
        p.script_args = tuple(args)
        return p

    def draw(*units, **arguments):
        return webui.process(prepare(units or (with_picture(),), **arguments))

    return SimpleNamespace(prepare=prepare, draw=draw, process=webui.process)


def noise_picture(width=256, height=192, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return Image.fromarray(pixels)


def with_picture(seed=0, size=(256, 192), **unit):
    return {**UNIT, "image": noise_picture(*size, seed), "resize_mode": "Just Resize", **unit}


@pytest.fixture
def compared(monkeypatch):
    """How far each step's tiled prediction is from that of the whole canvas, which ControlNet itself controls."""
    differences = []
    original = passes.Pass.denoise

    def denoise(self, model, x, sigma, cond, step, asked, after_batch):
        out = original(self, model, x, sigma, cond, step, asked, after_batch)
        whole = model(x, sigma, cond)
        differences.append(float((out - whole).abs().max() / whole.abs().max()))
        return out

    monkeypatch.setattr(passes.Pass, "denoise", denoise)
    return differences


region = st.builds(
    lambda x, y, w, h, foreground: {
        "enable": True, "x": x, "y": y, "w": w, "h": h, "prompt": "boat", "neg_prompt": "",
        "blend_mode": "Foreground" if foreground else "Background", "feather_ratio": 0.3, "seed": 5,
    },
    st.sampled_from((0.0, 0.25, 0.4)), st.sampled_from((0.0, 0.3)), st.sampled_from((0.3, 0.6)),
    st.sampled_from((0.4, 0.7)), st.booleans(),
)  # fmt: skip
drawings = st.fixed_dictionaries(
    {
        "method": st.sampled_from(("MultiDiffusion", "Mixture of Diffusers")),
        "tile_width": st.sampled_from((16, 20, 28)),
        "tile_height": st.sampled_from((16, 24)),
        "overlap": st.sampled_from((0, 4, 12)),
        "tile_batch_size": st.sampled_from((1, 2, 8)),
        "control_tensor_cpu": st.booleans(),
        "regions": st.lists(region, max_size=2),
    }
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drawing=drawings,
    two=st.booleans(),
    masked=st.booleans(),
    batch=st.sampled_from((1, 2)),
    prompt=st.sampled_from(("sea", "sea AND night")),
    apart=st.booleans(),
    hires=st.booleans(),
    mode=st.sampled_from(("Balanced", "My prompt is more important", "ControlNet is more important")),
)
def test_tiles_with_their_own_hints_are_the_whole(
    controlled, compared, drawing, two, masked, batch, prompt, apart, hires, mode
):
    compared.clear()
    drawn = {**TILES, **drawing, "enable_bbox_control": bool(drawing["regions"]), "draw_background": True}
    mask = noise_picture(128, 96, seed=9) if masked else None
    units = [with_picture(control_mode=mode, effective_region_mask=mask)]
    if two:
        units.append(with_picture(seed=1, model="another pointwise", weight=0.7))
    more = (
        {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.9}
        if hires
        else {}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(shared.opts.data, "batch_cond_uncond", not apart)
        controlled.draw(
            *units, settings=drawn, batch_size=batch, prompt=prompt, negative_prompt="fog", **more
        )
    assert compared
    assert max(compared) < 1e-5
