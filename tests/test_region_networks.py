"""LoRA, textual inversion and styles in the prompts of regions, with files that really act on the model."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from modules import extra_networks, infotext_utils, sd_hijack
from modules.sd_samplers_cfg_denoiser import CFGDenoiser
from modules.styles import PromptStyle

LEFT = {"enable": True, "x": 0.0, "y": 0.0, "w": 0.25, "h": 1.0, "blend_mode": "Foreground", "seed": 3}
RIGHT = {**LEFT, "x": 0.5, "seed": 4}
ON = {"enabled": True, "enable_bbox_control": True, "draw_background": True}
ON |= {"tile_width": 16, "tile_height": 16, "overlap": 0}  # two tiles of 16x8 on a canvas of 32x8
SIZE = {"width": 256, "height": 64, "steps": 3}


def settings(*regions):
    return {**ON, "regions": list(regions)}


@pytest.fixture
def lora(webui, tmp_path, monkeypatch):
    """The mini WebUI's Lora extension with two files of random weights, `snow` and `rain`; counts its switches."""
    network = extra_networks.extra_network_registry["lora"]
    networks = sys.modules["networks"]
    monkeypatch.setattr(webui.shared.cmd_opts, "lora_dir", str(tmp_path))
    layers = networks.layers_of(webui.shared.sd_model)
    for seed, name in enumerate(("snow", "rain")):
        save_file(random_lora(layers, seed), tmp_path / f"{name}.safetensors")
    networks.list_available_networks()
    switches = []  # (the denoiser's step, None outside of sampling; names of the active)
    activate = network.activate

    def counted(p, params):
        activate(p, params)
        step = p.sampler.model_wrap_cfg.step if p.sampler is not None else None
        switches.append((step, [net.name for net in networks.loaded_networks]))

    monkeypatch.setattr(network, "activate", counted)
    yield SimpleNamespace(networks=networks, layers=layers, switches=switches)
    networks.load_networks([])


