"""Composition first through the whole host: what the UNet sees, in which order, and what is left when it is stopped."""

import json

import numpy as np
import pytest
import torch

from modules import sd_samplers
from tests.cheap_model import cheap_unet  # noqa: F401
from tile_host import composition
from tile_utils.settings import SettingsError

TILED = {"enabled": True, "tile_width": 24, "tile_height": 16, "overlap": 8}
COMPOSED = TILED | {"composition_first": True}
CANVAS = {"width": 320, "height": 192}  # 40x24 latent pixels, drawn at 20x12 first
FIRST, TILE = (12, 20), (16, 24)


@pytest.fixture(autouse=True)
def small_model(webui, monkeypatch):
    """Its own pictures have 128x128 pixels."""
    monkeypatch.setattr(composition.host.facts, "native_side", lambda: 16)


def pixels(processed):
    return np.stack([np.asarray(image) for image in processed.images[processed.index_of_first_image :]])


@pytest.fixture
def seen(webui, monkeypatch):
    """(latent, timestep, text) of every call of the UNet."""
    calls = []
    model = webui.shared.sd_model
    original = model.apply_model

    def apply_model(x, t, cond, **kwargs):
        calls.append((x.clone(), float(t[0]), cond["c_crossattn"][0].clone()))
        return original(x, t, cond, **kwargs)

    monkeypatch.setattr(model, "apply_model", apply_model)
    return calls


def shapes(calls):
    return list(dict.fromkeys(tuple(x.shape[-2:]) for x, _, _ in calls))


def test_the_first_picture_is_the_hosts_own_of_that_size(webui, seen):
    """To the bit, in a batch, with noise at every step; then come tiles of the canvas."""
    options = {"batch_size": 2, "sampler_name": "Euler a"}
    webui.draw(None, width=FIRST[1] * 8, height=FIRST[0] * 8, **options)
    alone = [x for x, _, _ in seen]
    seen.clear()
    processed = webui.draw(COMPOSED, **CANVAS, **options)
    assert pixels(processed).shape == (2, 192, 320, 3)
    assert shapes(seen) == [FIRST, TILE]
    within = [x for x, _, _ in seen if tuple(x.shape[-2:]) == FIRST]
    assert len(within) == len(alone)
    assert all(torch.equal(x, y) for x, y in zip(within, alone))


def test_the_log_tells_each_parts_own_tiles(webui, caplog):
    caplog.set_level("INFO", "Tiled Diffusion")
    webui.draw(COMPOSED | {"tile_width": 20, "tile_height": 20}, **CANVAS)
    said = [line for line in caplog.messages if "tile" in line]
    assert said[0] == "First picture not tiled: one tile of 20x12 covers the canvas of 20x12 (latent)."
    assert said[1].startswith(
        "Stage 1 of 1: canvas 40x24 (latent), 2x2 tiles of 24x16, overlap 6, 0 regions,"
    )


def test_off_is_as_it_was(webui):
    before = pixels(webui.draw(TILED, **CANVAS))
    composed = pixels(webui.draw(COMPOSED, **CANVAS))
    assert np.array_equal(composed, pixels(webui.draw(COMPOSED, **CANVAS)))
    assert not np.array_equal(before, composed)
    assert np.array_equal(before, pixels(webui.draw(TILED, **CANVAS)))


@pytest.mark.parametrize("sampler", [data.name for data in sd_samplers.all_samplers])
def test_every_sampler_enters_at_the_noise_level(webui, seen, sampler):
    webui.draw(COMPOSED, **CANVAS, sampler_name=sampler, steps=3)
    alphas = webui.shared.sd_model.alphas_cumprod
    levels = ((1 - alphas) / alphas).sqrt()
    late = [(x, t) for x, t, _ in seen if tuple(x.shape[-2:]) == TILE]
    assert float(levels[round(late[0][1])]) == pytest.approx(1.3, rel=0.12)
    assert max(t for _, t in late) <= late[0][1] + 60  # restarts and churn go up a little
    first = late[0][0]
    assert 0.5 < float(first.std()) < 2.5


