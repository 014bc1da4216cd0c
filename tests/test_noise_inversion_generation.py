"""Noise inversion through the whole host: the picture comes back, and comes back from the cache."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from modules import sd_samplers, sd_samplers_common, sd_samplers_kdiffusion, shared
from modules.sd_samplers_kdiffusion import KDiffusionSampler
from tile_host.noise_inversion import InversionCache

STEPS = 4
INVERT = {
    "enabled": True,
    "noise_inverse": True,
    "noise_inverse_steps": STEPS,
    "noise_inverse_renoise_strength": 0.0,
}
TILES = {"tile_width": 16, "tile_height": 16, "overlap": 8, "tile_batch_size": 8}
REGION = {"enable": True, "x": 0.25, "y": 0.0, "w": 0.5, "h": 1.0, "prompt": "red balloon"}
REGIONS = {**TILES, "enable_bbox_control": True, "draw_background": True, "regions": [REGION]}
FULL = {"denoising_strength": 1.0, "cfg_scale": 1.0, "steps": STEPS}


def noisy_image(seed, width=256, height=128):
    values = np.random.default_rng(seed).integers(0, 255, (height // 16, width // 16, 3))
    return Image.fromarray(values.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)


def ideal_model(x, t, cond):
    """The exact prediction, eps or v as the checkpoint has it, for data of N(m, 1), m depending on the text."""
    model = shared.sd_model
    sigmas = ((1 - model.alphas_cumprod) / model.alphas_cumprod).sqrt()
    sigma = float(np.exp(np.interp(float(t[0]), np.arange(1000), sigmas.log().numpy())))
    signal = 1 / (1 + sigma**2) ** 0.5
    mean = 0.02 * cond["c_crossattn"][0][..., 0].mean(1).view(-1, 1, 1, 1)
    x0 = mean + (x / signal - mean) / (1 + sigma**2)
    eps = (x / signal - x0) / sigma
    return eps if model.parameterization == "eps" else signal * (eps - sigma * x0)


@pytest.fixture
def host(webui, monkeypatch):
    """`draw` with an ideal model and an empty cache; `passes` holds (init latent, noise, result), `calls` the shapes
    that the model is given."""
    passes, calls = [], []
    sample = KDiffusionSampler.sample_img2img

    def watched_sample(self, p, x, noise, *args, **kwargs):
        result = sample(self, p, x, noise, *args, **kwargs)
        passes.append((x.clone(), noise.clone(), result.clone()))
        return result

    def watched_model(x, t, cond):
        calls.append(tuple(x.shape))
        return ideal_model(x, t, cond)

    monkeypatch.setattr(KDiffusionSampler, "sample_img2img", watched_sample)
    monkeypatch.setattr(shared.sd_model, "apply_model", watched_model)
    script = webui.prepare(init_images=[noisy_image(1)]).scripts.script("Tiled Diffusion")
    monkeypatch.setattr(script, "_inversions", InversionCache())

    def draw(settings, seed=7, **more):
        passes.clear(), calls.clear()
        return webui.draw(settings, **{"init_images": [noisy_image(1)], "seed": seed, **FULL, **more})

    return SimpleNamespace(draw=draw, passes=passes, calls=calls, script=script, webui=webui)


def error(host):
    """Of the last pass: the root mean square difference from the picture, over the picture's spread."""
    image, _, result = host.passes[-1]
    return float((result - image).square().mean().sqrt() / image.std())


def inversion_calls(host):
    """Model calls beyond the sampler's own (those of one row per part; the sampler's have cond and uncond)."""
    return len(host.calls) - STEPS