def random_lora(layers, seed, rank=2):
    """Weights for every kind of layer that kohya's trainer writes: attention, convolutions, the text encoder."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, layer in layers.items():
        if not isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d)) or "embedding" in name:
            continue
        down = (rank, *layer.weight.shape[1:])
        up = (layer.weight.shape[0], rank) + (1, 1) * (layer.weight.ndim == 4)
        weights[f"{name}.lora_down.weight"] = 0.2 * torch.randn(down, generator=generator)
        weights[f"{name}.lora_up.weight"] = 0.2 * torch.randn(up, generator=generator)
        weights[f"{name}.alpha"] = torch.tensor(1.0)
    return weights


@pytest.fixture
def denoised(monkeypatch):
    """What every step's denoiser says of the canvas [C, H, W]; the last is Euler's result."""
    seen = []
    original = CFGDenoiser.forward

    def forward(self, *args, **kwargs):
        seen.append(original(self, *args, **kwargs))
        return seen[-1]

    monkeypatch.setattr(CFGDenoiser, "forward", forward)
    return seen


def drawn(webui, denoised, *regions, **arguments):
    denoised.clear()
    processed = webui.draw(settings(*regions), **{**SIZE, **arguments})
    return SimpleNamespace(latent=denoised[-1][0].clone(), comments=processed.comments)


def test_a_lora_acts_on_every_layer_and_leaves_the_weights_as_they_are(webui, lora):
    model = webui.shared.sd_model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    hooks = [list(layer._forward_hooks) for layer in model.modules()]  # transformers leaves some of its own
    plain = np.asarray(webui.draw(**SIZE).images[0]).astype(int)
    snow = np.asarray(webui.draw(prompt="sea, day <lora:snow:1>", **SIZE).images[0]).astype(int)
    assert np.abs(plain - snow).mean() > 2
    assert not lora.networks.extra_network_lora.errors
    kinds = ("lora_te_text_model_encoder_layers_0_mlp_fc1", "lora_unet_mid_block_resnets_0_conv1",
             "lora_unet_down_blocks_0_downsamplers_0_conv", "lora_unet_conv_in",
             "lora_unet_up_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k")  # fmt: skip
    lora.networks.load_networks(["snow"])
    for kind in kinds:
        assert lora.layers[kind]._forward_hooks
    again = np.asarray(webui.draw(**SIZE).images[0]).astype(int)
    assert np.array_equal(plain, again)
    assert [list(layer._forward_hooks) for layer in model.modules()] == hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_is_added_is_up_times_down_times_alpha_over_rank(lora):
    key = "lora_unet_conv_in"
    layer, x = lora.layers[key], torch.randn(1, 4, 6, 5)
    plain = layer(x)
    lora.networks.load_networks(["snow"], [1.0], [0.5])
    part = random_lora(lora.layers, 0)
    up, down = (part[f"{key}.lora_{name}.weight"] for name in ("up", "down"))
    weight = layer.weight + 0.5 * (1.0 / 2) * torch.einsum("or,rihw->oihw", up[..., 0, 0], down)
    expected = torch.nn.functional.conv2d(x, weight, layer.bias, layer.stride, layer.padding)
    assert torch.allclose(layer(x), expected, atol=1e-5)
    assert not torch.allclose(plain, expected, atol=1e-2)


def test_a_lora_in_a_region_leaves_the_rest_as_it_was(webui, lora, denoised):
    def latent(prompt, steps):
        return drawn(webui, denoised, {**LEFT, "prompt": prompt}, RIGHT, steps=steps).latent

    with_lora, without = latent("night <lora:snow:1>", 3), latent("night <lora:snow:0>", 3)
    assert (with_lora != without)[:, :, :8].float().mean() > 0.9
    assert torch.equal(with_lora[:, :, 16:], without[:, :, 16:])  # the tile beside it, and its region
    with_lora, without = latent("night <lora:snow:1>", 1), latent("night <lora:snow:0>", 1)
    assert torch.equal(with_lora[:, :, 8:], without[:, :, 8:])  # all outside of the region
    assert torch.allclose(without, latent("night", 1), atol=1e-4)  # batched otherwise


SNOW, RAIN = "<lora:snow:1>", "<lora:rain:1>"
CASES = {
    "no networks": ("sea", ("night", "moon"), 1, 0),
    "the main prompt's only": (f"sea {RAIN}", ("night", "moon"), 1, 0),
    "the same as the main prompt's": (f"sea {RAIN}", (f"night {RAIN}", "moon"), 1, 0),
    "one region": ("sea", (f"night {SNOW}", "moon"), 2, 1),
    "one beside the main prompt's": (f"sea {RAIN}", (f"night {SNOW}", "moon"), 2, 1),
    "both regions alike": ("sea", (f"night {SNOW}", f"moon {SNOW}"), 2, 1),
    "two sets": ("sea", (f"night {SNOW}", f"moon {RAIN}"), 3, 2),
}


@pytest.mark.parametrize("case", CASES)
def test_networks_are_switched_seldom(webui, lora, denoised, case):
    main, (left, right), sets, expected = CASES[case]
    lora.switches.clear()
    drawn(webui, denoised, {**LEFT, "prompt": left}, {**RIGHT, "prompt": right}, prompt=main, steps=4)
    at = [step for step, _ in lora.switches]
    counts = [at.count(step) for step in range(4)]
    print(f"{case}: {sets} sets of networks, switches in each step: {counts}")
    assert counts == [expected] * 4
    assert expected <= sets
    assert at.count(None) == 1  # the host's own
    after_last_step = [names for step, names in lora.switches if step == 4]
    assert len(after_last_step) <= 1
    assert [net.name for net in lora.networks.loaded_networks] == (["rain"] if RAIN in main else [])


def test_a_region_changes_the_weight_of_the_main_prompts_network(webui, lora, denoised):
    off = drawn(webui, denoised, {**LEFT, "prompt": "<lora:snow:0>"}, prompt=f"sea {SNOW}", steps=1).latent
    plain = drawn(webui, denoised, LEFT, prompt="sea", steps=1).latent
    assert torch.allclose(off[:, 2:6, 2:6], plain[:, 2:6, 2:6], atol=1e-5)


def test_other_scripts_hear_of_the_main_prompts_networks_only(webui, lora, monkeypatch):
    heard = []
    runner = webui.scripts.scripts_txt2img
    monkeypatch.setattr(
        runner, "after_extra_networks_activate", lambda p, **more: heard.append(more["extra_network_data"])
    )
    webui.draw(settings({**LEFT, "prompt": SNOW}), prompt=f"sea {RAIN}", n_iter=2, **SIZE)
    assert [[param.items[0] for param in data["lora"]] for data in heard] == [["rain"]] * 2


def test_the_main_prompts_networks_come_back_between_the_passes(webui, lora, monkeypatch):
    from modules import processing_txt2img

    active = []
    decode = processing_txt2img.decode_latent_batch

    def spy(*args, **kwargs):
        active.append([net.name for net in lora.networks.loaded_networks])
        return decode(*args, **kwargs)

    monkeypatch.setattr(processing_txt2img, "decode_latent_batch", spy)
    hires = {"enable_hr": True, "hr_scale": 2.0, "denoising_strength": 0.7, "hr_upscaler": "Latent"}
    hires |= {"hr_prompt": "sea"}
    webui.draw(settings({**LEFT, "prompt": SNOW}), prompt=f"sea {RAIN}", **{**SIZE, "steps": 1}, **hires)
    assert active[-1] == []  # the hires pass' own prompt has none
    per_pass = [names for _, names in lora.switches]
    assert ["rain", "snow"] in per_pass
    assert ["snow"] in per_pass
    assert per_pass.index(["snow"]) > per_pass.index([])


def test_the_refiner_encodes_with_the_main_prompts_networks(webui, monkeypatch):
    """Loading it may have switched everything off; then a region's may be the last that were used."""
    from tile_host.hosts.family.networks import RegionNetworks

    seen, active = [], []
    network = extra_networks.ExtraNetwork("probe")
    network.activate = lambda p, params: active.append([x.items[0] for x in params])
    monkeypatch.setitem(extra_networks.extra_network_registry, "probe", network)
    main, own = (extra_networks.parse_prompt(f"<probe:{name}:1>")[1] for name in ("main", "own"))
    p = SimpleNamespace(extra_network_data=main, disable_extra_networks=False, all_prompts=["sea"])
    p.comment = p.setup_conds = lambda *_: seen.append(active[-1])
    networks = RegionNetworks(p, [own, {}])
    with networks.restored():
        networks.use(networks.keys[0])
        p.setup_conds()
        networks.use(networks.keys[1])
    assert active == [["main", "own"], ["main"]]
    assert seen == [["main"]]
    assert len(p.all_prompts) == 1
    with networks.restored():
        active.append([])  # loading it has switched all off, while the main prompt's were in use
        p.setup_conds()
    assert active[-1] == seen[-1] == ["main"]


