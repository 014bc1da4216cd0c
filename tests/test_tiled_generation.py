"""Tiled Diffusion through the whole host: what is drawn, what is left behind, what the user is told."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from modules import sd_samplers, sd_samplers_cfg_denoiser, sd_samplers_common

TILED = {"enabled": True, "tile_width": 16, "tile_height": 16, "overlap": 8}


def pixels(processed):
    return np.stack([np.asarray(image) for image in processed.images[processed.index_of_first_image :]])


@pytest.fixture
def unet_inputs(webui, monkeypatch):
    """The shapes of every latent that the UNet is given."""
    seen = []
    model = webui.shared.sd_model
    original = model.apply_model

    def apply_model(x, *args, **kwargs):
        seen.append(tuple(x.shape))
        return original(x, *args, **kwargs)

    monkeypatch.setattr(model, "apply_model", apply_model)
    return seen


@pytest.mark.parametrize("method", ["MultiDiffusion", "Mixture of Diffusers"])
def test_every_unet_call_is_given_tiles(webui, unet_inputs, method):
    processed = webui.draw(TILED | {"method": method})
    assert {shape[-2:] for shape in unet_inputs} == {(16, 16)}
    assert {shape[0] for shape in unet_inputs} == {6}  # three tiles, cond and uncond
    assert len(unet_inputs) == 2
    assert pixels(processed).shape == (1, 128, 256, 3)


def test_a_side_that_is_no_multiple_of_8(webui, unet_inputs, tiled_calls):
    """The host draws what fits in whole latent pixels."""
    picture = Image.new("RGB", (604, 132), "teal")
    tiles = {"enabled": True, "encoder_tile_size": 256, "decoder_tile_size": 48}
    processed = webui.draw(TILED, tiles, init_images=[picture], width=604, height=132, denoising_strength=0.9)
    assert pixels(processed).shape == (1, 128, 600, 3)
    assert {shape[-2:] for shape in unet_inputs} == {(16, 16)}
    assert tiled_calls == ["encoder"]  # the latent has the area of one decoder tile


def test_off_is_bit_identical_before_and_after(webui):
    before = pixels(webui.draw())
    tiled = pixels(webui.draw(TILED))
    assert not np.array_equal(before, tiled)
    assert np.array_equal(before, pixels(webui.draw({"enabled": False})))
    assert np.array_equal(tiled, pixels(webui.draw(TILED)))


def test_one_tile_hooks_nothing_and_says_so(webui, caplog):
    caplog.set_level("INFO", "Tiled Diffusion")
    drawn = pixels(webui.draw({"enabled": True}))
    assert "Pass not tiled: one tile of 96x96 covers the canvas of 32x16 (latent)." in caplog.text
    assert np.array_equal(drawn, pixels(webui.draw()))


def test_a_refiner_is_given_tiles_too(webui, monkeypatch):
    """The switch replaces the model and its wrapper in the middle of a pass; the hook stays."""
    model_class, seen = type(webui.shared.sd_model), []
    original = model_class.apply_model

    def apply_model(self, x, *args, **kwargs):
        seen.append((self.sd_checkpoint_info.name, tuple(x.shape[-2:])))
        return original(self, x, *args, **kwargs)

    monkeypatch.setattr(model_class, "apply_model", apply_model)
    first = webui.shared.sd_model.sd_checkpoint_info.name
    webui.draw(TILED, steps=4, refiner_checkpoint="demo", refiner_switch_at=0.5)
    monkeypatch.undo()
    assert [name for name, _ in seen] == [first] * 2 + ["demo.safetensors"] * 2
    assert {shape for _, shape in seen} == {(16, 16)}
    webui.draw()  # the host takes its own checkpoint again
    assert webui.shared.sd_model.sd_checkpoint_info.name == first


def test_every_sampler_draws_the_untiled_picture_of_a_pointwise_model(webui, monkeypatch):
    seen = set()

    def pointwise(x, *args, **kwargs):
        seen.add(tuple(x.shape[-2:]))
        return x.tanh()

    monkeypatch.setattr(webui.shared.sd_model, "apply_model", pointwise)
    names = [sampler.name for sampler in sd_samplers.all_samplers]
    assert len(names) >= 15
    for name in names:
        whole = pixels(webui.draw(sampler_name=name, steps=4)).astype(int)
        assert seen == {(16, 32)}, name
        seen.clear()
        tiled = pixels(webui.draw(TILED, sampler_name=name, steps=4)).astype(int)
        assert seen == {(16, 16)}, name
        seen.clear()
        assert whole.std() > 1, name
        assert np.abs(tiled - whole).max() <= 1, name


def test_batches_and_prompts_of_every_kind(webui, unet_inputs):
    processed = webui.draw(
        TILED, prompt="sea AND (day:1.3), [red:blue:1]", negative_prompt="night", batch_size=2, n_iter=2
    )
    assert len(pixels(processed)) == 4
    assert {shape[-2:] for shape in unet_inputs} == {(16, 16)}
    single = pixels(
        webui.draw(TILED, prompt="sea AND (day:1.3), [red:blue:1]", negative_prompt="night", seed=8)
    )
    assert np.abs(pixels(processed)[1].astype(int) - single[0]).max() <= 2


def test_split_calls_and_skipped_uncond(webui, unet_inputs):
    together = pixels(webui.draw(TILED))
    webui.shared.opts.batch_cond_uncond = False
    try:
        apart = pixels(webui.draw(TILED))
    finally:
        webui.shared.opts.batch_cond_uncond = True
    assert np.abs(together.astype(int) - apart).max() <= 2
    webui.shared.opts.skip_early_cond = 1.0
    unet_inputs.clear()
    try:
        webui.draw(TILED)
    finally:
        webui.shared.opts.skip_early_cond = 0.0
    assert {shape[0] for shape in unet_inputs} == {3}


def test_the_hires_pass_has_its_own_grid(webui, unet_inputs, caplog):
    caplog.set_level("INFO", "Tiled Diffusion")
    processed = webui.draw(
        TILED,
        enable_hr=True,
        hr_scale=1.5,
        hr_upscaler="Latent",
        denoising_strength=0.9,
        hr_sampler_name="DDIM",
    )
    assert pixels(processed).shape == (1, 192, 384, 3)
    assert {shape[-2:] for shape in unet_inputs} == {(16, 16)}
    assert "Pass: canvas 32x16 (latent), 3x1 tiles" in caplog.text
    assert "Hires pass: canvas 48x24 (latent), 5x2 tiles" in caplog.text


def test_img2img_is_tiled(webui, unet_inputs):
    start = Image.effect_noise((256, 128), 80).convert("RGB")
    processed = webui.draw(TILED, init_images=[start], denoising_strength=0.9)
    assert pixels(processed).shape == (1, 128, 256, 3)
    assert {shape[-2:] for shape in unet_inputs} == {(16, 16)}


def test_overwritten_size_is_drawn_and_given_back(webui):
    settings = TILED | {"overwrite_size": True, "image_width": 320, "image_height": 256}
    p = webui.prepare(settings)
    processed = webui.process(p)
    assert pixels(processed).shape == (1, 256, 320, 3)
    assert (p.width, p.height) == (256, 128)


def test_the_picture_remembers_its_settings(webui):
    text = webui.draw(TILED).infotexts[0]
    from modules import infotext_utils

    parsed = infotext_utils.parse_generation_parameters(text)["Tiled Diffusion"]
    assert json.loads(parsed) == TILED


class BoomError(Exception):
    pass


@pytest.mark.parametrize("ending", ["success", "error", "interrupt"])
def test_no_patch_is_left_behind(webui, monkeypatch, ending):
    plain = pixels(webui.draw())
    model, denoisers, calls = webui.shared.sd_model, [], []
    model_before = dict(vars(model))
    with monkeypatch.context() as patch:
        forward = sd_samplers_cfg_denoiser.CFGDenoiser.forward
        apply_model = model.apply_model

        def watched_forward(self, *args, **kwargs):
            denoisers.append(self)
            return forward(self, *args, **kwargs)

        def watched_model(*args, **kwargs):
            calls.append(1)
            if len(calls) == 2 and ending == "error":
                raise BoomError
            if len(calls) == 2 and ending == "interrupt":
                webui.shared.state.interrupt()
            return apply_model(*args, **kwargs)

        patch.setattr(sd_samplers_cfg_denoiser.CFGDenoiser, "forward", watched_forward)
        patch.setattr(model, "apply_model", watched_model)
        overwritten = {"overwrite_size": True, "image_width": 384, "image_height": 256}
        p = webui.prepare(TILED | overwritten | {"tile_batch_size": 1})
        if ending == "error":
            with pytest.raises(BoomError):
                webui.process(p)
        else:
            webui.process(p)
    assert len(calls) == {"success": 2 * 15, "error": 2, "interrupt": 2}[ending]
    assert type(denoisers[0]).__module__.startswith("modules.")
    assert (p.width, p.height) == (256, 128)
    assert not {"close", "init"} & vars(p).keys()
    assert vars(model) == model_before
    assert np.array_equal(plain, pixels(webui.draw()))


def test_a_setting_that_cannot_be_used_stops_the_generation(webui):
    p = webui.prepare(TILED)
    args = list(p.script_args)
    script = p.scripts.script("Tiled Diffusion")
    args[script.args_from + 6] = 8
    p.script_args = tuple(args)
    with pytest.raises(ValueError, match="'Latent tile width' is 8; allowed is 16 to 256"):
        webui.process(p)
    assert "init" not in vars(p)
    assert pixels(webui.draw(TILED)).shape == (1, 128, 256, 3)


@pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M", "LCM", "DDIM", "PLMS", "UniPC"])
@pytest.mark.parametrize("parameterization", ["eps", "v"])
def test_a_change_of_x0_is_what_the_sampler_sees(webui, monkeypatch, sampler, parameterization):
    """Whatever the host's wrappers predict (x0, or eps of a timestep), the picture so far is what the hook says."""
    from tile_host import generation, passes

    steps, seen = [], []

    def after(denoised, step, asked):
        steps.append(step.number)
        return torch.full_like(denoised, 0.25)

    monkeypatch.setattr(webui.shared.sd_model, "parameterization", parameterization)

    class Changed(passes.Pass):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.after.append(after)

    monkeypatch.setattr(generation, "Pass", Changed)
    monkeypatch.setattr(sd_samplers_common, "store_latent", lambda x: seen.append(x.clone()))
    webui.draw(TILED, sampler_name=sampler, steps=3, batch_size=2)
    assert steps == sorted(steps)
    assert len(seen) >= 3
    assert all((x - 0.25).abs().max() < 2e-3 for x in seen)