@pytest.mark.parametrize("parameterization", ["eps", "v"])
@pytest.mark.parametrize(
    "canvas",
    [{}, {**TILES, "method": "MultiDiffusion"}, {**TILES, "method": "Mixture of Diffusers"}, REGIONS],
    ids=["whole", "MultiDiffusion", "Mixture of Diffusers", "regions"],
)
def test_the_picture_comes_back(host, monkeypatch, parameterization, canvas):
    monkeypatch.setattr(shared.sd_model, "parameterization", parameterization)
    host.draw({**INVERT, **canvas, "noise_inverse": False})
    without = error(host)
    host.draw({**INVERT, **canvas, "noise_inverse_steps": 8}, steps=8)
    assert error(host) < without / 4
    assert error(host) < 0.25


def test_conditions_of_sdxl(host, monkeypatch):
    """A dict of tensors as the text, one of them without tokens, reaches the model tile by tile."""
    model, seen = shared.sd_model, []
    encode, apply_model = model.get_learned_conditioning, model.apply_model

    def encode_dict(texts):
        return {"crossattn": encode(texts), "vector": torch.ones(len(texts), 7)}

    def apply_dict(x, t, cond):
        seen.append({key: value if key != "c_concat" else value[0] for key, value in cond.items()})
        return apply_model(x, t, {"c_crossattn": [cond["crossattn"]], "c_concat": cond["c_concat"]})

    monkeypatch.setattr(model, "get_learned_conditioning", encode_dict)
    monkeypatch.setattr(model, "apply_model", apply_dict)
    monkeypatch.setattr(model, "cond_stage_model_empty_prompt", None)
    for canvas in ({}, TILES, REGIONS):
        seen.clear()
        host.draw({**INVERT, **canvas}, prompt="sea, sdxl", negative_prompt="grey, sdxl")
        assert error(host) < 0.5
        assert all(cond.keys() == {"crossattn", "vector", "c_concat"} for cond in seen)
        for cond, shape in zip(seen, host.calls):
            assert {len(value) for value in cond.values()} == {shape[0]}


def test_the_second_run_is_from_the_cache_until_something_of_it_changes(host):
    first = host.draw({**INVERT, **TILES})
    assert inversion_calls(host) == STEPS
    noise = host.passes[0][1]
    second = host.draw({**INVERT, **TILES})
    assert inversion_calls(host) == 0
    assert torch.equal(host.passes[0][1], noise)
    assert np.array_equal(*(np.asarray(run.images[0]) for run in (first, second)))
    # what has no part in it
    host.draw({**INVERT, **TILES, "noise_inverse_renoise_strength": 0.5, "tile_batch_size": 1}, seed=8)
    host.draw({**INVERT, **TILES, "noise_inverse_renoise_kernel": 9}, negative_prompt="boat", cfg_scale=3.0)
    host.draw({**INVERT, **TILES}, denoising_strength=0.5, batch_size=2)
    assert len(host.calls) == STEPS // 2 + 1  # the sampler's
    # what has
    changed = [
        (TILES, {"prompt": "meadow"}),
        (TILES, {"init_images": [noisy_image(2)]}),
        ({**TILES, "noise_inverse_retouch": 2.0}, {}),
        ({**TILES, "method": "MultiDiffusion"}, {}),
        ({**TILES, "overlap": 12}, {}),
        (TILES, {"scheduler": "Karras"}),
        ({}, {}),
        (REGIONS, {}),
        ({**REGIONS, "regions": [{**REGION, "prompt": "boat"}]}, {}),
        ({**REGIONS, "regions": [{**REGION, "w": 0.25}]}, {}),
    ]
    for canvas, more in changed:
        host.draw({**INVERT, **canvas}, **more)
        assert inversion_calls(host) >= STEPS, (canvas, more)
    host.draw({**INVERT, **TILES, "noise_inverse_steps": 3})
    assert inversion_calls(host) == 3
    host.draw({**INVERT, **TILES})
    assert inversion_calls(host) == 0  # the first is kept among the others
    host.script._inversions.clear()  # "Free GPU"
    host.draw({**INVERT, **TILES})
    assert inversion_calls(host) == STEPS