def recorded_hashes(processed):
    """Names in each picture's text, in order."""
    texts = processed.infotexts[processed.index_of_first_image :]
    parsed = [infotext_utils.parse_generation_parameters(text).get("Lora hashes", "") for text in texts]
    return [[part.split(":")[0].strip() for part in text.split(",") if part] for text in parsed]


@pytest.mark.parametrize("is_img2img", [False, True])
@pytest.mark.parametrize(
    ("main", "left", "right", "names"),
    [
        ("sea", "moon", "boat", []),
        (f"sea {RAIN}", "moon", "boat", ["rain"]),
        ("sea", f"moon {SNOW}", "boat", ["snow"]),
        ("sea", f"moon {SNOW}", f"boat {RAIN}", ["snow", "rain"]),
        (f"sea {RAIN}", f"moon {SNOW}", f"boat {SNOW}", ["rain", "snow"]),
        (f"sea {RAIN}", f"moon {RAIN}", "<lora:snow:0.5> <lora:rain:0>", ["rain", "snow"]),
    ],
)
def test_a_pictures_text_holds_the_hash_of_every_lora_once(webui, lora, main, left, right, names, is_img2img):
    arguments = {"init_images": [Image.new("RGB", (256, 64), "teal")]} if is_img2img else {}
    regions = settings({**LEFT, "prompt": left}, {**RIGHT, "prompt": right})
    processed = webui.draw(regions, prompt=main, n_iter=2, **{**SIZE, **arguments})
    assert [sorted(found) for found in recorded_hashes(processed)] == [sorted(names)] * 2
    if names:
        network = lora.networks.available_networks[names[0]]
        assert f"{names[0]}: {network.shorthash}" in processed.infotexts[-1]


