"""Seamless pictures through whole generations: what is rolled in comes out rolled, and nothing of it stays behind."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from modules import latent_diffusion, rng, sd_hijack, shared
from tile_host import composition, upscaling
from tile_methods.joins import is_joined, wraps_of
from tile_methods.stages import Size

TILES = {"enabled": True, "tile_width": 16, "tile_height": 16, "overlap": 8, "seamless": "Both"}
WHOLE = TILES | {"tile_width": 96, "tile_height": 96}
REGION = {"x": 0.75, "y": 0.5, "w": 0.5, "h": 0.75, "prompt": "moon", "seed": 5}
TILED_VAE = {"enabled": True, "decoder_tile_size": 48, "encoder_tile_size": 256}  # less than is drawn


@pytest.fixture
def rolled(monkeypatch):
    """Rolls the noise of every picture by what is put in: (down, across) in latent pixels."""
    by = [0, 0]
    first = rng.ImageRNG.next

    def moved(self):
        return first(self).roll(by, (-2, -1))

    monkeypatch.setattr(rng.ImageRNG, "next", moved)
    return by


def pixels(processed):
    return np.asarray(processed.images[0], dtype=int)


def drawn(webui, rolled, by, settings, width=256, height=128, **arguments):
    rolled[:] = by
    regions = [
        {**region, "x": (region["x"] + by[1] * 8 / width) % 1, "y": (region["y"] + by[0] * 8 / height) % 1}
        for region in settings.get("regions", [])
    ]
    size = {"width": width, "height": height}
    return pixels(webui.draw({**settings, "regions": regions}, **{"steps": 1, **size, **arguments}))


@pytest.mark.parametrize(
    ("settings", "by", "arguments"),
    [
        (TILES, (8, 8), {}),
        (TILES | {"regions": [REGION]}, (8, 40), {"vae": TILED_VAE, "width": 640, "height": 256}),
        (TILES | {"tile_height": 96, "seamless": "Horizontal"}, (0, 24), {}),
        (WHOLE, (8, 16), {}),
        (WHOLE | {"seamless": "Off"}, (8, 16), {"tiling": True}),
    ],
)
def test_rolled_noise_gives_the_rolled_picture(webui, rolled, settings, by, arguments):
    still = drawn(webui, rolled, (0, 0), settings, **arguments)
    moved = drawn(webui, rolled, by, settings, **arguments)
    expected = np.roll(still, (8 * by[0], 8 * by[1]), (0, 1))
    assert np.abs(moved - expected).max() <= 1
    assert np.abs(moved - still).max() > 10


def test_without_it_the_picture_does_not_roll(webui, rolled):
    still = drawn(webui, rolled, (0, 0), TILES | {"seamless": "Off"})
    moved = drawn(webui, rolled, (8, 8), TILES | {"seamless": "Off"})
    assert np.abs(moved - np.roll(still, 64, (0, 1))).max() > 2


def marked(model):
    return [module for module in model.modules() if is_joined(module)]


@pytest.mark.parametrize("tiling", [False, True])
def test_nothing_stays_marked_and_tiles_are_padded_as_ever(webui, monkeypatch, tiling):
    """The host's "Tiling" has made every convolution circular: not so inside of tiles, and so again afterwards."""
    model, seen = shared.sd_model, []
    conv = next(m for m in model.model.diffusion_model.modules() if isinstance(m, nn.Conv2d))
    apply_model = model.apply_model
    # other tests may have loaded another checkpoint since
    monkeypatch.setattr(sd_hijack.model_hijack, "layers", list(model.modules()))

    def watched(x, *args, **kwargs):
        tile_wraps = wraps_of(conv) if is_joined(conv) else None
        seen.append((tuple(x.shape[-2:]), tile_wraps, len(marked(model.first_stage_model)) > 20))
        return apply_model(x, *args, **kwargs)

    monkeypatch.setattr(model, "apply_model", watched)
    settings = TILES | {"seamless": "Off" if tiling else "Both", "tile_height": 96}
    processed = webui.draw(settings, tiling=tiling, steps=1)
    assert set(seen) == {((16, 16), (True, False), True)}  # a canvas of 32x16: one tile goes all around, down
    assert not marked(model)
    assert conv.padding_mode == ("circular" if tiling else "zeros")
    assert not any("Tiling" in comment for comment in processed.comments.split("\n"))
    seen.clear()
    webui.draw(steps=1)  # the host makes its convolutions plain again
    assert (set(seen), conv.padding_mode) == ({((16, 32), None, False)}, "zeros")


