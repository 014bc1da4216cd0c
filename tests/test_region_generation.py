"""Regional prompts through the whole host.

A background region that covers the canvas must draw what the host draws, untiled, for the main prompt, a comma and the
region's own, with the region's seed: so the plan of rows, prompts and noise is compared bit by bit with the host's own.
"""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from modules import extra_networks, sd_samplers
from modules.latent_diffusion import DiffusionWrapper, UNetModel
from modules.sd_samplers_cfg_denoiser import CFGDenoiser
from tile_utils.settings import (
    SettingsError,
    TiledDiffusionSettings,
    argument_places,
)

WHOLE = {"enable": True, "x": 0.0, "y": 0.0, "w": 1.0, "h": 1.0}
ON = {"enabled": True, "enable_bbox_control": True, "tile_width": 16, "tile_height": 16, "overlap": 8}


def pixels(processed):
    return np.stack(
        [np.asarray(image) for image in processed.images[processed.index_of_first_image :]]
    ).astype(int)


def settings(*regions, **more):
    return {**ON, **more, "regions": list(regions)}


def assert_like_the_host(
    webui, prompt="sea", own="red balloon", negative="grey", own_negative="boat", joined=None, **arguments
):
    """`joined`: the host's prompt, where it is not simply both with a comma between."""
    region = {**WHOLE, "prompt": own, "neg_prompt": own_negative, "seed": 7}
    arguments = {"steps": 3, "cfg_scale": 4.0, **arguments}
    by_region = webui.draw(
        settings(region), prompt=prompt, negative_prompt=negative, **{**arguments, "seed": 99}
    )
    whole = webui.draw(
        prompt=joined or f"{prompt}, {own}",
        negative_prompt=f"{negative}, {own_negative}",
        **{**arguments, "seed": 7},
    )
    assert np.abs(pixels(by_region) - pixels(whole)).max() <= 1
    assert pixels(whole).std() > 1


def test_batches_and_counts(webui):
    assert_like_the_host(webui, batch_size=2, n_iter=2)


def test_and_in_the_main_prompt(webui):
    assert_like_the_host(webui, prompt="sea AND night :0.5 AND meadow", batch_size=2)


@pytest.mark.parametrize(
    ("prompt", "joined"),
    [
        ("sea AND night :0.5", "sea AND night, red balloon :0.5"),
        ("sea AND fog :-0.5", "sea, red balloon AND fog :-0.5"),
        ("sea :0 AND fog:-0.5", "sea :0 AND fog, red balloon:-0.5"),
    ],
)
def test_weights_in_the_main_prompt(webui, prompt, joined):
    """A part's weight stays at its end, and own words are not taken away with a part."""
    assert_like_the_host(webui, prompt=prompt, joined=joined, steps=1)


def test_schedules_and_emphasis(webui):
    assert_like_the_host(webui, prompt="[sea:meadow:0.5] (day:1.3)", own="[moon|sun]", steps=4)


def test_split_calls(webui, monkeypatch):
    monkeypatch.setitem(webui.shared.opts.data, "batch_cond_uncond", False)
    assert_like_the_host(webui, batch_size=2, prompt="sea AND night")


def test_prompts_of_different_token_length(webui):
    assert_like_the_host(webui, own=", ".join(["red balloon"] * 40), batch_size=2)


def test_skipped_uncond(webui):
    assert_like_the_host(webui, s_min_uncond=100.0, steps=4)


@pytest.fixture
def instruct_pix2pix(webui):
    """A UNet that sees the picture too: the host guides by it with a third block of rows."""
    model = webui.shared.sd_model
    before, unet = model.model, model.model.diffusion_model.unet
    torch.manual_seed(1)
    wider = type(unet).from_config({**unet.config, "in_channels": 8})
    model.model = DiffusionWrapper(UNetModel(wider.requires_grad_(False)))
    assert model.cond_stage_key == "edit"
    yield
    model.model = before


@pytest.mark.parametrize("image_cfg_scale", [1.0, 1.5])
@pytest.mark.parametrize("together", [True, False])
def test_instruct_pix2pix(webui, instruct_pix2pix, monkeypatch, image_cfg_scale, together):
    monkeypatch.setitem(webui.shared.opts.data, "batch_cond_uncond", together)
    start = Image.linear_gradient("L").resize((256, 128)).convert("RGB")
    arguments = {"init_images": [start], "denoising_strength": 0.9, "batch_size": 2, "steps": 4}
    assert_like_the_host(webui, **arguments, image_cfg_scale=image_cfg_scale)