SHIFTED = TILED | {"overlap": 4, "shift_tiles": True}


@pytest.fixture
def plans(monkeypatch):
    """(step, plan) of every call of the model; the first is asked for when the pass begins."""
    from tile_methods.planner import Planner

    seen, plan = [], Planner.plan

    def noted(self, step):
        seen.append((step, plan(self, step)))
        return seen[-1][1]

    monkeypatch.setattr(Planner, "plan", noted)
    return seen


def windows_of(plan):
    return [patch.window for batch in plan.batches for patch in batch.patches]


@pytest.mark.parametrize(
    ("sampler", "calls"),
    [("Euler", 4), ("Heun", 7), ("DPM++ SDE", 7), ("DPM++ 2M", 4), ("DDIM", 3), ("UniPC", 4)],
)
def test_shifted_tiles_stay_for_a_step_and_move_for_the_next(webui, plans, sampler, calls):
    first = pixels(webui.draw(SHIFTED, sampler_name=sampler, steps=4))
    _, *steps = plans
    assert len(steps) == calls
    of_step = dict(steps)
    assert sorted(of_step) == list(range(3 if sampler == "DDIM" else 4))
    assert all(plan is of_step[number] for number, plan in steps)
    windows = [windows_of(plan) for plan in of_step.values()]
    assert windows[0] != windows[1] != windows[2]
    assert np.array_equal(first, pixels(webui.draw(SHIFTED, sampler_name=sampler, steps=4)))


