"""Regions of less strength: let go later, with soft borders; in img2img and the hires pass, through the whole host."""

import numpy as np
import pytest
import torch
from PIL import Image

from modules import processing
from tests.cheap_model import cheap_unet  # noqa: F401
from tile_methods.patch import Patch
from tile_methods.strength import let_go, strength_map
from tile_utils.surface import Surface, Window

TILED = {"enabled": True, "tile_width": 16, "tile_height": 16, "overlap": 8}
LEFT = {"x": 0.0, "y": 0.0, "w": 0.5, "h": 1.0, "prompt": ""}


def patch(window, weights=None):
    weights = torch.ones(window.h, window.w) if weights is None else weights
    return Patch(window, weights, "here")


def test_the_map_is_the_factor_within_and_soft_at_borders():
    found = strength_map([(patch(Window(0, 0, 32, 24)), 0.25)], Surface(32, 48), torch.device("cpu"))
    assert found[:, :16].allclose(torch.tensor(0.25))
    assert found[:, 32:].allclose(torch.tensor(1.0))
    assert torch.all(found[:, 1:] - found[:, :-1] >= -1e-6)
    hole = torch.ones(32, 24)
    hole[:, :12] = 0  # what a region's shape leaves out
    shaped = strength_map([(patch(Window(0, 0, 32, 24), hole), 0.0)], Surface(32, 48), torch.device("cpu"))
    assert float(shaped[0, 0]) == pytest.approx(1)
    last = strength_map(
        [(patch(Window(0, 0, 32, 48)), 0.25), (patch(Window(0, 0, 32, 48)), 0.5)],
        Surface(32, 48),
        torch.device("cpu"),
    )
    assert last.allclose(torch.tensor(0.5))


def test_what_waits_stays_and_what_is_let_go_is_drawn():
    """Half of the way in its first step; what nothing holds is drawn from the first step on."""
    drawn, start = torch.rand(1, 1, 1, 3), torch.rand(1, 1, 1, 3)
    strength = torch.tensor([[0.0, 0.5, 1.0]])
    lefts = [1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    for before, left, wanted in zip(
        lefts, lefts[1:], ([0, 0, 1], [0, 0, 1], [0, 0.5, 1], [0, 1, 1], [0.5, 1, 1])
    ):
        share = torch.tensor(wanted)
        found = let_go(drawn, start, strength, left, before)
        assert torch.allclose(found, share * drawn + (1 - share) * start)
        assert torch.equal(found[..., share == 1], drawn[..., share == 1])
        assert torch.equal(found[..., share == 0], start[..., share == 0])


@pytest.fixture
def latents(monkeypatch):
    """The latents of every batch, as they are decoded."""
    seen = []
    original = processing.decode_latent_batch

    def decode_latent_batch(model, batch, **how):
        seen.append(batch)
        return original(model, batch, **how)

    monkeypatch.setattr(processing, "decode_latent_batch", decode_latent_batch)
    return seen


@pytest.mark.parametrize("sampler", ["Euler", "DDIM"])
def test_a_region_without_strength_keeps_the_picture(webui, latents, sampler):
    noise = np.random.default_rng(1).integers(0, 255, (128, 256, 3), dtype=np.uint8)
    images = [Image.fromarray(noise), Image.fromarray(255 - noise)]
    for factor, keeps in ((0.0, True), (1.0, False)):
        p = webui.prepare(
            TILED | {"regions": [LEFT | {"strength": factor}], "draw_background": True},
            sampler_name=sampler,
            init_images=images,
            denoising_strength=0.9,
            steps=4,
            batch_size=2,
        )
        webui.process(p)
        changes = (latents[-1] - p.init_latent).abs()
        assert (
            float(changes[..., :8].mean()) < 0.06
        ) == keeps  # DDIM leaves a little noise, as the host has it
        assert float(changes[..., 24:].mean((1, 2, 3)).min()) > 0.1


def test_less_strength_changes_less_and_none_of_txt2img(webui):
    settings = TILED | {"regions": [LEFT | {"strength": 0.3}], "draw_background": True}
    whole = TILED | {"regions": [LEFT], "draw_background": True}
    first = [np.asarray(webui.draw(each).images[0]) for each in (settings, whole)]
    assert np.array_equal(*first)