@pytest.mark.parametrize("name", [sampler.name for sampler in sd_samplers.all_samplers])
def test_every_sampler(webui, name):
    left, right = {**WHOLE, "w": 0.5}, {**WHOLE, "x": 0.5, "w": 0.4, "blend_mode": "Foreground"}
    processed = webui.draw(settings(left, right), sampler_name=name, steps=3)
    assert np.isfinite(pixels(processed)).all()
    assert pixels(processed).std() > 1


def test_the_hires_pass(webui):
    assert_like_the_host(webui, enable_hr=True, hr_scale=2.0, denoising_strength=0.7, hr_upscaler="Latent")


OWN_HIRES = {"enable_hr": True, "hr_resize_x": 320, "hr_resize_y": 192, "hr_sampler_name": "DDIM"}
"""A second pass of another aspect, with another sampler: cut to 40x24 latent pixels."""


def test_the_hires_pass_with_its_own_size_and_sampler(webui):
    assert_like_the_host(webui, **OWN_HIRES, denoising_strength=0.7, hr_upscaler="Lanczos")


def test_both_passes_are_tiled_around_regions(webui, monkeypatch, caplog):
    caplog.set_level("INFO", "Tiled Diffusion")
    seen = []
    model = webui.shared.sd_model
    original = model.apply_model

    def apply_model(x, *args, **kwargs):
        seen.append(tuple(x.shape[-2:]))
        return original(x, *args, **kwargs)

    monkeypatch.setattr(model, "apply_model", apply_model)
    region = {**WHOLE, "x": 0.5, "w": 0.25, "blend_mode": "Foreground", "prompt": "red balloon", "seed": 3}
    drawn = webui.draw(settings(region, draw_background=True), **OWN_HIRES, denoising_strength=0.7, steps=4)
    assert pixels(drawn).shape == (1, 192, 320, 3)
    assert set(seen) == {(16, 16), (16, 8), (24, 10)}  # tiles, the region in the first pass, in the second
    assert "Pass: canvas 32x16 (latent), 3x1 tiles of 16x16, overlap 8, 1 regions" in caplog.text
    assert "Hires pass: canvas 40x24 (latent), 4x2 tiles of 16x16, overlap 8, 1 regions" in caplog.text
    assert "Hires sampler: DDIM" in drawn.infotexts[0]
    assert "Hires resize: 320x192" in drawn.infotexts[0]


@pytest.fixture
def first_noise(monkeypatch):
    """The canvas that each step's denoiser is given."""
    seen = []
    original = CFGDenoiser.forward

    def forward(self, x, *args, **kwargs):
        seen.append(x.clone())
        return original(self, x, *args, **kwargs)

    monkeypatch.setattr(CFGDenoiser, "forward", forward)
    return seen


def test_a_seed_changes_its_region_only_and_does_not_depend_on_the_canvas(webui, first_noise):
    def noise(seed, other=5, **size):
        left = {**WHOLE, "w": 0.25, "h": 0.5, "seed": seed}
        right = {**WHOLE, "x": 0.5, "w": 0.25, "h": 0.5, "seed": other}
        first_noise.clear()
        webui.draw(settings(left, right), steps=1, **size)
        return first_noise[0][0]

    one, two = noise(1), noise(2)  # 32x16 latent pixels, regions of 8x8
    changed = (one != two).any(0)
    assert changed[:8, :8].all()
    assert not changed[8:].any()
    assert not changed[:, 8:].any()
    again = noise(1)
    assert torch.equal(one, again)
    same_box = {"width": 512, "height": 128}
    region = {**WHOLE, "w": 0.125, "h": 0.5, "seed": 1}
    first_noise.clear()
    webui.draw(settings(region), steps=1, **same_box)
    larger = first_noise[0][0]
    assert torch.corrcoef(torch.stack([larger[:, :8, :8].flatten(), one[:, :8, :8].flatten()]))[0, 1] > 0.999


