"""Colours held: the low pass, masks, edges that are joined; through the whole host, in pictures and batches."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from tile_host.colours import FILLED
from tile_methods.colours import LowPass, held

TILED = {"enabled": True, "tile_width": 16, "tile_height": 16, "overlap": 8}
HELD = TILED | {"hold_colours": True}


def values(seed=0, size=(40, 56)):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("wraps", "mode"), [((False, False), "constant"), ((True, True), "grid-wrap")])
def test_the_low_pass_is_a_gaussian_whose_weights_sum_up_to_one(wraps, mode):
    x = values()
    ones = np.ones(x.shape[-2:])
    near = ndimage.gaussian_filter(ones, 4, mode=mode, truncate=3)
    wanted = np.stack(
        [ndimage.gaussian_filter(plane, 4, mode=mode, truncate=3) / near for plane in x[0].numpy()]
    )
    assert np.allclose(LowPass(4, None, wraps)(x)[0], wanted, atol=1e-6)
    assert torch.allclose(LowPass(4, None, wraps)(torch.ones_like(x)), torch.ones_like(x))


def test_a_canvas_smaller_than_the_gaussian():
    x = torch.full((1, 1, 2, 3), 5.0)
    for wraps in ((False, False), (True, True)):
        assert torch.allclose(LowPass(16, None, wraps)(x), x)


def test_what_a_mask_hides_counts_for_nothing():
    """A grey half beside a half of any colour: nothing of that colour gets in, and nothing is changed there."""
    mask = torch.zeros(32, 64)
    mask[:, :32] = 1
    picture = torch.full((1, 3, 32, 64), 0.5)
    picture[..., 32:] = 100.0
    low = LowPass(4, mask)
    assert torch.allclose(low(picture)[..., :32], torch.tensor(0.5))
    drawn = torch.rand(1, 3, 32, 64)
    kept = held(drawn, low(picture), low)
    assert torch.equal(kept[..., 32:], drawn[..., 32:])
    assert torch.allclose(kept[..., :32].mean(), torch.tensor(0.5), atol=0.02)
    assert torch.equal(held(drawn, low(drawn), low), drawn)
    nothing = LowPass(4, torch.zeros(32, 64))
    assert torch.equal(held(drawn, nothing(picture), nothing), drawn)


def scene(colour, seed=0):
    noise = np.random.default_rng(seed).integers(-20, 20, (128, 256, 1))
    return Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8))


def low(image):
    """Without a border, where the reference's edges differ."""
    blurred = [ndimage.gaussian_filter(np.asarray(image)[..., i].astype(float), 16) for i in range(3)]
    return np.stack(blurred, -1)[16:-16, 16:-16]


def drawn(webui, settings, images, **more):
    return webui.draw(settings, init_images=images, width=256, height=128, denoising_strength=0.9, **more)


@pytest.mark.parametrize("sampler", ["Euler", "DDIM", "DPM++ 2M SDE"])
def test_each_picture_of_a_batch_keeps_its_colours(webui, sampler):
    """The checkpoint is random: without holding, the colours are its own."""
    images = [scene((200, 60, 60)), scene((60, 60, 200))]
    plain = drawn(webui, TILED, images, batch_size=2, sampler_name=sampler).images[-2:]
    kept = drawn(webui, HELD, images, batch_size=2, sampler_name=sampler).images[-2:]
    for before, one, other in zip(images, plain, kept):
        error, error_held = (np.abs(low(picture) - low(before)).mean() for picture in (one, other))
        assert error > 20
        assert error_held < 6


@pytest.fixture
def predicted(webui, monkeypatch):
    """(every row's x0, the latents that the pass starts from) of every step of passes that start from any."""
    from modules.sd_samplers_cfg_denoiser import CFGDenoiser

    seen = []
    combine = CFGDenoiser.combine_denoised

    def combine_denoised(self, x_out, *args):
        if self.init_latent is not None:
            seen.append((x_out.clone(), self.init_latent))
        return combine(self, x_out, *args)

    monkeypatch.setattr(CFGDenoiser, "combine_denoised", combine_denoised)
    return seen


@pytest.mark.parametrize("hires", [False, True])
def test_x0_has_the_inputs_colours_at_every_step(webui, predicted, hires):
    options = {"batch_size": 2, "prompt": "sea AND day"}
    if hires:
        webui.draw(HELD, enable_hr=True, hr_upscaler="Lanczos", denoising_strength=0.9, **options)
    else:
        drawn(webui, HELD, [scene((200, 60, 60)), scene((60, 60, 200))], **options)
    assert predicted
    blur = LowPass(4)
    for x0, start in predicted:
        wanted = start[[0, 0, 1, 1, 0, 1]]  # two parts of a prompt each, then unconds
        # What is left is what the low pass lets through of the high frequencies.
        assert (blur(blur(x0)) - blur(blur(wanted))).abs().mean() < 0.1 * (x0 - wanted).abs().mean()


def test_one_tile_is_held_too(webui):
    whole = {"enabled": True, "tile_width": 64, "tile_height": 64, "overlap": 8}
    image = scene((60, 160, 60))
    kept = drawn(webui, whole | {"hold_colours": True}, [image]).images[0]
    assert np.abs(low(kept) - low(image)).mean() < 6


def test_what_is_masked_out_stays_and_does_not_colour_the_rest(webui):
    """The left half is blue and stays; the right one is red, and is drawn anew."""
    image = scene((200, 60, 60))
    image.paste(scene((60, 60, 200)).crop((0, 0, 128, 128)), (0, 0))
    mask = Image.new("L", image.size)
    mask.paste(255, (128, 0, 256, 128))
    options = {"mask": mask, "mask_blur": 0, "inpainting_fill": 1, "inpaint_full_res": False}
    kept = np.asarray(drawn(webui, HELD, [image], **options).images[0]).astype(float)
    assert np.array_equal(kept[:, :120], np.asarray(image)[:, :120])
    assert np.abs(kept[:, 132:].mean((0, 1)) - (200, 60, 60)).max() < 8


def test_a_filled_mask_has_no_colours_to_hold(webui, caplog):
    mask = Image.new("L", (256, 128), 255)
    options = {"mask": mask, "inpainting_fill": 2, "inpaint_full_res": False}
    image = scene((200, 60, 60))
    plain = drawn(webui, TILED, [image], **options).images[0]
    assert np.array_equal(np.asarray(plain), np.asarray(drawn(webui, HELD, [image], **options).images[0]))
    assert caplog.messages.count(FILLED) == 1
