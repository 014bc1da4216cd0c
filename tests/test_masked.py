"""A mask: what it keeps is not drawn, and what it lets change is the same picture."""

import numpy as np
import pytest
import torch
from PIL import Image

from modules import sd_samplers_common
from modules.processing import StableDiffusionProcessingImg2Img
from tile_host.door import host
from tile_methods.fuse import fuse
from tile_methods.planner import Layout, Planner, Region
from tile_utils.grid import make_grid
from tile_utils.surface import Surface, Window

TILED = {"enabled": True, "tile_width": 16, "tile_height": 16, "overlap": 4, "tile_batch_size": 8}
REGIONS = [
    {"x": 0.0, "y": 0.0, "w": 0.3, "h": 1.0, "prompt": "forest"},
    {"x": 0.5, "y": 0.25, "w": 0.4, "h": 0.5, "prompt": "red boat", "blend_mode": "Foreground"},
    {"x": 0.85, "y": 0.0, "w": 0.1, "h": 0.5, "prompt": "house", "blend_mode": "Foreground"},
]


def layout_of(needed, shift=False, method="Mixture of Diffusers", regions=(), side=256, tile=32, overlap=4):
    grid = make_grid(side, side, tile, tile, overlap)
    return Layout(
        Surface(side, side), grid, method, 4, torch.device("cpu"), regions, shift=shift, needed=needed
    )


def work(layout, steps=8):
    """Latent pixels that the model sees in so many steps."""
    planner, seen = Planner(layout), 0
    for step in range(steps):
        plan = planner.plan(step)
        seen += sum(patch.window.h * patch.window.w for batch in plan.batches for patch in batch.patches)
    return seen


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("overlap", [4, 16])
def test_a_tenth_of_64_tiles_takes_less_than_a_quarter_of_the_work(shift, overlap):
    needed = torch.zeros(256, 256, dtype=torch.bool)
    needed[90:171, 90:171] = True  # a tenth
    part = work(layout_of(needed, shift, overlap=overlap))
    assert 0 < part <= 0.25 * work(layout_of(None, shift, overlap=overlap))


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("method", ["MultiDiffusion", "Mixture of Diffusers"])
def test_what_is_needed_is_the_same_to_rounding(shift, method):
    needed = torch.zeros(96, 96, dtype=torch.bool)
    needed[20:30, 40:70], needed[80:, :3] = True, True
    regions = [
        Region(Window(0, 0, 30, 50), 1),
        Region(Window(60, 60, 30, 30), 2),  # of which nothing is needed
        Region(Window(10, 50, 20, 30), 3, foreground=True, feather=0.5),
        Region(Window(40, 0, 20, 20), 4, foreground=True),  # nor of this
    ]
    weights = torch.randn(3, 3, 3, 3)
    told = []

    def model(batch, x, sigma, cond):
        told.extend(patch.words for patch in batch.patches)
        own = torch.tensor([float(patch.words) for patch in batch.patches] * 2).view(-1, 1, 1, 1)
        return torch.nn.functional.conv2d(x, weights, padding=1) + own

    x = torch.randn(2, 3, 96, 96)
    whole, part = (
        fuse(Planner(layout_of(mask, shift, method, regions, 96)).plan(3), model, x, torch.ones(2), {})
        for mask in (None, needed)
    )
    assert (whole - part)[..., needed].abs().max() < 1e-5
    assert part.isfinite().all()
    assert [told.count(words) for words in (1, 2, 3, 4)] == [2, 1, 2, 1]


def test_where_nothing_is_needed_nothing_is_drawn():
    plan = Planner(layout_of(torch.zeros(96, 96, dtype=torch.bool), side=96)).plan(0)
    assert plan.batches == []
    x = torch.randn(1, 3, 96, 96)
    assert not fuse(plan, None, x, torch.ones(1), {}).any()


def noise(seed):
    values = np.random.default_rng(seed).integers(0, 255, (8, 32, 3)).astype(np.uint8)
    return Image.fromarray(values).resize((512, 128), Image.Resampling.BICUBIC)