def test_hashes_of_both_passes_are_held_and_none_of_the_next_picture(webui, lora):
    hires = {"enable_hr": True, "hr_scale": 2.0, "denoising_strength": 0.7, "hr_upscaler": "Latent"}
    hires |= {"hr_prompt": f"sea {RAIN}", "steps": 1}
    processed = webui.draw(settings({**LEFT, "prompt": SNOW}), prompt="sea", **{**SIZE, **hires})
    assert [sorted(names) for names in recorded_hashes(processed)] == [["rain", "snow"]]
    assert recorded_hashes(webui.draw(settings(LEFT), prompt="sea", **SIZE)) == [[]]


def test_a_kept_noise_inversion_switches_each_set_of_networks_once(webui, lora, monkeypatch):
    """Its key needs every region's text; the sets alternate among regions, and there are two pictures."""
    boxes = [{**LEFT, "x": x, "w": 0.125, "prompt": own} for x, own in ((0, SNOW), (0.25, RAIN), (0.5, SNOW))]
    boxes.append({**RIGHT, "w": 0.125, "x": 0.75})
    inversion = {"noise_inverse": True, "noise_inverse_steps": 2}
    images = [Image.new("RGB", (256, 64), colour) for colour in ("teal", "navy")]
    arguments = {**SIZE, "init_images": images, "batch_size": 2, "prompt": "sea", "denoising_strength": 1.0}
    model, events = webui.shared.sd_model, lora.switches
    apply_model = model.apply_model

    def watched(*args, **kwargs):
        events.append("model")
        return apply_model(*args, **kwargs)

    monkeypatch.setattr(model, "apply_model", watched)
    counts = []
    for _ in range(2):
        events.clear()
        webui.draw(settings(*boxes) | inversion, **arguments)
        counts.append(events.count("model"))
    assert counts[0] > counts[1]  # the second is from the cache
    before = [names for _, names in events[: events.index("model")]]
    assert sorted(before) == [[], ["rain"], ["snow"]]  # the host's own, and each set once


def test_an_error_leaves_no_region_network_behind(webui, lora, monkeypatch):
    def fail(self, *args, **kwargs):
        assert [net.name for net in lora.networks.loaded_networks] == ["snow"]
        raise RuntimeError("out of luck")

    monkeypatch.setattr(CFGDenoiser, "combine_denoised", fail)
    with pytest.raises(RuntimeError, match="out of luck"):
        webui.draw(settings({**LEFT, "prompt": SNOW}), **SIZE)
    assert lora.networks.loaded_networks == []


def test_an_unknown_lora_is_told_as_the_host_tells_it(webui, lora, denoised):
    unknown = drawn(webui, denoised, {**LEFT, "prompt": "night <lora:nowhere:1>"})
    assert "Lora not found: nowhere" in unknown.comments
    known = drawn(webui, denoised, {**LEFT, "prompt": "night"})
    assert torch.allclose(unknown.latent, known.latent, atol=1e-5)


@pytest.mark.parametrize("form", ["safetensors", "pt"])
def test_textual_inversion_acts_in_its_region_only(webui, denoised, tmp_path, form):
    database = sd_hijack.model_hijack.embedding_db
    width = webui.shared.sd_model.cond_stage_model.wrapped.transformer.config.hidden_size
    vectors = torch.randn(3, width, generator=torch.Generator().manual_seed(1)) * 3
    if form == "safetensors":
        save_file({"emb_params": vectors}, tmp_path / "zyxwv.safetensors")
    else:
        torch.save({"string_to_param": {"*": vectors}, "name": "zyxwv"}, tmp_path / "zyxwv.pt")
    region = {**LEFT, "prompt": "zyxwv"}
    plain = drawn(webui, denoised, region, RIGHT, steps=1).latent
    database.add_embedding_dir(str(tmp_path))
    try:
        database.load_textual_inversion_embeddings(force_reload=True)
        assert "zyxwv" in database.word_embeddings
        taught = drawn(webui, denoised, region, RIGHT, steps=1).latent
    finally:
        del database.embedding_dirs[str(tmp_path)]
        database.load_textual_inversion_embeddings(force_reload=True)
    assert (taught != plain)[:, :, :8].any(0)[1:-1, 1:-1].all()  # the feather is 0 at the edge
    assert torch.equal(taught[:, :, 8:], plain[:, :, 8:])


