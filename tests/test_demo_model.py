"""The shipped demo checkpoint and the small files beside it can be read by the programs they are meant for."""

import math

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from miniwebui.checkpoint_layout import load_checkpoint
from miniwebui.torchvision_stand_in import torchvision_stand_in
from painted_world.autoencoder import paint_set, psnr
from painted_world.diffusers_config import write_diffusers_config
from painted_world.export import CHECKPOINT, MODELS


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
