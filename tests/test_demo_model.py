"""The shipped demo checkpoint and the small files beside it can be read by the programs they are meant for."""

import math

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from miniwebui.checkpoint_layout import load_checkpoint
from miniwebui.controlnet_layout import load_controlnet
from miniwebui.torchvision_stand_in import torchvision_stand_in
from painted_world.autoencoder import paint_set, psnr, to_signed
from painted_world.controlnet import Controlled
from painted_world.denoiser import alphas_cumprod
from painted_world.diffusers_config import write_diffusers_config
from painted_world.export import CHECKPOINT, MODELS
from painted_world.latents import SCALE_FACTOR, tokenize
from painted_world.lines import edges


@pytest.fixture(scope="module")
def parts():
    return load_checkpoint(CHECKPOINT)


def test_the_checkpoint_is_small_enough():
    assert CHECKPOINT.stat().st_size < 32 * 2**20


def test_scenes_that_it_has_not_seen_come_through_its_vae(parts):
    assert psnr(parts.vae, paint_set(6, 1001)) > 28


def test_the_checkpoint_loads_into_a_pipeline_of_diffusers(tmp_path, parts):
    from diffusers import StableDiffusionPipeline

    write_diffusers_config(tmp_path)
    pipeline = StableDiffusionPipeline.from_single_file(
        str(CHECKPOINT), config=str(tmp_path), local_files_only=True
    )
    for name in ("unet", "vae", "text_encoder"):
        ours, theirs = getattr(parts, name).state_dict(), getattr(pipeline, name).state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key].float(), theirs[key].float()) for key in ours)
    pipeline.set_progress_bar_config(disable=True)
    picture = pipeline("sea, day", width=64, height=64, num_inference_steps=2).images[0]
    assert picture.size == (64, 64)


def test_spandrel_reads_the_upscaler_and_it_beats_interpolation():
    with torchvision_stand_in():
        import spandrel

    described = spandrel.ModelLoader().load_from_file(str(MODELS / "ESRGAN" / "demo-4x.safetensors"))
    assert described.scale == 4
    large = paint_set(4, 4243) / 255
    small = F.interpolate(large, scale_factor=0.25, mode="bicubic", antialias=True).clamp(0, 1)
    with torch.no_grad():
        ours = described(small.flip(1)).flip(1)  # the WebUI gives blue first
    cubic = F.interpolate(small, scale_factor=4, mode="bicubic").clamp(0, 1)
    assert (ours - large).square().mean() < 0.85 * (cubic - large).square().mean()


def test_every_layer_of_the_lora_is_one_of_the_unet(parts):
    tensors = load_file(MODELS / "Lora" / "snow.safetensors")
    layers = {f"lora_unet_{name}".replace(".", "_"): layer for name, layer in parts.unet.named_modules()}
    named = {key.partition(".")[0] for key in tensors}
    assert named
    for name in named:
        weight = layers[name].weight
        down, up = tensors[f"{name}.lora_down.weight"], tensors[f"{name}.lora_up.weight"]
        assert down.shape[0] == up.shape[1] == tensors[f"{name}.alpha"]
        assert (up.flatten(1) @ down.flatten(1)).numel() == math.prod(weight.shape)
        assert down.ndim == up.ndim == weight.ndim


def test_the_embedding_fits_the_text_encoder(parts):
    tensors = load_file(MODELS.parent / "embeddings" / "dusk-glow.safetensors")
    assert list(tensors) == ["emb_params"]
    assert tensors["emb_params"].shape[1] == parts.text_encoder.config.hidden_size


def test_with_lines_the_controlnet_foretells_more_of_a_scene(parts):
    """Where there is much noise: what the UNet sees there by its prompt alone, and with the scene's own lines."""
    path = MODELS / "ControlNet" / "demo-lines.safetensors"
    assert path.stat().st_size < 4 * 2**20
    network = load_controlnet(path, parts.unet)
    images = paint_set(8, 31415)
    lines = torch.stack(
        [torch.from_numpy(edges(image.permute(1, 2, 0).numpy(), 0.1, 0.25)) for image in images]
    )
    hints = lines[:, None].float().expand(-1, 3, -1, -1)
    errors = {}
    with torch.no_grad():
        x0 = parts.vae.encode(to_signed(images)).latent_dist.mode() * SCALE_FACTOR
        context = parts.text_encoder(tokenize([""])).last_hidden_state.expand(8, -1, -1)
        noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1))
        t = torch.full((8,), 700)
        alpha = alphas_cumprod()[700]
        x = alpha.sqrt() * x0 + (1 - alpha).sqrt() * noise
        for name, unet in (("words", parts.unet), ("lines", Controlled(parts.unet, network, hints))):
            errors[name] = float((unet(x, t, context).sample - noise).square().mean())
    assert errors["lines"] < 0.9 * errors["words"], errors