def test_another_checkpoint_is_inverted_anew(host, monkeypatch):
    host.draw({**INVERT})
    monkeypatch.setattr(shared.sd_model, "sd_model_hash", "another")
    host.draw({**INVERT})
    assert inversion_calls(host) == STEPS


def test_what_an_inpainting_checkpoint_sees_is_part_of_it(host, monkeypatch):
    """The same picture under another mask is another picture to its network."""
    monkeypatch.setattr(shared.sd_model.model, "conditioning_key", "hybrid")
    inpaint = {"inpaint_full_res": False, "inpainting_fill": 1, "mask_blur": 0}
    for where, calls in (((64, 32, 160, 96), STEPS), ((64, 32, 160, 96), 0), ((96, 32, 192, 96), STEPS)):
        mask = Image.new("L", (256, 128))
        mask.paste(255, where)
        host.draw({**INVERT, **TILES}, mask=mask, **inpaint)
        assert inversion_calls(host) == calls


def test_networks_of_the_prompt_are_part_of_it(host, monkeypatch):
    from modules import extra_networks

    network = extra_networks.ExtraNetwork("probe")
    network.activate = network.deactivate = lambda *_: None
    monkeypatch.setitem(extra_networks.extra_network_registry, "probe", network)
    for weight, calls in ((1, STEPS), (0.5, STEPS), (1, 0)):
        host.draw({**INVERT}, prompt=f"sea <probe:snow:{weight}>")
        assert inversion_calls(host) == calls


def test_each_picture_of_a_batch_is_inverted_once(host):
    images = [noisy_image(1), noisy_image(2)]
    host.draw({**INVERT, **TILES}, init_images=images, batch_size=2)
    assert inversion_calls(host) == 2 * STEPS
    assert error(host) < 0.5
    _, noise, _ = host.passes[0]
    for picture, image in enumerate(images):
        host.draw({**INVERT, **TILES}, init_images=[image], batch_size=2)
        assert inversion_calls(host) == 0
        both = host.passes[0][1]
        assert torch.equal(both[0], both[1])
        assert torch.equal(both[0], noise[picture])
    host.draw({**INVERT, **TILES}, init_images=images[:1], n_iter=2, prompt=["sea", "meadow"])
    assert len(host.passes) == 2
    assert not torch.equal(host.passes[0][1], host.passes[1][1])


def test_more_pictures_than_the_cache_holds(host, monkeypatch):
    monkeypatch.setattr(InversionCache, "size", 1)
    host.draw({**INVERT}, init_images=[noisy_image(1), noisy_image(2)], batch_size=2)
    assert error(host) < 0.5


def test_every_part_of_the_prompt_is_asked_and_no_negative_one(host, monkeypatch):
    host.draw({**INVERT}, prompt="sea AND night :0.5 AND boat :-1", steps=1)
    assert [shape[0] for shape in host.calls[:STEPS]] == [3] * STEPS
    assert error(host) < 1
    only = host.passes[0][1]
    host.draw({**INVERT}, prompt="sea AND night :0.5 AND meadow :-1", steps=1)
    assert torch.allclose(host.passes[0][1], only, atol=1e-4)  # a part that counts negatively has no say
    host.draw({**INVERT}, prompt="sea", steps=1)
    assert not torch.allclose(host.passes[0][1], only, atol=1e-4)


def test_retouch_tells_the_model_a_lower_timestep(host, monkeypatch):
    model, times = shared.sd_model, []
    apply_model = model.apply_model
    monkeypatch.setattr(
        model, "apply_model", lambda x, t, cond: times.append(float(t[0])) or apply_model(x, t, cond)
    )
    host.draw({**INVERT, **TILES})
    plain = times[:STEPS]
    times.clear()
    host.draw({**INVERT, **TILES, "noise_inverse_retouch": 4.0})
    assert times[:STEPS] == pytest.approx([t / 4 for t in plain])
    assert times[STEPS:] == pytest.approx(plain[::-1], abs=0.01)  # the sampler's own are as ever