@pytest.fixture
def masked(webui, monkeypatch):
    """`draw(settings, needed, **arguments)`: (latents sampled, redrawn share [C, h, w], tiles that the UNet saw), in
    which only what is needed is drawn or all."""
    latents, rows = [], []
    model = webui.shared.sd_model
    apply_model, blended = model.apply_model, StableDiffusionProcessingImg2Img._blended

    def noted_model(x, *args, **kwargs):
        rows.append(len(x))
        return apply_model(x, *args, **kwargs)

    def noted(self, drawn):
        latents.append((drawn.clone(), self.nmask, self.init_latent))
        return blended(self, drawn)

    monkeypatch.setattr(model, "apply_model", noted_model)
    monkeypatch.setattr(StableDiffusionProcessingImg2Img, "_blended", noted)
    mask = Image.new("L", (512, 128))
    mask.paste(255, (300, 20, 380, 90))
    needed = type(host.sampling).needed

    def draw(settings, only_needed, soft=False, **arguments):
        monkeypatch.setattr(type(host.sampling), "needed", needed if only_needed else lambda self, p: None)
        more = {"mask": mask, "mask_blur": 8, "inpainting_fill": 1, "denoising_strength": 0.9, "steps": 3}
        more |= {"width": 512, "height": 128, "init_images": [noise(1)]}
        p = webui.prepare(TILED | settings, **{**more, **arguments})
        p.mask_round = not soft
        rows.clear(), latents.clear()
        webui.process(p)
        return *latents[0], sum(rows)

    return draw


@pytest.mark.parametrize(
    ("sampler", "settings", "arguments"),
    [
        ("Euler a", {}, {}),
        ("DPM++ 2M", {"shift_tiles": True}, {"batch_size": 2, "init_images": [noise(1), noise(2)]}),
        ("DPM++ SDE", {"enable_bbox_control": True, "draw_background": True, "regions": REGIONS}, {}),
        ("DPM adaptive", {}, {"prompt": "sea AND day"}),
        ("DDIM", {"shift_tiles": True}, {}),
        ("UniPC", {"enable_bbox_control": True, "regions": REGIONS}, {"steps": 4}),
        ("Euler", {"shift_tiles": True}, {"soft": True}),
    ],
)
def test_only_what_a_mask_lets_change_is_drawn(masked, sampler, settings, arguments):
    drawn, nmask, init, part = masked(settings, True, sampler_name=sampler, **arguments)
    whole, _, _, work = masked(settings, False, sampler_name=sampler, **arguments)
    changes = nmask.any(0)
    assert 0 < changes.float().mean() < 0.3
    assert (drawn - whole)[..., changes].abs().max() < 1e-4
    assert drawn.isfinite().all()
    assert part < 0.75 * work
    if sampler not in ("DDIM", "UniPC", "DPM adaptive"):  # the last one leaves some noise
        assert (drawn - init)[..., ~changes].abs().max() < 1e-3


def test_soft_inpainting_with_a_timestep_sampler_draws_all(masked):
    """There what the model says of the kept pixels is in the drawn latent, by which soft inpainting makes its mask."""
    *_, part = masked({}, True, sampler_name="DDIM", soft=True)
    *_, work = masked({}, False, sampler_name="DDIM", soft=True)
    assert part == work


@pytest.mark.parametrize("sampler", ["Euler", "DDIM"])
def test_what_is_kept_stands_in_the_prediction(masked, monkeypatch, sampler):
    """In that of every picture its own, though the host asks about cond and uncond."""
    seen = []
    monkeypatch.setattr(sd_samplers_common, "store_latent", lambda x: seen.append(x.clone()))
    pictures = {"batch_size": 2, "init_images": [noise(1), noise(2)], "prompt": "sea AND day"}
    _, nmask, init, _ = masked({}, True, sampler_name=sampler, **pictures)
    assert (init[0] - init[1]).abs().max() > 0.01
    if sampler == "Euler":  # DDIM's x is not the one that the model sees
        assert all((x - init)[..., ~nmask.any(0)].abs().max() < 1e-3 for x in seen)
    assert seen
    assert all(x.isfinite().all() for x in seen)


def test_noise_is_sought_for_the_whole_canvas(masked):
    settings = {"noise_inverse": True, "noise_inverse_steps": 2, "shift_tiles": True}
    drawn, nmask, _, part = masked(settings, True, sampler_name="Euler", steps=2)
    whole, _, _, work = masked(settings, False, sampler_name="Euler", steps=2)
    changes = nmask.any(0)
    assert (drawn - whole)[..., changes].abs().max() < 1e-4
    assert drawn.isfinite().all()