def test_seeds_are_recorded_for_each_picture(webui):
    processed = webui.draw(
        settings({**WHOLE, "seed": -1}, {**WHOLE, "w": 0.5, "seed": 40}), batch_size=2, steps=1
    )
    seeds = []
    for text in processed.infotexts[-2:]:
        value = text.split("Tiled Diffusion: ")[1]
        value, _ = json.JSONDecoder().raw_decode(value)
        seeds.append([region["seed"] for region in json.loads(value)["regions"]])
    assert seeds[0][1] == 40
    assert seeds[1] == [seeds[0][0] + 1, 41]
    assert seeds[0][0] >= 0


def test_seeds_are_recorded_for_each_batch(webui):
    processed = webui.draw(settings({**WHOLE, "seed": 40}), batch_size=2, n_iter=2, steps=1)
    texts = processed.infotexts[processed.index_of_first_image :]
    seeds = [int(re.search(r'"seed\\*": (\d+)', text)[1]) for text in texts]
    assert seeds == [40, 41, 42, 43]
    last = pixels(webui.draw(settings({**WHOLE, "seed": 43}), seed=10, steps=1))
    assert np.abs(pixels(processed)[3] - last[0]).max() <= 1


def test_the_pictures_seed_fixes_those_of_regions_without_one(webui, first_noise):
    regions = settings({**WHOLE, "w": 0.5, "seed": -1}, {**WHOLE, "x": 0.5, "w": 0.5, "seed": -1})
    for seed in (5, 5, 6):
        webui.draw(regions, seed=seed, steps=1)
    one, again, other = (noise[0] for noise in first_noise)
    assert torch.equal(one, again)
    assert not torch.equal(one[:, :, :16], other[:, :, :16])
    assert not torch.equal(one[:, :, :16], one[:, :, 16:])


def test_the_noise_multiplier_reaches_regions(webui, first_noise):
    """A region over all of the picture, with the picture's own seed, has the noise that the host gives it."""
    arguments = {"init_images": [Image.new("RGB", (256, 128), "teal")], "initial_noise_multiplier": 0.5}
    for regions in (None, settings({**WHOLE, "seed": 7})):
        webui.draw(regions, steps=2, denoising_strength=0.5, **arguments)
    host, ours = first_noise[0], first_noise[len(first_noise) // 2]
    assert torch.allclose(host, ours, atol=1e-4)


def test_comments_in_a_regions_prompt_are_left_out(webui, monkeypatch):
    plain, commented = {**WHOLE, "prompt": "moon", "neg_prompt": "boat", "seed": 3}, {**WHOLE, "seed": 3}
    commented |= {"prompt": "# a region AND\nmoon# or sun", "neg_prompt": "boat # what else?"}
    drawn = [pixels(webui.draw(settings(region), steps=1)) for region in (plain, commented)]
    assert np.array_equal(*drawn)
    monkeypatch.setitem(webui.shared.opts.data, "enable_prompt_comments", False)
    with pytest.raises(ValueError, match="holds AND"):
        webui.draw(settings(commented), steps=1)


def test_a_network_in_a_negative_prompt_is_text_as_in_the_hosts_own(webui):
    assert_like_the_host(webui, own_negative="boat <lora:unknown:1>", steps=1)


def test_regions_of_a_model_with_patches_have_whole_ones(webui, monkeypatch):
    """As SD3: the host floors its own sizes, and an odd latent side does not fit the network."""
    model, seen = webui.shared.sd_model, []
    monkeypatch.setattr(
        type(model), "fix_dimensions", lambda self, w, h: (w // 16 * 16, h // 16 * 16), raising=False
    )
    original = model.apply_model

    def apply_model(x, *args, **kwargs):
        seen.append(tuple(x.shape[-2:]))
        return original(x, *args, **kwargs)

    monkeypatch.setattr(model, "apply_model", apply_model)
    odd = {**WHOLE, "x": 0.1, "w": 0.27, "h": 0.7}  # 3, 9 and 12 of 32x16 latent pixels
    webui.draw(settings(odd), steps=1)
    image = Image.new("RGB", (248, 136), "teal")
    drawn = webui.draw(settings(odd), steps=2, denoising_strength=0.5, init_images=[image])
    assert drawn.images[0].size == (240, 128)
    assert {side % 2 for shape in seen for side in shape} == {0}


def test_regions_of_the_hires_pass_are_told_its_size(webui, monkeypatch):
    """SDXL's conditions hold the picture's size."""
    sizes = []
    model = webui.shared.sd_model
    encode = model.get_learned_conditioning

    def watched(texts):
        sizes.append((texts[0], getattr(texts, "width", None), getattr(texts, "height", None)))
        return encode(texts)

    monkeypatch.setattr(model, "get_learned_conditioning", watched)
    region = {**WHOLE, "prompt": "hires balloon"}
    webui.draw(
        settings(region), enable_hr=True, hr_scale=2.0, denoising_strength=0.7, hr_upscaler="Latent", steps=1
    )
    assert {size[1:] for size in sizes if "balloon" in size[0]} == {(256, 128), (512, 256)}


def test_and_in_a_region_is_refused(webui):
    with pytest.raises(
        ValueError, match="Region 1: 'Prompt' holds AND; allowed is AND in the main prompt only"
    ):
        webui.draw(settings({**WHOLE, "prompt": "boat AND moon"}))


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("x", float("nan"), "'x' is nan; allowed is 0 to 1"),
        ("y", -0.1, "'y' is -0.1; allowed is 0 to 1"),
        ("w", 1.5, "'w' is 1.5; allowed is 0 to 1"),
        ("h", float("inf"), "'h' is inf; allowed is 0 to 1"),
        ("h", "tall", "'h' is 'tall', a text; allowed is a number, 0 to 1"),
        ("blend_mode", "Beside", "'Type' is 'Beside'; allowed is 'Background' or 'Foreground'"),
    ],
)
def test_a_box_that_is_none_stops_the_generation(webui, field, value, sentence):
    """As an API client sends it: by position."""
    p = webui.prepare(settings(WHOLE), steps=1)
    script = p.scripts.script("Tiled Diffusion")
    args = list(p.script_args)
    names = [(region, spec.name) for region, spec in argument_places(TiledDiffusionSettings, 1)]
    args[script.args_from + names.index((0, field))] = value
    p.script_args = tuple(args)
    with pytest.raises(SettingsError, match=f"Tiled Diffusion, Region 1: {sentence}"):
        webui.process(p)


