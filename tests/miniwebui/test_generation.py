"""Drawing with the generation core: samplers, batches, guidance, hires fix, inpainting, hooks, bad input."""

import math

import numpy as np
import pytest
import torch

SAMPLERS = [
    "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 2S a", "DPM++ 3M SDE", "Euler a",
    "Euler", "LMS", "Heun", "DPM2", "DPM2 a", "DPM fast", "DPM adaptive", "Restart", "DDIM", "DDIM CFG++",
    "PLMS", "UniPC", "LCM",
]  # fmt: skip


def test_the_list_of_samplers(tiny):
    from modules import sd_samplers

    assert [sampler.name for sampler in sd_samplers.all_samplers] == SAMPLERS


@pytest.mark.parametrize("tiny", ["epsilon", "v_prediction"], indirect=True)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_draws(tiny, sampler, monkeypatch):
    from modules import processing

    latents = []
    decode = processing.decode_latent_batch

    def watched(model, batch, **options):
        latents.append(batch)
        return decode(model, batch, **options)

    monkeypatch.setattr(processing, "decode_latent_batch", watched)
    picture = tiny.pixels(sampler_name=sampler)
    assert torch.isfinite(latents[0]).all()
    assert latents[0].shape == (1, 4, 8, 12)
    assert picture.shape == (1, 64, 96, 3)
    assert picture.std() > 1


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ 2M SDE", "DDIM", "UniPC"])
def test_a_seed_draws_one_picture(tiny, sampler):
    first, again, other = (tiny.pixels(sampler_name=sampler, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert abs(first - other).max() > 16


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ 2M SDE", "DPM2 a", "PLMS", "LCM"])
def test_a_batch_draws_what_its_seeds_draw_alone(tiny, sampler):
    batch = tiny.pixels(sampler_name=sampler, batch_size=2, seed=5)
    assert abs(batch[0] - tiny.pixels(sampler_name=sampler, seed=5)[0]).max() <= 1
    assert abs(batch[1] - tiny.pixels(sampler_name=sampler, seed=6)[0]).max() <= 1


def test_a_job_of_two_batches_goes_on_with_the_seeds(tiny):
    job = tiny.pixels(n_iter=2, seed=5)
    assert np.array_equal(job[1], tiny.pixels(seed=6)[0])


@pytest.fixture
def calls(monkeypatch):
    """(rows of x, tokens of the condition) of every call of the UNet."""
    from modules import latent_diffusion

    record = []
    apply_model = latent_diffusion.LatentDiffusion.apply_model

    def recording(self, x, t, cond):
        record.append((x.shape[0], cond["c_crossattn"][0].shape[1]))
        return apply_model(self, x, t, cond)

    monkeypatch.setattr(latent_diffusion.LatentDiffusion, "apply_model", recording)
    return record


def test_cond_and_uncond_are_one_call_or_two(tiny, calls):
    together = tiny.pixels(sampler_name="Euler")
    assert calls == [(2, 77)] * 4
    calls.clear()
    tiny.shared.opts.data["batch_cond_uncond"] = False
    assert abs(tiny.pixels(sampler_name="Euler") - together).max() <= 1
    assert calls == [(1, 77)] * 8


def test_a_long_prompt_is_a_call_of_its_own(tiny, calls):
    tiny.draw(sampler_name="Euler", prompt="word " * 80)
    assert calls == [(1, 154), (1, 77)] * 4
    calls.clear()
    tiny.shared.opts.data["pad_cond_uncond"] = True
    tiny.draw(sampler_name="Euler", prompt="word " * 80)
    assert calls == [(2, 154)] * 4


def test_uncond_is_skipped_at_low_noise(tiny, calls):
    with_all = tiny.pixels(sampler_name="Euler", cfg_scale=7)
    calls.clear()
    processed = tiny.draw(sampler_name="Euler", cfg_scale=7, s_min_uncond=1000.0)
    assert [rows for rows, _ in calls] == [2, 1, 2, 1]
    assert "NGMS: 1000.0" in processed.info
    assert abs(np.asarray(processed.images[0]) - with_all[0]).max() > 1


def test_early_steps_go_without_uncond(tiny, calls):
    tiny.shared.opts.data["skip_early_cond"] = 0.3
    tiny.draw(sampler_name="Euler")
    assert [rows for rows, _ in calls] == [1, 1, 2, 2]


def test_and_composes(tiny, calls):
    plain = tiny.pixels(prompt="sea", sampler_name="Euler")
    composed = tiny.pixels(prompt="sea AND boat :0.5", sampler_name="Euler")
    assert calls == [(2, 77)] * 4 + [(3, 77)] * 4
    assert abs(composed - plain).max() > 1
    without = tiny.pixels(prompt="sea AND boat :0", sampler_name="Euler")
    assert abs(without - plain).max() <= 1


def test_hires_fix(tiny):
    processed = tiny.draw(enable_hr=True, hr_scale=2, hr_upscaler="Latent", denoising_strength=0.5)
    assert processed.images[0].size == (192, 128)
    assert "Hires upscale: 2, Hires upscaler: Latent" in processed.info
    assert "Denoising strength: 0.5" in processed.info
    assert tiny.shared.state.job_no == 2


def test_hires_fix_with_own_size_sampler_steps_and_upscaler(tiny, calls):
    processed = tiny.draw(
        enable_hr=True,
        hr_resize_x=160,
        hr_resize_y=160,
        hr_upscaler="Lanczos",
        hr_sampler_name="DDIM",
        hr_second_pass_steps=3,
        denoising_strength=0.5,
    )
    assert processed.images[0].size == (160, 160)
    for entry in (
        "Hires resize: 160x160",
        "Hires sampler: DDIM",
        "Hires steps: 3",
        "Hires upscaler: Lanczos",
    ):
        assert entry in processed.info
    assert len(calls) == 4 + 1  # DDIM draws one step fewer than it has timesteps, as in the WebUI


def test_img2img_strength(tiny, photo):
    def distance(strength):
        picture = tiny.pixels(init_images=[photo.image], denoising_strength=strength, sampler_name="Euler")
        untouched = tiny.pixels(init_images=[photo.image], denoising_strength=0.0, sampler_name="Euler")
        return abs(picture - untouched).mean()

    assert distance(0.25) < distance(0.9)


@pytest.mark.parametrize("sampler", ["Euler a", "DDIM"])
@pytest.mark.parametrize("fill", [0, 1, 2, 3])
def test_inpainting_keeps_what_is_masked_out(tiny, photo, sampler, fill):
    picture = tiny.pixels(
        init_images=[photo.image],
        mask=photo.mask,
        mask_blur_x=0,
        mask_blur_y=0,
        inpaint_full_res=False,
        inpainting_fill=fill,
        sampler_name=sampler,
    )[0]
    difference = abs(picture - photo.pixels).max(axis=2)
    assert difference[~photo.inside].max() == 0
    assert difference[photo.inside].mean() > 16


def test_inpainting_only_masked_keeps_the_rest(tiny, photo):
    processed = tiny.draw(
        init_images=[photo.image],
        mask=photo.mask,
        mask_blur_x=0,
        mask_blur_y=0,
        inpaint_full_res=True,
        inpaint_full_res_padding=8,
    )
    difference = abs(np.asarray(processed.images[0]).astype(int) - photo.pixels).max(axis=2)
    assert processed.images[0].size == photo.image.size
    assert difference[~photo.inside].max() == 0
    assert "Inpaint area: Only masked, Masked area padding: 8" in processed.info


class RecordingRunner:
    """Stands for a ScriptRunner; notes every hook and its keyword arguments."""

    def __init__(self):
        self.hooks = []

    def __getattr__(self, name):
        def hook(*args, **kwargs):
            p = kwargs.get("p", args[0] if args else None)
            self.hooks.append(name)
            if name == "process_before_every_sampling":
                assert set(kwargs) == {"p", "x", "noise", "c", "uc"}
                self.hooks[-1] += " hr" if p.is_hr_pass else ""

        return hook


BEFORE_SAMPLING = [
    "before_process", "process", "before_process_batch", "after_extra_networks_activate", "process_batch",
]  # fmt: skip
AFTER_SAMPLING = [
    "post_sample", "postprocess_batch", "postprocess_batch_list", "postprocess_image", "postprocess_maskoverlay",
    "postprocess_image_after_composite", "postprocess",
]  # fmt: skip


def test_order_of_hooks(tiny):
    runner = RecordingRunner()
    tiny.draw(runner)
    assert runner.hooks == [*BEFORE_SAMPLING, "process_before_every_sampling", *AFTER_SAMPLING]


def test_order_of_hooks_with_hires_fix(tiny):
    runner = RecordingRunner()
    tiny.draw(runner, enable_hr=True, hr_scale=1.5, hr_upscaler="Lanczos")
    assert runner.hooks == [
        *BEFORE_SAMPLING,
        "process_before_every_sampling",
        "after_extra_networks_activate",
        "before_hr",
        "process_before_every_sampling hr",
        *AFTER_SAMPLING,
    ]


def test_order_of_hooks_with_a_mask(tiny, photo):
    runner = RecordingRunner()
    tiny.draw(
        runner, init_images=[photo.image], mask=photo.mask, inpaint_full_res=False, sampler_name="Euler", steps=2
    )  # fmt: skip
    blends = [
        "on_mask_blend"
    ] * 3  # one a step (denoising strength 0.75 enters at step 1 of 2), one at the end
    assert runner.hooks[:6] == [*BEFORE_SAMPLING, "process_before_every_sampling"]
    assert runner.hooks[6:] == [*blends, *AFTER_SAMPLING]


def test_txt2img_noise_is_the_initial_latent(tiny):
    class Runner(RecordingRunner):
        def process_before_every_sampling(self, p, x, noise, c, uc):
            assert x is noise
            noise.zero_()

    changed = tiny.pixels(scripts=Runner(), sampler_name="Euler")
    assert abs(changed - tiny.pixels(sampler_name="Euler")).max() > 16


def test_callbacks_of_the_denoiser(tiny, monkeypatch):
    from modules import sd_samplers_cfg_denoiser as cfg

    seen = []
    for name in ("cfg_denoiser_callback", "cfg_denoised_callback", "cfg_after_cfg_callback"):
        monkeypatch.setattr(
            cfg, name, lambda params, name=name: seen.append((name, params.x.shape[0], params.sampling_step))
        )
    tiny.draw(steps=2, batch_size=2, sampler_name="Euler")
    names = ["cfg_denoiser_callback", "cfg_denoised_callback", "cfg_after_cfg_callback"]
    # the step count is that of the last finished step, as in the WebUI
    assert seen == [(name, rows, 0) for _ in range(2) for name, rows in zip(names, (4, 4, 2))]


def test_interrupt_returns_what_is_drawn(tiny, calls):
    from modules import script_callbacks

    def interrupt(params):
        if len(calls) == 2:
            tiny.shared.state.interrupt()

    script_callbacks.on_cfg_denoised(interrupt)
    try:
        processed = tiny.draw(steps=6, n_iter=3, sampler_name="Euler")
    finally:
        script_callbacks.remove_callbacks_for_function(interrupt)
    assert len(calls) == 2
    assert len(processed.images) == 1


def test_progress_counts(tiny):
    from modules import script_callbacks

    seen = []

    def look(params):
        state = tiny.shared.state
        seen.append((state.job_no, state.job_count, state.sampling_step, state.sampling_steps))

    script_callbacks.on_cfg_denoiser(look)
    try:
        tiny.draw(steps=3, n_iter=2, sampler_name="Euler")
    finally:
        script_callbacks.remove_callbacks_for_function(look)
    assert seen == [(n, 2, step, 3) for n in range(2) for step in (0, 0, 1)]


def test_infotext(tiny):
    info = tiny.draw(seed=11)
    assert info.info.splitlines()[:2] == ["a (red:1.2) [cat:dog:0.5]", "Negative prompt: grey"]
    expected = "Steps: 4, Sampler: Euler a, Schedule type: Automatic, CFG scale: 5.0, Seed: 11, Size: 96x64, "
    expected += "Model hash: "
    assert info.info.splitlines()[2].startswith(expected)
    assert info.images[0].info["parameters"] == info.info


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"sampler_name": "Eulr"}, "Unknown sampler 'Eulr'"),
        ({"steps": 0}, "'Sampling steps' is 0; allowed is 1 to 1000."),
        ({"width": 7}, "'Width' is 7; allowed is 8 to 16384."),
        ({"height": -8}, "'Height' is -8; allowed is 8 to 16384."),
        ({"batch_size": 0}, "'Batch size' is 0; allowed is 1 to 1024."),
        ({"enable_hr": True, "hr_upscaler": "Magic"}, "There is no upscaler 'Magic'"),
        (
            {"enable_hr": True, "hr_checkpoint_name": "none such"},
            "There is no checkpoint 'none such'",
        ),
        ({"refiner_checkpoint": "none such"}, "There is no checkpoint 'none such'"),
        ({"sampler_name": "UniPC", "steps": 2}, "UniPC of order 3 needs at least 3 sampling steps, not 2."),
    ],
)
def test_bad_input_is_refused_in_one_sentence(tiny, arguments, sentence):
    with pytest.raises(ValueError, match=sentence.replace("(", r"\(")) as refused:
        tiny.draw(**arguments)
    assert "\n" not in str(refused.value)