STYLES = {
    "behind": ("oil painting", "blurry"),
    "around": ("photo of {prompt}, bokeh", "{prompt}, dull"),
    "with a network": ("mist <lora:snow:0.5>", ""),
}


@pytest.mark.parametrize("styles", [["behind"], ["around", "with a network"]])
@pytest.mark.parametrize("hires", [False, True])
def test_styles_stay_around_a_regions_prompt(webui, lora, monkeypatch, styles, hires):
    for name, texts in STYLES.items():
        monkeypatch.setitem(webui.shared.prompt_styles.styles, name, PromptStyle(name, *texts))
    seen = []
    original = webui.shared.sd_model.get_learned_conditioning

    def get_learned_conditioning(texts):
        seen.extend(texts)
        return original(texts)

    monkeypatch.setattr(webui.shared.sd_model, "get_learned_conditioning", get_learned_conditioning)
    second = {"enable_hr": True, "hr_scale": 1.5, "denoising_strength": 0.7, "hr_upscaler": "Latent",
              "hr_prompt": "desert", "hr_negative_prompt": "fog"}  # fmt: skip
    region = {**LEFT, "prompt": "red balloon", "neg_prompt": "boat"}
    webui.draw(settings(region), prompt="sea", negative_prompt="grey", styles=styles,
               **{**SIZE, "steps": 1}, **(second if hires else {}))  # fmt: skip
    expected = {("behind",): ["{}, red balloon, oil painting", "{}, boat, blurry"],
                ("around", "with a network"): ["photo of {}, red balloon, bokeh, mist", "{}, boat, dull"]}  # fmt: skip
    for mains in [("sea", "grey"), ("desert", "fog")][: 1 + hires]:
        for text, main in zip(expected[tuple(styles)], mains):
            assert text.format(main) in seen


@pytest.mark.parametrize(
    ("text", "own", "style", "expected"),
    [
        ("", "moon", "{prompt}", "moon"),
        ("sea", "", "{prompt}", "sea"),
        ("sea", "moon", "{prompt}", "sea, moon"),
        ("sea, oil", "moon", "{prompt}, oil", "sea, moon, oil"),
        (", oil", "moon", "{prompt}, oil", "moon, oil"),
        ("a red sea by gulls, oil", "moon", "by {prompt} by {prompt}, oil", "a red sea by gulls, oil, moon"),
        ("lake, ink", "moon", "{prompt}, oil", "lake, ink, moon"),  # a wildcard stood in the style
    ],
)
def test_where_a_regions_own_words_go(webui, text, own, style, expected):
    from tile_host.words import joined, with_own

    assert with_own(text, own, lambda prompt: style.replace("{prompt}", prompt), joined) == expected


def test_prompts_that_differ_from_picture_to_picture(webui):
    """As wildcards make them: every picture's region goes with its own main prompt."""
    mains = ["sea", "meadow, night", "desert", "forest"]
    whole = {**LEFT, "w": 1.0, "blend_mode": "Background", "prompt": "moon", "seed": 7}
    arguments = {**SIZE, "steps": 2, "batch_size": 2, "n_iter": 2}
    ours = webui.draw(settings(whole) | {"draw_background": False}, prompt=mains, seed=99, **arguments)
    host = webui.draw(prompt=[f"{main}, moon" for main in mains], seed=7, **arguments)
    pictures = [
        np.stack([np.asarray(image) for image in done.images[done.index_of_first_image :]]).astype(int)
        for done in (ours, host)
    ]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1
    assert np.abs(pictures[1][0] - pictures[1][2]).max() > 1
