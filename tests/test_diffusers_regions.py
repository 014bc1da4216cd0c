"""Regions through a pipeline: their words and adapters."""

import diffusers
import pytest
import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer

from tests import diffusers_models as models
from tests.test_diffusers import PROMPT, drawn
from tile_diffusers import Region, tiled_diffusion
from tile_utils.settings import SettingsError

SIZE = {"width": 320, "height": 192}
OWN = {"prompt": "sea, day, boat", "negative_prompt": "fog, rain"}
BOAT = Region(64, 32, 128, 96, "boat", "rain", foreground=True, feather=0)
INSIDE = (..., slice(4, 16), slice(8, 24))


def unpacked(latents):
    """Flux's latents as [B, C, H, W] of tokens."""
    return latents.transpose(1, 2).unflatten(2, (12, 20)) if latents.ndim == 3 else latents


def sd(pipe=diffusers.StableDiffusionPipeline, **parts):
    return models.sd(pipe, models.unet(models.PointUNet), **parts)


def sd3(pipe=diffusers.StableDiffusion3Pipeline, **parts):
    return models.sd3(pipe, models.sd3_net(models.PointSD3, joint_attention_dim=64), **parts)


def flux():
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    net = models.flux_net(models.PointFlux)
    return models.flux(diffusers.FluxPipeline, net, scheduler=scheduler, **models.t5())


def sdxl(pipe=diffusers.StableDiffusionXLPipeline, **parts):
    return models.sdxl(pipe, models.unet(Pooled, **models.XL), **parts)


class Pooled(models.PointUNet):
    def forward(self, sample, timestep, encoder_hidden_states, added_cond_kwargs=None, **call):
        words = encoder_hidden_states + added_cond_kwargs["text_embeds"].mean(1)[:, None, None]
        return super().forward(sample, timestep, words, **call)