class FlowWrapper(sd_samplers_kdiffusion.k_diffusion.external.DiscreteSchedule):
    """As the host wraps SD3: noise levels go through, and its model makes timesteps of them."""

    def __init__(self, model, **_quantize):
        super().__init__(torch.linspace(0.001, 1, 1000), quantize=False)
        self.inner_model = model

    def forward(self, x, sigma, cond):
        return self.inner_model.apply_model(x, sigma, cond=cond)


class FlowSampling(torch.nn.Module):
    def timestep(self, sigma):
        return sigma * 1000


def test_retouch_of_sd3(host, monkeypatch):
    """Whose samplers never ask the wrapper for a timestep."""
    model, times = shared.sd_model, []

    def apply_model(x, sigma, cond):
        times.append(float(model.model.model_sampling.timestep(sigma)[0]))
        return x / (1 + sigma.view(-1, 1, 1, 1))

    monkeypatch.setattr(sd_samplers_kdiffusion.k_diffusion.external, "CompVisDenoiser", FlowWrapper)
    monkeypatch.setattr(model.model, "model_sampling", FlowSampling(), raising=False)
    monkeypatch.setattr(model, "apply_model", apply_model)
    host.draw({**INVERT, **TILES})
    plain = times.copy()
    times.clear()
    host.draw({**INVERT, **TILES, "noise_inverse_retouch": 4.0})
    assert times[:STEPS] == pytest.approx([t / 4 for t in plain[:STEPS]])
    assert times[STEPS:] == pytest.approx(plain[STEPS:])  # the sampler's own are as ever
    assert "timestep" not in vars(model.model.model_sampling)


def test_renoising_mixes_in_the_seeds_noise(host):
    noises = {}
    for strength in (0.0, 2.0):
        for seed in (7, 8):
            host.draw({**INVERT, "noise_inverse_renoise_strength": strength}, seed=seed, steps=1)
            noises[strength, seed] = host.passes[0][1]
    assert torch.equal(noises[0.0, 7], noises[0.0, 8])
    assert not torch.equal(noises[2.0, 7], noises[2.0, 8])
    assert not torch.equal(noises[2.0, 7], noises[0.0, 7])


def test_inpainting_with_inversion(host):
    mask = Image.new("L", (256, 128))
    mask.paste(255, (64, 32, 160, 96))
    renoised = {**INVERT, **TILES, "noise_inverse_renoise_strength": 1.0}
    for whole in (True, False):
        image = noisy_image(1)
        processed = host.draw(
            renoised,
            init_images=[image],
            mask=mask,
            inpaint_full_res=not whole,
            inpainting_fill=1,
            mask_blur=0,
        )
        outside = np.asarray(mask) == 0
        assert np.array_equal(np.asarray(processed.images[0])[outside], np.asarray(image)[outside])


@pytest.mark.parametrize("name", ["DDIM", "UniPC", "DPM++ SDE", "LCM"])
def test_it_implies_euler(host, caplog, name):
    caplog.set_level("INFO", "Tiled Diffusion")
    p = host.webui.prepare(INVERT, init_images=[noisy_image(1)], sampler_name=name, **FULL)
    processed = host.webui.process(p)
    assert f"Noise inversion works with the sampler Euler; '{name}' is not used." in caplog.text
    assert "Sampler: Euler," in processed.infotexts[0]
    assert p.sampler_name == name
    assert error(host) < 0.5


def test_a_sampler_set_by_something_else_is_refused(host, monkeypatch):
    p = host.webui.prepare(INVERT, init_images=[noisy_image(1)], **FULL)
    init = p.init

    def init_and_replace(*args, **kwargs):
        init(*args, **kwargs)
        p.sampler = sd_samplers.create_sampler("DDIM", p.sd_model)

    p.init = init_and_replace
    with pytest.raises(
        ValueError, match="'Enable Noise Inversion' is on and the sampler 'DDIM'; allowed is Euler"
    ):
        host.webui.process(p)


