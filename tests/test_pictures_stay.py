"""Latents that the code drew before its tiling core was rebuilt, in ten settings: they stay what they are.

`tests/data/pictures.npz` holds them as float16. Where a picture is meant to change, a new latent is put in its place,
and CHANGELOG.md says so.
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modules import sd_samplers
from tests import analytic_model

KEPT = Path(__file__).parent / "data" / "pictures.npz"
TOLERANCE = 2e-3
"""Of the largest value: what float16 keeps, and what the order of sums on another machine changes."""


def tiles(method="Mixture of Diffusers", overlap=8, batch=4, **more):
    sizes = {"tile_width": 16, "tile_height": 16, "overlap": overlap, "tile_batch_size": batch}
    return {"enabled": True, "method": method, **sizes, **more}


def box(x, y, w, h, prompt="red balloon", negative="boat", seed=3, **more):
    """A background region, in fractions of the canvas."""
    region = {"enable": True, "x": x, "y": y, "w": w, "h": h, "prompt": prompt, "neg_prompt": negative}
    return {**region, "blend_mode": "Background", "feather_ratio": 0.2, "seed": seed, **more}


def front(x, y, w, h, feather=0.2, **more):
    return box(x, y, w, h, blend_mode="Foreground", feather_ratio=feather, **more)


def regions(*boxes, background=True, **more):
    return tiles(**more, enable_bbox_control=True, draw_background=background, regions=list(boxes))


def photo(seed):
    values = np.random.default_rng(seed).integers(0, 255, (8, 16, 3))
    return Image.fromarray(values.astype(np.uint8)).resize((256, 128), Image.Resampling.BICUBIC)


def mask():
    image = Image.new("L", (256, 128))
    image.paste(255, (64, 32, 160, 96))
    return image


LEFT = box(0.0, 0.0, 0.5, 1.0, "red balloon, night")
RIGHT = front(0.625, 0.25, 0.25, 0.5, prompt="moon", negative="", seed=11)
BOTH = regions(LEFT, RIGHT)
INVERSION = {"noise_inverse": True, "noise_inverse_steps": 3, "noise_inverse_renoise_strength": 0.0}
CASES = {
    "MultiDiffusion with remainders": (
        tiles("MultiDiffusion", overlap=6, batch=5),
        {"width": 328, "height": 216},
    ),
    "Mixture, batch 2, AND with weights": (tiles(), {"batch_size": 2, "prompt": "sea AND night :-0.5"}),
    "regions of both kinds": (BOTH, {"batch_size": 2, "n_iter": 2}),
    "regions without background, split calls": (
        regions(LEFT, RIGHT, background=False, method="MultiDiffusion"),
        {"batch_size": 2, "prompt": "[sea:fog:0.5] AND day", "negative_prompt": "grey", "steps": 4},
    ),
    "overlapping background regions, one larger than tiles": (
        regions(box(0, 0, 0.75, 1), box(0.5, 0.25, 0.5, 0.75, "boat", seed=4)),
        {},
    ),
    "foregrounds apart, feathers 0, 0.2, 1, skipped uncond": (
        regions(
            front(0, 0, 0.25, 0.5, 0), front(0.375, 0.25, 0.25, 0.5, seed=4), front(0.6875, 0, 0.3125, 1, 1, seed=5)
        ),
        {"s_min_uncond": 100.0, "steps": 4},
    ),
    "networks in a region": (
        regions({**LEFT, "prompt": "night <probe:own:0.5>"}, RIGHT),
        {"prompt": "sea <probe:main:0.2>", "steps": 3},
    ),
    "hires with its own sampler and regions": (
        BOTH,
        {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.8,
         "hr_sampler_name": "DDIM", "hr_prompt": "desert"},
    ),
    "inpainting": (
        BOTH,
        {"init_images": [photo(1)], "mask": mask(), "inpainting_fill": 1, "mask_blur": 0,
         "inpaint_full_res": False, "denoising_strength": 0.6, "steps": 4},
    ),
    "noise inversion with regions": (
        BOTH | INVERSION,
        {"init_images": [photo(99)], "steps": 3, "denoising_strength": 1.0, "cfg_scale": 1.0},
    ),
}  # fmt: skip


@pytest.fixture
def latents(webui, monkeypatch):
    """What each pass comes to, drawn by the analytic model. [B, 4, h, w] each"""
    seen = []
    for label in ("Euler", "DDIM"):
        kind = type(sd_samplers.create_sampler(label, webui.shared.sd_model))
        for name in ("sample", "sample_img2img"):
            method = getattr(kind, name)

            def sample(*args, method=method, **kwargs):
                seen.append(method(*args, **kwargs))
                return seen[-1]

            monkeypatch.setattr(kind, name, sample)
    analytic_model.put_into(webui.shared.sd_model, monkeypatch)
    return seen


@pytest.mark.parametrize("name", CASES)
def test_pictures_stay(webui, latents, monkeypatch, name):
    settings, arguments = CASES[name]
    monkeypatch.setitem(webui.shared.opts.data, "batch_cond_uncond", "split calls" not in name)
    webui.draw(settings, **arguments)
    kept = np.load(KEPT)
    expected = [kept[key] for key in kept.files if key.startswith(f"{name}|")]
    assert len(latents) == len(expected) > 0
    for drawn, before in zip(latents, expected):
        drawn, before = drawn.numpy(), before.astype(np.float32)
        assert np.abs(drawn - before).max() < TOLERANCE * np.abs(before).max()