CASES = {
    "SD": (sd, {}),
    "SD, two pictures of two prompts": (sd, {"num_images_per_prompt": 2, "several": True}),
    "SD without guidance": (sd, {"guidance_scale": 1.0}),
    "SD, PAG": (lambda: sd(diffusers.StableDiffusionPAGPipeline, pag_applied_layers="mid"), {}),
    "SDXL": (sdxl, {}),
    "SDXL, PAG": (lambda: sdxl(diffusers.StableDiffusionXLPAGPipeline, pag_applied_layers="mid"), {}),
    "SD3": (sd3, {}),
    "Flux": (flux, {"max_sequence_length": 77}),
    "Flux, true CFG": (flux, {"max_sequence_length": 77, "true_cfg_scale": 3.0}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_region_is_told_its_own_words_and_the_rest_the_main_ones(case):
    make, call = CASES[case]
    pipe, call = make(), {**SIZE, **call}
    main, own = PROMPT, OWN
    if call.pop("several", False):
        main = {name: [text, "meadow"] for name, text in PROMPT.items()}
        own = {
            "prompt": [OWN["prompt"], "meadow, boat"],
            "negative_prompt": [OWN["negative_prompt"], "meadow, rain"],
        }
    outside, inside = unpacked(drawn(pipe, **main, **call)), unpacked(drawn(pipe, **own, **call))
    place = INSIDE
    if case.startswith("Flux"):
        place = (..., slice(2, 8), slice(4, 12))
    wanted = outside.clone()
    wanted[place] = inside[place]
    with tiled_diffusion(pipe, tile=128, overlap=32, batch_size=4, regions=[BOAT]):
        tiled = unpacked(drawn(pipe, **main, **call))
    assert (outside - inside).abs().max() > 0.01
    assert (tiled - wanted).abs().max() <= 2e-5 * wanted.abs().max()
    assert torch.equal(unpacked(drawn(pipe, **main, **call)), outside)


def test_regions_of_the_background_are_averaged_and_what_none_covers_is_drawn():
    pipe = sd()
    left = Region(0, 0, 160, 192, "boat", "rain")
    for method in ("MultiDiffusion", "Mixture of Diffusers"):
        options = {"tile": 128, "overlap": 32, "method": method, "regions": [left]}
        with tiled_diffusion(pipe, **options, draw_background=False):
            alone = drawn(pipe, **PROMPT, **SIZE)
        with tiled_diffusion(pipe, **options):
            mixed = drawn(pipe, **PROMPT, **SIZE)
        outside, inside = drawn(pipe, **PROMPT, **SIZE), drawn(pipe, **OWN, **SIZE)
        assert torch.allclose(alone[..., :20], inside[..., :20], atol=1e-4)
        assert torch.allclose(alone[..., 20:], outside[..., 20:], atol=1e-4)
        assert not torch.allclose(mixed[..., :20], inside[..., :20], atol=1e-3)


def test_one_tile_with_a_region_is_drawn_with_it():
    pipe = sd()
    with tiled_diffusion(pipe, tile=320, overlap=32, regions=[BOAT]):
        tiled = drawn(pipe, **PROMPT, **SIZE)
    assert torch.allclose(tiled[INSIDE], drawn(pipe, **OWN, **SIZE)[INSIDE], atol=1e-4)


def test_words_given_as_embeddings():
    """Nothing can be joined to them: a region's own words are all that it is told."""
    pipe = sd()
    told = dict(
        zip(("prompt_embeds", "negative_prompt_embeds"), pipe.encode_prompt("sea", "cpu", 1, True, "fog"))
    )
    with tiled_diffusion(pipe, tile=128, overlap=32, regions=[BOAT]):
        tiled = drawn(pipe, **told, **SIZE)
    own = drawn(pipe, prompt="boat", negative_prompt="rain", **SIZE)
    assert torch.allclose(tiled[INSIDE], own[INSIDE], atol=1e-4)
    pipe, told = sd3(), models.sd3_words()
    with (
        tiled_diffusion(pipe, tile=128, overlap=32, regions=[BOAT]),
        pytest.raises(SettingsError, match="embeddings of another length"),
    ):
        drawn(pipe, **told, **SIZE)


def test_prompts_that_cannot_be_told_apart_are_refused():
    pipe = flux()
    call = {"max_sequence_length": 77, "true_cfg_scale": 3.0, **SIZE}
    with (
        tiled_diffusion(pipe, tile=128, overlap=32, regions=[BOAT]),
        pytest.raises(SettingsError, match="say the same"),
    ):
        drawn(pipe, prompt="sea", negative_prompt="sea", **call)


def with_adapters(pipe):
    """The pipeline with two adapters, neither of them on."""
    for seed, name in enumerate(("ink", "oil")):
        config = LoraConfig(r=2, lora_alpha=6, target_modules=["to_q", "to_v"], init_lora_weights=False)
        text = LoraConfig(r=2, lora_alpha=6, target_modules=["q_proj"], init_lora_weights=False)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            pipe.unet.add_adapter(config, name)
            pipe.text_encoder.add_adapter(text, name)
    pipe.disable_lora()
    return pipe


def adapter_state(pipe):
    layers = [
        m for net in (pipe.unet, pipe.text_encoder) for m in net.modules() if isinstance(m, BaseTunerLayer)
    ]
    assert layers
    grads = [p.requires_grad for net in (pipe.unet, pipe.text_encoder) for p in net.parameters()]
    return grads, [(one.active_adapters, one.disable_adapters, dict(one.scaling)) for one in layers]


@pytest.mark.parametrize("main", [{}, {"oil": 0.6}])
def test_adapters_of_regions_are_as_if_drawn_apart(main):
    pipe = with_adapters(models.sd())
    if main:
        pipe.enable_lora()
        pipe.set_adapters(list(main), list(main.values()))
    before = adapter_state(pipe)
    noise = models.noise(1, 4, 24, 40, seed=3)
    regions = [
        Region(0, 0, 160, 192, "boat", foreground=True, feather=0, adapters={"ink": 1.5}),
        Region(160, 0, 160, 192, "gull", foreground=True, feather=0, adapters={"oil": 0}),
    ]
    with tiled_diffusion(pipe, tile=128, overlap=32, regions=regions):
        tiled = drawn(pipe, prompt="sea", latents=noise, **SIZE)
    assert adapter_state(pipe) == before
    pipe.enable_lora()
    pipe.set_adapters(["ink", *main], [1.5, *main.values()])
    left = drawn(pipe, prompt="sea, boat", latents=noise[..., :20], width=160, height=192)
    pipe.disable_lora()
    right = drawn(pipe, prompt="sea, gull", latents=noise[..., 20:], width=160, height=192)
    assert (tiled - torch.cat([left, right], -1)).abs().max() <= 1e-5 * tiled.abs().max()


def test_adapters_come_back_after_an_error():
    pipe = with_adapters(models.sd())
    before = adapter_state(pipe)

    def fail(*_):
        raise RuntimeError("stop")

    pipe.unet.conv_out.register_forward_hook(fail)
    region = Region(0, 0, 64, 64, "boat", adapters={"ink": 1.0})
    with (
        pytest.raises(RuntimeError, match="stop"),
        tiled_diffusion(pipe, tile=128, overlap=32, regions=[region], draw_background=False),
    ):
        drawn(pipe, prompt="sea", **SIZE)
    assert adapter_state(pipe) == before


def test_an_unknown_adapter_is_named():
    region = Region(0, 0, 64, 64, "boat", adapters={"chalk": 1.0})
    for pipe, names in (
        (with_adapters(models.sd()), "'ink', 'oil'"),
        (models.sd(), "none, since none is loaded"),
    ):
        with (
            pytest.raises(SettingsError, match=f"adapter 'chalk'; allowed are {names}"),
            tiled_diffusion(pipe, tile=128, overlap=32, regions=[region]),
        ):
            pass