def test_progress_text_preview_and_counts(host, monkeypatch):
    seen, previews, totals = [], [], []
    model, state = shared.sd_model, shared.state
    apply_model, store = model.apply_model, sd_samplers_common.store_latent

    def watched(x, t, cond):
        seen.append((state.textinfo, state.sampling_step, state.sampling_steps))
        return apply_model(x, t, cond)

    monkeypatch.setattr(model, "apply_model", watched)
    monkeypatch.setattr(sd_samplers_common, "store_latent", lambda x: previews.append(x.shape) or store(x))
    monkeypatch.setattr(shared.total_tqdm, "update", lambda: totals.append(1))
    state.current_image_sampling_step = 99
    host.draw({**INVERT, **TILES, "tile_batch_size": 2})
    assert seen[:2] == [("Noise inversion: step 0 of 4", 0, STEPS)] * 2  # three tiles, two batches
    assert seen[2 * STEPS - 1] == ("Noise inversion: step 3 of 4", 3, STEPS)
    assert {text for text, *_ in seen[2 * STEPS :]} == {None}
    assert [step for _, step, _ in seen[2 * STEPS :: 2]] == [0, 0, 1, 2]
    assert state.current_image_sampling_step == 0
    assert len(previews) == 2 * STEPS
    assert len(totals) == STEPS


@pytest.mark.parametrize("ending", ["interrupt", "skip", "error"])
def test_stopping_in_the_middle_leaves_nothing(host, monkeypatch, ending):
    model, state, calls = shared.sd_model, shared.state, []
    apply_model, wrappers = model.apply_model, []

    def stopping(x, t, cond):
        calls.append(1)
        if len(calls) == 3:
            if ending == "error":
                raise RuntimeError("out of something")
            getattr(state, ending)()
        return apply_model(x, t, cond)

    settings = {**INVERT, **TILES, "tile_batch_size": 1, "noise_inverse_retouch": 2.0}
    p = host.webui.prepare(settings, init_images=[noisy_image(1)], **FULL)
    with monkeypatch.context() as patch:
        patch.setattr(model, "apply_model", stopping)
        patch.setattr(p, "close", lambda: wrappers.append(p.sampler.model_wrap_cfg))
        if ending == "error":
            with pytest.raises(RuntimeError, match="out of something"):
                host.webui.process(p)
        else:
            image, _, result = (host.webui.process(p), host.passes[-1])[1]
            assert torch.equal(image, result)
    assert len(calls) == 3
    assert state.textinfo is None
    assert "sigma_to_t" not in vars(wrappers[0].model_wrap)
    assert type(wrappers[0]).__module__.startswith("modules.")
    host.draw(settings)
    assert inversion_calls(host) == STEPS * 3 + 2 * STEPS


def test_txt2img_knows_nothing_of_it(webui):
    drawn = [np.asarray(webui.draw({**TILES, **more}).images[0]) for more in ({"enabled": True}, INVERT)]
    assert np.array_equal(*drawn)


def test_the_demo_model_draws_its_picture_again(webui):
    """PSNR with the trained model, tiled and whole; see benchmarks/noise_inversion.py."""
    demo = {
        "override_settings": {"sd_model_checkpoint": "demo"},
        "prompt": "sea, sunset",
        "width": 384,
        **FULL,
    }
    image = webui.draw(**{**demo, "steps": 8}).images[0]

    def psnr(settings):
        drawn = webui.draw(settings, init_images=[image], seed=8, **{**demo, "steps": 8}).images[0]
        difference = np.asarray(drawn).astype(float) - np.asarray(image)
        return 10 * np.log10(255**2 / (difference**2).mean())

    eight = {**INVERT, "noise_inverse_steps": 8}
    whole, tiled = psnr(eight), psnr({**eight, "tile_width": 32, "tile_height": 16, "overlap": 12})
    assert whole > 24
    assert tiled > whole - 1.5
    assert tiled > psnr({"enabled": True}) + 2