def test_regions_off_or_without_area_are_ignored(webui):
    plain = pixels(webui.draw({**ON, "enable_bbox_control": False}))
    for region in ({**WHOLE, "enable": False}, {**WHOLE, "x": 1.0}, {**WHOLE, "w": 0.0}):
        assert np.array_equal(plain, pixels(webui.draw(settings(region))))


class Probe(extra_networks.ExtraNetwork):
    """Counts its switches and knows what is active."""

    def __init__(self):
        super().__init__("probe")
        self.active, self.switches = [], 0

    def activate(self, p, params_list):
        self.active = [params.items[0] for params in params_list]
        self.switches += 1

    def deactivate(self, p):
        self.active = []


@pytest.fixture
def probe(monkeypatch):
    network = Probe()
    monkeypatch.setitem(extra_networks.extra_network_registry, "probe", network)
    return network


def test_networks_act_in_their_region_only_and_are_switched_seldom(webui, probe, monkeypatch):
    seen = []
    model = webui.shared.sd_model
    original = model.apply_model

    def apply_model(x, *args, **kwargs):
        seen.append((tuple(x.shape[-2:]), tuple(probe.active)))
        return original(x, *args, **kwargs)

    monkeypatch.setattr(model, "apply_model", apply_model)
    boxes = [{**WHOLE, "x": x, "w": 0.25, "h": 0.5} for x in (0.0, 0.25, 0.5)]
    own = ("<probe:snow:1>", "night", "<probe:snow:1> day")
    regions = [{**box, "prompt": prompt} for box, prompt in zip(boxes, own)]
    webui.draw(settings(*regions), prompt="sea <probe:main:1>", steps=1)
    region_calls = [active for shape, active in seen if shape == (8, 8)]
    assert sorted(region_calls) == [("main",), ("main", "snow")]  # the two with snow together
    assert {active for shape, active in seen if shape == (16, 16)} == {("main",)}
    assert probe.active == []

    seen.clear()
    probe.switches = 0
    webui.draw(settings({**WHOLE, "prompt": "night"}), prompt="sea <probe:main:1>", steps=3)
    assert probe.switches == 1  # the host's own