def test_the_noise_that_is_put_in_is_what_the_model_is_told(webui, monkeypatch, seen):
    """The latent that a stage starts from, and the one that the sampler is given first."""
    given = []
    for sampler in ("Euler", "DDIM"):
        kind = type(sd_samplers.create_sampler(sampler, webui.shared.sd_model))
        original = kind.sample_img2img

        def sample_img2img(self, p, x, noise, *args, _original=original, **kwargs):
            given.append((x, noise))
            return _original(self, p, x, noise, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(kind, "sample_img2img", sample_img2img)
            one_tile = COMPOSED | {"tile_width": 64, "tile_height": 48}
            webui.draw(one_tile, **CANVAS, sampler_name=sampler, steps=3)
        latent, noise = given[-1]
        x, t = next((x, t) for x, t, _ in seen if x.shape[-2:] == latent.shape[-2:])
        seen.clear()
        alpha = webui.shared.sd_model.alphas_cumprod[round(t)]
        assert torch.allclose(x[:1], latent * alpha.sqrt() + noise * (1 - alpha).sqrt(), atol=0.02)


def test_prompts_schedules_go_on_where_they_were(webui, seen):
    """The stage belongs to the last part of the schedule; regions' prompts too."""
    whole = {"enable": True, "x": 0.0, "y": 0.0, "w": 0.4, "h": 1.0, "prompt": "[tree:house:0.25]"}
    webui.draw(COMPOSED | {"regions": [whole]}, **CANVAS, steps=8, prompt="[sea:forest:0.25]")
    late = [text for x, _, text in seen if tuple(x.shape[-2:]) == TILE]
    seen.clear()
    webui.draw(COMPOSED | {"regions": [whole | {"prompt": "house"}]}, **CANVAS, steps=8, prompt="forest")
    wanted = [text for x, _, text in seen if tuple(x.shape[-2:]) == TILE]
    assert len(late) == len(wanted)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(late, wanted))


def test_regions_are_drawn_in_every_part(webui, seen):
    half = {"enable": True, "x": 0.0, "y": 0.0, "w": 0.5, "h": 0.75, "prompt": "tree", "seed": 5}
    webui.draw(COMPOSED | {"regions": [half], "draw_background": True}, **CANVAS)
    found = shapes(seen)
    assert FIRST in found
    assert (9, 10) in found  # of 12x20
    assert (18, 20) in found  # of 24x40


def test_hires_fix_enlarges_what_was_composed(webui, seen):
    processed = webui.draw(
        COMPOSED, **CANVAS, enable_hr=True, hr_scale=1.5, hr_upscaler="Lanczos", denoising_strength=0.5
    )
    assert pixels(processed).shape == (1, 288, 480, 3)
    assert shapes(seen) == [FIRST, TILE]


def stopped_at(webui, monkeypatch, call, **arguments):
    """The pictures of a generation that is interrupted at this call of the UNet, and the latents that passes ended
    with."""
    model, count, ended = webui.shared.sd_model, [0], []
    original = model.apply_model

    def apply_model(*args, **kwargs):
        count[0] += 1
        if count[0] == call:
            webui.shared.state.interrupt()
        return original(*args, **kwargs)

    encoded = composition.host.stages.encoded

    def remembered(p, pictures):
        ended.append(encoded(p, pictures))
        return ended[-1]

    with monkeypatch.context() as patch:
        patch.setattr(model, "apply_model", apply_model)
        patch.setattr(composition.host.stages, "encoded", remembered)
        return pixels(webui.draw(COMPOSED, **arguments)), ended