def test_missing_checkpoint_is_named(tiny, monkeypatch):
    from modules import checkpoint_list

    monkeypatch.setattr(tiny.shared.cmd_opts, "ckpt", "/nowhere/x.safetensors")
    with pytest.raises(
        FileNotFoundError, match=r"The checkpoint /nowhere/x.safetensors \(--ckpt\) does not exist."
    ):
        checkpoint_list.select_checkpoint()


def test_schedules_end_at_zero_and_fall(tiny):
    from modules import sd_samplers_kdiffusion, sd_schedulers

    wrap = sd_samplers_kdiffusion.CFGDenoiserKDiffusion(None).inner_model
    limits = {"sigma_min": wrap.sigmas[0].item(), "sigma_max": wrap.sigmas[-1].item()}
    for scheduler in sd_schedulers.schedulers[1:]:
        extra = {"inner_model": wrap} if scheduler.need_inner_model else {}
        sigmas = scheduler.function(n=10, **limits, **extra, device="cpu")
        assert (sigmas.diff() < 0).all(), scheduler.label
        assert sigmas[0] <= limits["sigma_max"] * 1.001, scheduler.label
        if scheduler.label != "KL Optimal":  # ends at sigma_min, as in the WebUI
            assert sigmas[-1] == 0, scheduler.label


def test_img2img_steps(tiny):
    from types import SimpleNamespace

    from modules.sd_samplers_common import setup_img2img_steps

    assert setup_img2img_steps(SimpleNamespace(steps=20, denoising_strength=0.5)) == (20, 10)
    assert setup_img2img_steps(SimpleNamespace(steps=20, denoising_strength=1.0)) == (20, 19)
    assert setup_img2img_steps(SimpleNamespace(steps=20, denoising_strength=0.5), steps=20) == (40, 19)
    assert math.isfinite(setup_img2img_steps(SimpleNamespace(steps=4, denoising_strength=0.0), steps=4)[0])