def test_an_error_leaves_nothing_marked(webui, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("no")

    monkeypatch.setattr(shared.sd_model, "apply_model", fail)
    with pytest.raises(RuntimeError, match="no"):
        webui.draw(TILES, steps=1)
    assert not marked(shared.sd_model)


def test_a_side_that_does_not_meet_itself_is_told(webui):
    sentence = "the picture's width is 264 pixels, and one tile covers it"
    assert sentence in webui.draw(WHOLE, width=264, steps=1).comments
    assert sentence not in webui.draw(TILES, width=264, steps=1).comments
    assert sentence not in webui.draw(WHOLE | {"seamless": "Vertical"}, width=264, steps=1).comments


@pytest.mark.parametrize("scale", [4.0, 2.0, 1.3])
def test_the_upscalers_input_goes_on_at_the_opposite_edge(webui, scale):
    """Lanczos of a wave that joins: at the join as good as inside."""
    across = np.arange(96) * 2 * np.pi / 24
    wave = np.uint8(127 + 100 * np.sin(across[None, :] + 1) * np.cos(across[:64, None] * 0.75 + 2))
    image = Image.fromarray(np.stack([wave] * 3, -1))

    size = tuple(int(side * scale) // 8 * 8 for side in image.size)

    def jump(picture):
        values = np.asarray(picture, dtype=float)[..., 0]
        second = np.abs(np.roll(values, 1, 1) + np.roll(values, -1, 1) - 2 * values).mean(0)
        return max(second[0], second[-1]) / second[1:-1].max()

    around = upscaling.enlarged(image, scale, size, "Lanczos", (False, True))
    alone = upscaling.enlarged(image, scale, size, "Lanczos", (False, False))
    assert around.size == alone.size == size
    assert jump(around) < 1.05
    inside = slice(64, -64)
    if scale in (2.0, 4.0):
        assert np.array_equal(np.asarray(around)[:, inside], np.asarray(alone)[:, inside])
        assert jump(alone) > 1.2


@pytest.mark.parametrize("upscaler", ["None", "Lanczos", "demo-4x"])
def test_a_composition_is_carried_on_as_it_joins(webui, upscaler):
    """What is rolled comes out rolled, to what the upscaler's rounding makes of it."""
    picture = torch.rand(1, 3, 96, 64, generator=torch.Generator().manual_seed(0))

    def carried(by):
        rolled = picture.roll((by, by), (-2, -1))
        return composition.carried(rolled, Size(24, 16), upscaler, (True, True))

    apart = (carried(40) - carried(0).roll((80, 80), (-2, -1))).abs().max()
    assert apart < 2 / 255


def test_img2img_is_joined_from_end_to_end(webui, rolled, monkeypatch):
    # the host's encoder adds noise of its own to a latent, which does not roll
    monkeypatch.setattr(latent_diffusion.DiagonalGaussianDistribution, "sample", lambda self: self.mean)
    picture = (
        np.random.default_rng(1).integers(0, 256, (16, 32, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    )
    settings = TILES | {"upscaler_name": "Lanczos", "scale_factor": 2.0}

    def draw(by):
        rolled[:] = by
        moved = Image.fromarray(np.roll(picture, (4 * by[0], 4 * by[1]), (0, 1)))
        return pixels(
            webui.draw(settings, init_images=[moved], steps=4, denoising_strength=0.5, vae=TILED_VAE)
        )

    still, moved = draw((0, 0)), draw((8, 16))
    assert np.abs(moved - np.roll(still, (64, 128), (0, 1))).max() <= 1