def test_an_interrupt_keeps_the_last_finished_stage(webui, monkeypatch):
    drawn, ended = stopped_at(webui, monkeypatch, 5, **CANVAS, steps=4)  # in the stage's first step
    assert len(ended) == 1
    decoded = composition.host.stages.decoded(webui.prepare(), ended[0])
    wanted = (decoded[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    assert np.abs(drawn[0].astype(int) - wanted).max() <= 1


def test_an_interrupt_in_the_first_picture_or_between_stages(webui, monkeypatch):
    for call, canvas in ((2, CANVAS), (5, {"width": 320, "height": 320})):
        drawn, _ = stopped_at(webui, monkeypatch, call, **canvas, steps=4)
        assert drawn.shape == (1, canvas["height"], canvas["width"], 3)
        assert drawn.std() > 0


def test_the_host_is_told_of_every_pass(webui, monkeypatch):
    state, jobs = webui.shared.state, []
    monkeypatch.setattr(
        type(state),
        "nextjob",
        lambda self: (jobs.append(self.job_count), setattr(self, "job_no", self.job_no + 1)),
    )
    webui.draw(COMPOSED, **CANVAS, n_iter=2)
    assert jobs == [4, 4, 4, 4]


def test_nothing_is_left_of_it(webui):
    p = webui.prepare(COMPOSED, **CANVAS)
    webui.process(p)
    assert (p.width, p.height) == (320, 192)
    assert not {"sampler", "rng", "c", "uc"} & {
        name for name in vars(p) if "Wrapper" in type(vars(p)[name]).__name__
    }


def test_it_is_written_into_the_picture(webui):
    p = webui.prepare(COMPOSED | {"composition_strength": 0.3, "upscaler_name": "Lanczos"}, **CANVAS)
    text = json.loads(
        webui.process(p).images[0].info["parameters"].split("Tiled Diffusion: ")[1].split(", Ver")[0]
    )
    found = json.loads(text)
    assert (found["composition_first"], found["composition_strength"]) == (True, 0.3)


def test_a_canvas_that_the_model_draws_at_once(webui, seen, caplog):
    caplog.set_level("INFO", "Tiled Diffusion")
    small = {"width": 128, "height": 64}
    assert np.array_equal(pixels(webui.draw(COMPOSED, **small)), pixels(webui.draw(TILED, **small)))
    assert composition.FITS % (16, 8) in caplog.messages


def test_what_cannot_work_is_said(webui, monkeypatch):
    with pytest.raises(SettingsError, match="'Upscaler' is 'Gone'; known are None, "):
        webui.draw(COMPOSED | {"upscaler_name": "Gone"}, **CANVAS)
    monkeypatch.setattr(composition.host.facts, "native_side", lambda: None)
    with pytest.raises(SettingsError, match="'Composition first' is on and the size of the pictures"):
        webui.draw(COMPOSED, **CANVAS)


@pytest.mark.parametrize("upscaler", ["None", "Nearest"])
def test_the_upscaler_between_the_stages(webui, monkeypatch, upscaler):
    seen = []
    original = composition.host.pictures.upscaled
    monkeypatch.setattr(
        composition.host.pictures, "upscaled", lambda *args: (seen.append(args[2]), original(*args))[1]
    )
    webui.draw(COMPOSED | {"upscaler_name": upscaler}, **CANVAS)
    assert seen == ([upscaler] if upscaler != "None" else [])


def test_colours_are_held_in_the_stages(webui):
    from scipy import ndimage

    def low(picture):
        return ndimage.gaussian_filter(picture.astype(float), (0, 16, 16, 0))[:, 16:-16, 16:-16]

    first = webui.draw(None, width=FIRST[1] * 8, height=FIRST[0] * 8).images[0].resize((320, 192))
    errors = [
        np.abs(low(pixels(webui.draw(settings, **CANVAS))) - low(np.asarray(first)[None])).mean()
        for settings in (COMPOSED, COMPOSED | {"hold_colours": True})
    ]
    assert errors[0] > 3 * errors[1]
    assert errors[1] < 4


def test_flow_models_fade_the_latent_out_as_noise_comes_in(webui, monkeypatch):
    """As SD3 does: x = (1 - t) latent + t noise, where noise is sigma = t / (1 - t) times as strong as the latent."""

    def add_noise_to_latent(latent, noise, sigma):
        return (1 - sigma) * latent + sigma * noise

    monkeypatch.setattr(webui.shared.sd_model, "add_noise_to_latent", add_noise_to_latent, raising=False)
    p = webui.prepare(COMPOSED, **CANVAS, steps=20)
    p.sampler = sd_samplers.create_sampler("Euler", webui.shared.sd_model)
    monkeypatch.setattr(p.sampler, "get_sigmas", lambda p, steps: torch.linspace(1, 0, steps + 1))
    assert composition.host.stages.entry(p, 1.5) == (12, 8)  # 0.6, then 11 from 0.55 on
    latent, noise, sigma = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8), torch.tensor(0.6)
    noisy = add_noise_to_latent(latent, noise, sigma)
    found = composition.host.sampling.noise_between(latent, noisy, sigma)
    assert torch.allclose(found, noise, atol=1e-5)