def test_a_sampler_with_a_long_memory_draws_two_steps_in_a_grid(webui, plans):
    webui.draw(SHIFTED, sampler_name="LMS", steps=5)
    assert [number for number, _ in plans[1:]] == [0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    ("width", "height", "overlap", "moves"),
    [
        (256, 128, 0, "across"),  # a tile as high as the canvas
        (128, 256, 4, "down"),
        (256, 256, 0, "both"),
        (136, 136, 4, "neither"),  # just larger than a tile: all stay inside, what counts of them moves
    ],
)
def test_shifted_tiles_move_where_there_are_several(webui, plans, width, height, overlap, moves):
    settings = {"tile_width": 16, "tile_height": 16, "overlap": overlap}
    drawn = {"width": width, "height": height, "steps": 4}
    shifted = pixels(webui.draw(SHIFTED | settings, **drawn))
    walked = [
        {tuple(sorted({getattr(window, axis) for window in windows_of(plan)})) for _, plan in plans[1:]}
        for axis in "xy"
    ]
    assert [len(each) > 1 for each in walked] == [moves in ("across", "both"), moves in ("down", "both")]
    assert not np.array_equal(shifted, pixels(webui.draw(TILED | settings, **drawn)))


def test_one_tile_does_not_shift(webui, plans):
    one = {"tile_width": 32, "tile_height": 16}
    assert np.array_equal(pixels(webui.draw(SHIFTED | one)), pixels(webui.draw()))
    assert all(len(windows_of(plan)) == 1 for _, plan in plans)


def test_a_seed_beyond_32_bits_is_as_good_as_another(webui):
    drawn = [webui.draw(SHIFTED, seed=2**32 + 7, batch_size=2) for _ in range(2)]
    assert drawn[0].all_seeds == [2**32 + 7, 2**32 + 8]
    assert np.array_equal(*map(pixels, drawn))


def test_the_grid_does_not_follow_seeds(webui, unet_inputs):
    """A picture is the same alone and in a batch, as it is without shifting."""
    both = pixels(webui.draw(SHIFTED, batch_size=2, steps=2))
    second = pixels(webui.draw(SHIFTED, seed=8, steps=2))
    assert np.abs(both[1].astype(int) - second[0]).max() <= 1
    assert {shape[-2:] for shape in unet_inputs} == {(16, 16)}
